"""Both modes over several seeds: what they reach and how fast, with intervals, and whether every pair is identical."""

from collections.abc import Callable, Sequence

from workbench.runs.folder import RunFolder
from workbench.runs.result import Result
from workbench.runs.statistics import with_interval
from workbench.runs.table import Table
from workbench.sweep.sweep import Sweep

_QUANTITIES: dict[str, Callable[[Result], float | None]] = {
    "greedy reward per epoch": lambda result: result.greedy_reward,
    "wall time, s": lambda result: result.wall_s,
    "start-up, s": lambda result: result.startup_s,
    "agent steps per s": lambda result: result.agent_steps_per_s,
}


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
        if any(cell.config.world.unseeded() for cell in self.cells):
            return []
        return [one.digest == two.digest for one, two in pairs if one.lag == two.lag]

    @property
    def table(self) -> Table:
        """Every quantity of both modes: the mean with a 95 % interval by Student's t over the seeds."""
        pairs = self.pairs
        seeds, equal = [one.seed for one, _ in pairs], self._equal(pairs)
        rows = [
            (name, *(with_interval([value(pair[mode]) for pair in pairs], seeds) for mode in (0, 1)))
            for name, value in _QUANTITIES.items()
        ]
        same = f"{sum(equal)} of {len(equal)}" if equal else "does not apply"
        said = (
            f"{len(pairs)} of {len(self.cells) // 2} pairs have finished; identical to the last bit: {same}; "
            f"± is a 95 % interval by Student's t over seeds"
        )
        speedup = with_interval([one.wall_s / two.wall_s for one, two in pairs], seeds)
        return Table(("", "sequential", "multiprocess"), (*rows, ("speed-up", "", speedup)), said)
