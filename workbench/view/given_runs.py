"""Which runs are shown together."""

from collections.abc import Sequence

from workbench.runs.compare import Comparison
from workbench.runs.loaded import RunView


def listed(runs: Comparison | RunView | Sequence[RunView], what: str) -> tuple[RunView, ...]:
    """The runs that were given: a comparison, a run, or several.

    Args:
        runs: the same.
        what: to do with them, for the message.

    Raises:
        ValueError: there are none.
    """
    given = runs.runs if isinstance(runs, Comparison) else [runs] if isinstance(runs, RunView) else runs
    if not given:
        raise ValueError(f"there are no runs to {what}; give at least one")
    return tuple(given)
