"""The side-by-side comparison of two modes, or of two configurations: two runs, one after the other.

One after the other, because two runs at once would share the cores and neither time would be honest.
"""

import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from workbench.core.config import ConfigError, differences
from workbench.core.processes.supervisor import ChildFailed
from workbench.core.settings import require
from workbench.runs import machine
from workbench.runs.awaiting import Awaitable, wait_for
from workbench.runs.files import at, write_whole
from workbench.runs.loaded import RunError, RunView
from workbench.runs.naming import labels
from workbench.runs.result import cell, listed_in
from workbench.runs.run import Run
from workbench.runs.sentences import said
from workbench.runs.table import Table
from workbench.runs.uninterrupted import uninterrupted

# A run that trains for less than this, in seconds, says little about speed.
SHORT_S = 10.0


class Comparison(Awaitable[dict[str, Any]]):
    """Two runs. Made by :func:`compare`; also a context manager that stops both at the end.

    Attributes:
        runs: both, in their order: sequential first, or the first configuration.
        sequential: the first run of two modes.
        multiprocess: the second run of two modes.
    """

    def __init__(self, first: Run, second: Run) -> None:
        self.sequential, self.multiprocess = self.runs = first, second
        self._stopped = threading.Event()
        self._thread = threading.Thread(None, _run_both, "comparison", (self.runs, self._stopped), daemon=True)

    @property
    def ended(self) -> bool:
        """Whether both runs are over, however they ended."""
        return (self._stopped.is_set() and not self._thread.is_alive()) or all(run.ended for run in self.runs)

    def start(self) -> Self:
        """Start the first run now and the second when the first has ended; returns at once.

        Raises:
            RunError: the comparison was started before.
        """
        RunError.unless(self._thread.ident is None and not self._stopped.is_set(), said("compare.again"))
        self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Sleep until both runs have ended; return the :attr:`summary`.

        Raises:
            TimeoutError: they are still running.
            ChildFailed: a child of one of them failed.
        """
        RunError.unless(self._thread.ident is not None, "this comparison was never started; call comparison.start()")

        def over(seconds: float) -> bool:
            self._thread.join(seconds)
            return not self._thread.is_alive()

        wait_for("pair", "the comparison", over, timeout)
        for run in self.runs:
            if run.error is not None:
                raise run.error
        return self.summary

    @uninterrupted(undo=lambda stopped: None)
    def stop(self) -> None:
        """End both runs in order and wait for their children to leave."""
        self._stopped.set()
        for run in self.runs:
            run.stop()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def identical(self) -> bool | None:
        """Whether all four digests are equal; None if the runs need not be equal or have not both finished."""
        first, second = self.runs
        return None if self.why_not_identical else first.result.digest == second.result.digest

    @property
    def why_not_identical(self) -> str:
        """Why the runs need not be equal, or cannot be compared yet; "" if they must be."""
        first, second = self.runs
        if any(run.status != "finished" for run in self.runs):
            return "the runs have not both finished"
        if differing := differences(first.config, second.config):
            return "the configurations differ" + f" in {', '.join(differing)}" * (len(differing) < 4)
        if first.lag != second.lag:
            return "the lags differ"
        if first.lag is None:
            return said("compare.free")
        if any("run continues without it" in text for run in self.runs for text in run.incidents):
            return said("compare.without")
        if first.settings.changes != second.settings.changes:
            return "settings were changed under way, in each run at an epoch of its own"
        return str(first.description["unseeded"] or second.description["unseeded"])

    @property
    def speedup(self) -> float | None:
        """Wall time of the first run over that of the second; None before both have finished."""
        finished = all(run.status == "finished" for run in self.runs)
        return self.runs[0].result.wall_s / self.runs[1].result.wall_s if finished else None

    @property
    def speedup_note(self) -> str:
        """Why the speed-up means little: a run trained too briefly; empty where it does not, or is not known."""
        if self.speedup is None or min(run.result.wall_s for run in self.runs) >= SHORT_S:
            return ""
        took = " and ".join(f"{run.result.wall_s:.1f} s (start-up {run.result.startup_s:.1f} s)" for run in self.runs)
        return said("compare.short", took=took, least=SHORT_S)

    @property
    def summary(self) -> dict[str, Any]:
        """Both results and what they say together, as plain values; raises RunError before the end."""
        first, second = self.runs
        return {
            "runs": [run.result.to_dict() for run in self.runs],
            "identical": self.identical,
            "why_not_identical": self.why_not_identical or None,
            "speedup": self.speedup,
            "speedup_note": self.speedup_note,
            "cores": machine.cores(),
            "threads": first.config.processes.threads,
            "device": first.device,
            "machine": machine.describe(),
            "config": first.config.to_dict(),
            "differing": differences(first.config, second.config),
        }

    def save(self, path: Path | str) -> None:
        """Write the :attr:`summary` as JSON."""
        write_whole(at(path), json.dumps(self.summary, indent=2) + "\n")

    @property
    def table(self) -> Table:
        """Every quantity in both runs, and what they say together; raises RunError before the end."""
        rows = [(name, *(cell(run.result, paths) for run in self.runs)) for name, paths in _ROWS.items()]
        speedup = "not known" if self.speedup is None else f"{self.speedup:.2f}"
        note = self.speedup_note and f"; {self.speedup_note}"
        answer = IDENTICAL[self.identical] + f" ({self.why_not_identical})" * bool(self.why_not_identical)
        said = f"identical to the last bit: {answer}\nspeed-up: {speedup}{note}"
        names = [run.label for run in self.runs]
        heads = names if names[0] != names[1] else labels(self.runs)
        return Table(("", *heads), tuple(rows), said, numbers=False)

    def __repr__(self) -> str:
        return f"<Comparison of {self.runs[0]!r} and {self.runs[1]!r}>"


def _run_both(runs: Iterable[Run], stopped: threading.Event) -> None:
    """One after the other; knows no comparison, so one that is never started holds no memory once it is dropped."""
    for run in runs:
        if stopped.is_set():
            return
        # errors are kept in run.error; a run that was stopped before its turn stays so; warnings may be made errors
        with suppress(ChildFailed, RunError, UserWarning):
            run.start().wait()


def runs_of(runs: Comparison | RunView | Iterable[RunView], what: str) -> tuple[RunView, ...]:
    """The runs that were given: a comparison, a run, or several.

    Args:
        runs: the same.
        what: to do with them, for the message.

    Raises:
        ConfigError: there are none, or one is no run.
    """
    given: tuple[Any, ...] = runs.runs if isinstance(runs, Comparison) else (runs,)
    if isinstance(runs, Iterable) and not isinstance(runs, str):
        given = tuple(runs)
    if not given:
        raise ConfigError(f"there are no runs to {what}; give at least one")
    for each in given:
        require(isinstance(each, RunView), "runs", each, said("compare.no run", what=what))
    return given


IDENTICAL = {True: "yes", False: "NO", None: "does not apply"}
_ROWS = listed_in(Path(__file__).with_suffix(".md"))
