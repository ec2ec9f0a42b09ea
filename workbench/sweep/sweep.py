"""A sweep: cells that an executor runs, one table of where each is, and the results as a data frame.

Both modes over several seeds are one too: what they reach and how fast, and whether every pair is identical.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from workbench.core.config import ConfigError
from workbench.core.processes.blocks import Plan
from workbench.core.settings import require
from workbench.runs import limits, loaded, machine
from workbench.runs.awaiting import STEP_S, Awaitable, wait_for
from workbench.runs.compare import SHORT_S
from workbench.runs.files import private
from workbench.runs.folder import RecordError, RunFolder
from workbench.runs.listing import NUMBERS, RunInfo, info_of
from workbench.runs.loaded import LoadedRun, RunError
from workbench.runs.result import Result, listed_in, value_at
from workbench.runs.run import OWN_HOOKS
from workbench.runs.statistics import with_interval
from workbench.runs.table import Table, number
from workbench.sweep.cells import Cell, changed_since, stopped_here
from workbench.sweep.sentences import said

if TYPE_CHECKING:
    import pandas as pd

    from workbench.sweep.live import LiveSweep

# What a process of a run takes beside the memory that the run shares, in bytes.
PROCESS_BYTES = 150 * 2**20
# Share of the free memory that a sweep takes on its own.
MEMORY_SHARE = 0.8


class Sweep(Awaitable["Sweep"]):
    """Many runs of one configuration with some fields changed. Made by :func:`workbench.sweep`.

    ``await sweep`` in a notebook, ``sweep.wait()`` in a script. What was cut off continues when the same sweep is made
    once more, and what has finished is not run again. Also a context manager that stops it at the end.

    Example:
        ``wb.sweep(config, {"learning.learning_rate": [1e-3, 3e-3], "seed": range(5)}).wait().frame``

    Attributes:
        cells: the runs, in the order in which they begin.
        name: of the sweep, which each of its runs has among its relations.
    """

    def __init__(
        self, cells: Sequence[Cell], run_cell: Callable[[Cell], Result], executor: Executor | None = None,
        at_once: int | None = None,
    ) -> None:  # fmt: skip
        """Nothing runs before :meth:`start`.

        Args:
            cells: at least one; they share a folder and the name of the sweep.
            run_cell: is called with each cell, where the executor wants.
            executor: runs the cells; None for threads of this process, as many as cores and memory allow.
            at_once: how many of those threads.

        Raises:
            ConfigError: ``at_once`` is no number of cells, or is given beside an executor; the executor is none.
        """
        if at_once is not None and not (executor is None and isinstance(at_once, SupportsIndex) and at_once >= 1):
            raise ConfigError(f"at_once is {at_once!r}; it must be 1 or more, and goes without an executor")
        require(executor is None or hasattr(executor, "submit"), "executor", executor, said("sweep.executor"))
        self.cells, self.name = tuple(cells), cells[0].sweep
        self._run_cell, self._executor, self._at_once = run_cell, executor, at_once
        self._futures: list[Future[Result]] = []
        self._known: dict[str, RunInfo] = {}
        self._shown: list[LiveSweep] = []

    def start(self) -> Self:
        """Hand all cells to the executor and return at once.

        Raises:
            RunError: the sweep was started before.
        """
        RunError.unless(not self._futures, "this sweep was started before; make a new one with workbench.sweep()")
        stopped_here.discard(self.cells[0].stop_file)
        with suppress(FileNotFoundError, NotADirectoryError):  # which the runs will say
            self.cells[0].stop_file.unlink()
        executor = self._executor or ThreadPoolExecutor(self._at_once or at_once_here(self.cells), "sweep")
        for cell in self.cells:  # one by one: what was handed over before an error can be stopped
            self._futures.append(executor.submit(self._run_cell, cell))
        if executor is not self._executor:
            executor.shutdown(wait=False)  # once they are done
        return self

    @property
    def done(self) -> int:
        """How many cells have ended, however they did."""
        return sum(future.done() for future in self._futures)

    @property
    def ended(self) -> bool:
        """Whether no cell will be run any more."""
        return self.done == len(self.cells)

    def wait(self, timeout: float | None = None) -> Self:
        """Sleep until every cell has ended, and return the sweep. An interrupt ends the sleep, not the sweep.

        Raises:
            TimeoutError: some have not ended.
            RunError: some failed, which are named; all others are there. The same sweep once more tries them again.
        """
        RunError.unless(bool(self._futures), "this sweep was never started; call sweep.start()")
        wait_for("sweep", "the sweep", self._wait, timeout)
        while self._shown:
            self._shown.pop().finish()
        if failures := self.failures:
            told = [f"{name}: {(str(error) or repr(error)).splitlines()[0]}" for name, error in failures.items()]
            raise RunError(f"{len(failures)} of {len(self.cells)} cells did not finish: {'; '.join(told[:3])}")
        return self

    def _wait(self, seconds: float) -> bool:
        wait([future for future in self._futures if not future.done()], seconds)  # one that is cancelled wakes nobody
        return self.done == len(self._futures)

    @property
    def failures(self) -> dict[str, BaseException]:
        """What ended each cell that has not finished, by name."""
        ended = [(cell, future) for cell, future in zip(self.cells, self._futures, strict=False) if future.done()]
        found = {cell.name: RunError("cancelled") if it.cancelled() else it.exception() for cell, it in ended}
        return {name: error for name, error in found.items() if error is not None}

    def stop(self) -> None:
        """Begin no further cell, and end those that run in order. The same sweep once more continues them."""
        if self.ended or not self._futures:  # one that never began may be under way elsewhere
            return
        stopped_here.add(self.cells[0].stop_file)
        for future in self._futures:
            future.cancel()
        with suppress(FileExistsError if self._executor else OSError):  # a link of that name is not followed
            self.cells[0].out.mkdir(parents=True, exist_ok=True)
            os.close(private(str(self.cells[0].stop_file), os.O_CREAT | os.O_EXCL))
        while not self._wait(STEP_S):
            pass

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Where each cell is: what was swept, its status, epochs, and the numbers of its result once there is one."""
        rows, failures = [], self.failures
        for cell in self.cells:
            found = self.info(cell)
            status = found.status if found else "waiting"
            error = failures.get(cell.name)  # a RecordError, too, where the run of somebody else is in its place
            theirs = isinstance(error, RecordError) and status in ("finished", "running", "starting")
            if cell.name in failures and not theirs and not (cell.stopped and isinstance(error, RunError)):
                status = "failed"
            if found and (changed := changed_since(cell, found)):
                status = f"changed: {', '.join(changed)}"
            result = found.result if found and status == "finished" else {}
            kind = {"mode": cell.mode, "lag": cell.lag, **cell.values}
            numbers = {name: result.get(name) for name in NUMBERS}
            its = {"status": status, "epochs": found.epochs if found else 0, **numbers, "run": cell.name}
            rows.append(kind | its | kind)  # epochs may be swept
        return rows

    def info(self, cell: Cell) -> RunInfo | None:
        """Where a cell is, without its records, once it has begun; what has finished is read once."""
        found = self._known.get(cell.name) or (info_of(cell.path) if (cell.path / "run.json").exists() else None)
        if found and found.status == "finished" and found.result and not changed_since(cell, found):
            self._known[cell.name] = found
        return found

    @property
    def table(self) -> Table:
        """Where each cell is."""
        rows = self.rows
        same = {name for name in ("mode", "lag") if len({row[name] for row in rows}) == 1} | {"run"}
        head = tuple(name for name in rows[0] if name not in same and any(row[name] is not None for row in rows))
        names = tuple(name.replace("_", " ") if name in NUMBERS else name for name in head)
        counts = {status: sum(row["status"] == status for row in rows) for status in {row["status"] for row in rows}}
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        text = [tuple(number(row[name]) if name in NUMBERS else str(row[name]) for name in head) for row in rows]
        return Table(names, tuple(text), f"{self.name}: {told}")

    @property
    def frame(self) -> "pd.DataFrame":
        """:attr:`rows` as a data frame, a line for each cell. Needs pandas (``workbench[export]``)."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def runs(self) -> list[LoadedRun]:
        """The finished runs, for reports and panels."""
        return loaded.readable((cell.path, loaded.classes_of(cell.config)) for cell in self.finished)

    @property
    def finished(self) -> list[Cell]:
        """The cells that have finished."""
        return [cell for cell in self.cells if self.info(cell) and cell.name in self._known]

    def __repr__(self) -> str:
        return f"<Sweep {self.table.caption}>"

    def _ipython_display_(self) -> None:
        from workbench.sweep.live import LiveSweep

        self._shown.append(LiveSweep(self))
        if self.ended:
            self._shown.pop().finish()


_QUANTITIES = {name: path for name, (path,) in listed_in(Path(__file__).with_name("seeds.md")).items()}


class SeedComparison(Sweep):
    """Pairs of runs, a sequential and a multiprocess one for each seed. Made by :func:`workbench.compare`.

    Example:
        ``wb.compare(config, seeds=range(10)).wait().identical``
    """

    @property
    def pairs(self) -> list[tuple[Result, Result]]:
        """Results of the pairs of which both runs have finished, sequential first."""
        found = {c.name: Result.from_dict(RunFolder(c.path).read_result() or {}) for c in self.finished}
        pairs = zip(self.cells[::2], self.cells[1::2], strict=True)
        return [(found[one.name], found[two.name]) for one, two in pairs if {one.name, two.name} <= found.keys()]

    @property
    def identical(self) -> bool | None:
        """Whether the digests of every pair are equal; None if they need not be, or no pair has finished."""
        equal = self._equal(self.pairs)
        return all(equal) if equal else None

    def _equal(self, pairs: Sequence[tuple[Result, Result]]) -> list[bool]:
        """Of every pair whose digests must be equal, whether they are."""
        if any(RunFolder(cell.path).read_description().get("unseeded") for cell in self.finished):
            return []
        return [one.digest == two.digest for one, two in pairs if one.lag == two.lag]

    @property
    def table(self) -> Table:
        """Every quantity of both modes: the mean with a 95 % interval by Student's t over the seeds."""
        pairs = self.pairs
        seeds, equal = [one.seed for one, _ in pairs], self._equal(pairs)
        rows = [
            (name, *(with_interval([value_at(pair[mode], path) for pair in pairs], seeds) for mode in (0, 1)))
            for name, path in _QUANTITIES.items()
        ]
        same = f"{sum(equal)} of {len(equal)}" if equal else "does not apply" if pairs else "not known yet"
        told = said("sweep.pairs", done=len(pairs), count=len(self.cells) // 2, same=same)
        if short := sum(each.wall_s < SHORT_S for pair in pairs for each in pair):
            told += said("sweep.short", short=short, count=2 * len(pairs), least=SHORT_S)
        speedup = with_interval([one.wall_s / two.wall_s for one, two in pairs], seeds)
        return Table(("", "sequential", "multiprocess"), (*rows, ("speed-up", "", speedup)), told)


def at_once_here(cells: Sequence[Cell]) -> int:
    """How many cells this machine can run side by side: a core for each process that works, and memory for all."""

    def size(cell: Cell) -> int:
        plan = Plan(cell.config, cell.mode, cell.lag, OWN_HOOKS)
        return sum(limits.memory_needed(plan).values()) + cell.processes * PROCESS_BYTES

    unlike = {(repr(cell.config.replace(seed=0)), cell.mode, cell.lag): cell for cell in cells}.values()
    by_cores = machine.cores() // max(cell.cores for cell in unlike)
    return max(1, min(by_cores, int(MEMORY_SHARE * limits.memory_available() / max(map(size, unlike)))))
