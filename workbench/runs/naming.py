"""Names of runs that are shown together: the names they were given, or else what tells them apart."""

import re
from collections.abc import Sequence

from workbench.runs.loaded import RunView, extensions

# Names of run folders that nobody chose: time, mode, lag, seed and a random ending. A sweep names its runs itself.
GENERATED = re.compile(r"\d{8}-\d{6}-.*-seed\d+-[0-9a-f]+")


def labels(runs: Sequence[RunView]) -> list[str]:
    """A different name for each run, as short as tells them apart: ``lag 1`` and ``lag 8``.

    A run that was launched with a name is called by it. For the others, what differs is added until no two are alike:
    mode, lag, faults, settings, seed. Runs that differ in nothing are numbered.
    """
    swept = ["sweep" in (run.description.get("relations") or {}) for run in runs]
    named = ["" if its or GENERATED.fullmatch(run.name) else run.name for its, run in zip(swept, runs, strict=True)]
    parts: list[tuple[str, ...]] = [(name,) for name in named]
    facts = [_facts(run) for run in runs]
    for key in dict.fromkeys(key for each in facts for key in each):
        longer = [(*part, each.get(key, "")) for part, each in zip(parts, facts, strict=True)]
        if len(set(longer)) > len(set(parts)):
            parts = [new if not name or named.count(name) > 1 else old
                     for old, new, name in zip(parts, longer, named, strict=True)]  # fmt: skip
    names = [", ".join(filter(None, part)) or run.label for part, run in zip(parts, runs, strict=True)]
    return [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _facts(run: RunView) -> dict[str, str]:
    """What may tell a run apart, as text, the most telling first."""
    settings = run.config.flat()
    seed = settings.pop("seed")
    return {
        "mode": run.mode,
        "lag": "free-running" if run.lag is None else f"lag {run.lag}",
        "faults": " and ".join(run.faults),
        "resumed": " and ".join(extensions(run.description)),
        **{name: f"{name.rpartition('.')[2]} {value}".removeprefix("name ") for name, value in settings.items()},
        "seed": f"seed {seed}",
    }
