"""Both modes over several seeds: what they reach and how fast, with intervals, and whether every pair is identical."""

from __future__ import annotations

from collections.abc import Callable

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
        found = {run.name: run.result for run in self.runs}
        pairs = zip(self.cells[::2], self.cells[1::2], strict=True)
        return [(found[one.name], found[two.name]) for one, two in pairs if {one.name, two.name} <= found.keys()]

    @property
    def identical(self) -> bool | None:
        """Whether the digests of every pair are equal; None if they need not be, or no pair has finished."""
        pairs = [(one.digest, two.digest) for one, two in self.pairs if one.lag == two.lag]
        unseeded = any(run.description.get("unseeded") for run in self.runs)
        return all(one == two for one, two in pairs) if pairs and not unseeded else None

    @property
    def table(self) -> Table:
        """Every quantity of both modes: the mean with a 95 % interval by Student's t over the seeds."""
        pairs = self.pairs
        rows = [
            (name, *(with_interval([it for it in map(value, results) if it is not None]) for results in both))
            for both in [tuple(zip(*pairs, strict=True)) or ((), ())] for name, value in _QUANTITIES.items()
        ]  # fmt: skip
        speedups = [one.wall_s / two.wall_s for one, two in pairs]
        same = sum(one.digest == two.digest for one, two in pairs)
        said = (
            f"{len(pairs)} of {len(self.cells) // 2} pairs have finished; identical to the last bit: {same} of them; "
            f"± is a 95 % interval by Student's t over seeds"
        )
        return Table(("", "sequential", "multiprocess"), (*rows, ("speed-up", "", with_interval(speedups))), said)
