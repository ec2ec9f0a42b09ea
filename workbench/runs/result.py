"""What came out of a run: outcome, throughput, staleness, rewards and the digests that prove two runs equal."""

import dataclasses
import functools
import json
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from workbench.runs.history import History
from workbench.runs.sentences import said
from workbench.runs.table import fixed, markdown_rows, number


@dataclass(frozen=True)
class Result:
    """The summary of one run. Counts are over all agents; rewards are per epoch, summed over agents.

    Attributes:
        status: "finished", "stopped" or "failed".
        wall_s: Seconds from the opening of the ready barrier to the last update.
        startup_s: Seconds from the start of the children to the opening of the barrier.
        replay_ratio: Updates per agent step.
        sync_lag: Mean and max over epochs and agents, in versions, updates, milliseconds; taken at each epoch's last
            action.
        reward: Mean reward over the first and over the last tenth of the epochs, while exploring.
        greedy_reward: Mean reward of the greedy epochs after the last update; None if the run did not get there.
        digest: SHA-256 of the final weights, the rows in the replays, all rewards and all losses.

    Example:
        ``wb.launch(wb.preset("quick")).wait().digest["weights"]``
    """

    mode: str
    lag: int | None
    seed: int
    status: str
    wall_s: float
    startup_s: float
    agent_steps: int
    updates: int
    agent_steps_per_s: float
    updates_per_s: float
    replay_ratio: float | None
    sync_lag: dict[str, dict[str, float | None]]
    reward: dict[str, float | None]
    greedy_reward: float | None
    digest: dict[str, str]

    def __repr__(self) -> str:
        dial = "free-running" if self.lag is None else f"lag {self.lag}"
        reward = "none" if self.greedy_reward is None else f"{fixed(self.greedy_reward, 1)} per epoch"
        return said("result.repr", result=self, dial=dial, reward=reward)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        text = json.dumps(dataclasses.asdict(self))
        return dict(json.loads(text, parse_constant=lambda not_finite: None))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**{item.name: data.get(item.name) for item in dataclasses.fields(cls)})  # type: ignore[arg-type]


def listed_in(page: Path) -> dict[str, list[str]]:
    """The rows of a Markdown page: a name, and the dotted paths in a result that it stands for."""
    return {name: paths.replace("`", "").split() for name, paths in markdown_rows(page)}


def value_at(result: Result, path: str) -> Any:
    """What a result has at a dotted path, such as ``sync_lag.versions.mean``."""
    return functools.reduce(operator.getitem, path.split("."), vars(result))


def cell(result: Result, paths: Iterable[str]) -> str:
    """What a result has at some paths, as text, with a slash between."""
    found = (value_at(result, path) for path in paths)
    return " / ".join(each if isinstance(each, str) else number(each) for each in found)


def reward_tenths(history: History) -> dict[str, float | None]:
    """Mean reward over the first and the last tenth of the recorded epochs."""
    rewards = history.series("charts/reward")[1]
    tenth = max(1, len(rewards) // 10)
    parts = {"first_tenth": rewards[:tenth], "last_tenth": rewards[-tenth:]}
    return {name: float(part.mean()) if len(part) else None for name, part in parts.items()}


def sync_lag(history: History) -> dict[str, dict[str, float | None]]:
    """Mean and max of the sync lag over epochs and agents, in versions, updates and milliseconds."""
    table = history.epochs
    columns = {"versions": "sync_lag_versions", "updates": "sync_lag_updates", "milliseconds": "sync_lag_ms"}
    if not len(table):
        return {unit: {"mean": None, "max": None} for unit in columns}
    return {unit: {"mean": float(table[it].mean()), "max": float(table[it].max())} for unit, it in columns.items()}


def greedy_reward(history: History) -> float | None:
    """Reward per greedy epoch after the last update, summed over agents; None before."""
    evaluations = history.evaluations  # once: more may come at any time
    final = evaluations[evaluations["final"] == 1]
    return float(final["reward"].sum()) if len(final) else None
