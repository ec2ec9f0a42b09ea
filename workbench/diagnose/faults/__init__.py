"""Faults: failures of the catalogue, each switched on by name in an otherwise sound run.

A fault wraps or replaces a part where a child process puts its parts together
(:class:`workbench.core.train.hooks.Hook`); what it wraps knows nothing of it. A module holds those of one
room of the catalogue: ``data.py``, ``weights.py``, ``learning.py``, ``processes.py``.
"""

from collections.abc import Sequence

from workbench.core.config import Config
from workbench.core.sentences import did_you_mean
from workbench.diagnose.catalogue import fault_names
from workbench.diagnose.faults import data, learning, processes, weights  # noqa: F401  # they bring the faults
from workbench.diagnose.faults.fault import Fault, FaultError
from workbench.diagnose.sentences import said

__all__ = ["FAULTS", "Fault", "FaultError", "make", "prepare"]

# Every fault by its name, in the order of the catalogue.
FAULTS: dict[str, type[Fault]] = {name: Fault.named[name] for name in fault_names()}


def make(name: str, strength: float | str | None = None) -> Fault:
    """A fault by name: ``make("sync_rarely", 10)``, or in one text as on a command line: ``make("sync_rarely=10")``.

    Raises:
        FaultError: an unknown name (the nearest known ones are named), or a strength that it cannot have.
    """
    name, equals, text = str(name).partition("=")
    if name not in FAULTS:
        raise FaultError(said("faults.unknown", name=name, nearest=did_you_mean(name, FAULTS)))
    return FAULTS[name](text if equals else strength)


def prepare(faults: Sequence[str | Fault], config: Config, mode: str, lag: int | None) -> tuple[Fault, ...]:
    """The faults of a run, ready to be given to it as hooks.

    Raises:
        FaultError: one is unknown, is given twice, makes no sense in such a run, or two would replace the same part.
    """
    given = faults if isinstance(faults, Sequence) and not isinstance(faults, str) else [faults]
    made = tuple(fault if isinstance(fault, Fault) else make(fault) for fault in given)
    for index, fault in enumerate(made):
        if why := fault.why_not(config, mode, lag):
            raise FaultError(f"{fault.name} makes no sense here: {why}")
        for other in made[:index]:
            if other.name == fault.name:
                raise FaultError(said("faults.twice", name=fault.name))
            if common := set(fault.replaces) & set(other.replaces):
                parts = " and ".join(sorted(common))
                raise FaultError(said("faults.same part", other=other.name, name=fault.name, parts=parts))
    return made
