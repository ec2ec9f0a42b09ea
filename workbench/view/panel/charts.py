"""What can be drawn of a run: a closed list of charts, and the choices that a person makes among them.

A chart is a few curves over one axis. :data:`CHARTS` names all of them, :data:`STANDARD` those that are drawn unless
somebody asks for others, and :class:`Choices` holds one set of answers: which charts, over what, of whom, how smooth.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.runs.metrics import AXES, METRICS

SMOOTHING = 0.04
"""Default window of the moving averages, as a share of the run's length."""
MAX_CHARTS = 12
"""Charts in one picture. More are too small to read and too slow to draw live."""

Axis = Literal["own", "epoch", "agent_steps", "update", "time"]
AXIS_LABELS: dict[Axis, str] = {
    "own": "what it is recorded over",
    "epoch": "epoch",
    "agent_steps": "agent steps of each agent",
    "update": "updates of each agent",
    "time": "wall time, s",
}
"""What charts can be drawn over. "own" is updates for what is recorded per update, and epochs for the rest."""

Agents = int | Literal["together", "each"]
"""One agent, all as one curve (mean or sum, as the metric says), or a curve for each."""


@dataclass(frozen=True)
class Curve:
    """One metric in a chart."""

    metric: str
    weight: float = 1.0
    """Width of its line, relative to the run's."""
    noisy: bool = True
    """Whether a moving average is drawn over the recorded values."""
    rate: bool = False
    """Whether the points per second are drawn, of all agents, in place of the values."""


@dataclass(frozen=True)
class Chart:
    """What one pair of axes shows."""

    title: str
    unit: str
    """Label of the y axis."""
    curves: tuple[Curve, ...]
    """All recorded in one table."""
    marks: str | None = None
    """Metric drawn as markers."""
    references: bool = False
    """Whether the rewards of the reference policies are drawn as lines."""
    due: Literal["epsilon", "replay_ratio", "grad_clip"] | None = None
    """What the configuration says the curve should be, or must not pass; drawn as a dotted line."""

    @property
    def name(self) -> str:
        """The title without what it explains."""
        return self.title.partition(":")[0].partition(";")[0]

    @property
    def table(self) -> str:
        """The table that its curves are recorded in."""
        return METRICS[self.curves[0].metric].table

    @property
    def over(self) -> str:
        """What the curves are recorded over: "update" or "epoch"."""
        return AXES[self.table]


def _plain(title: str, metric: str, noisy: bool = True, unit: str = "") -> Chart:
    return Chart(title, unit or METRICS[metric].unit, (Curve(metric, noisy=noisy),))


CHARTS: dict[str, Chart] = {
    "loss": _plain("Loss", "losses/quantile_huber", unit="quantile Huber loss"),
    "q": Chart("Q-values: mean (wide) and max (thin)", METRICS["values/mean_q"].unit,
               (Curve("values/mean_q"), Curve("values/max_q", weight=0.7))),
    "reward": Chart("Reward while exploring", "reward per epoch", (Curve("charts/reward"),),
                    marks="charts/greedy_reward", references=True),
    "epsilon": Chart("Epsilon in use; due: dotted", "probability", (Curve("charts/epsilon", noisy=False),),
                     due="epsilon"),
    "lag_versions": _plain("Sync lag in versions", "sync/lag_versions", unit="versions behind"),
    "lag_ms": _plain("Sync lag in time", "sync/lag_ms", unit="ms behind"),
    "lag_updates": _plain("Sync lag in updates", "sync/lag_updates", unit="updates behind"),
    "grad_norm": Chart("Gradient norm; clipped at: dotted", "Euclidean norm", (Curve("learning/grad_norm"),),
                       due="grad_clip"),
    "td_error": _plain("TD error", "losses/td_error"),
    "learning_rate": _plain("Step size", "learning/learning_rate", noisy=False, unit="learning rate"),
    "replay_ratio": Chart("Replay ratio; due: dotted", "updates per agent step",
                          (Curve("charts/replay_ratio", noisy=False),), due="replay_ratio"),
    "sample_age": _plain("Age of the sampled rows", "replay/sample_age", unit="versions"),
    "replay_fill": _plain("Rows to sample from", "replay/fill", noisy=False),
    "steps_rate": Chart("Acting", "agent steps per s", (Curve("charts/reward", rate=True),)),
    "updates_rate": Chart("Learning", "updates per s", (Curve("losses/quantile_huber", rate=True),)),
}  # fmt: skip
"""Every chart by its name."""

STANDARD = ("loss", "q", "reward", "epsilon", "lag_versions", "lag_ms")
"""Charts that are drawn unless others are asked for."""


@dataclass(frozen=True)
class Choices:
    """What to draw and how. A choice that cannot be drawn raises ValueError when the object is built."""

    charts: tuple[str, ...] = STANDARD
    """Names of charts, in the order in which they are drawn."""
    smoothing: float = SMOOTHING
    """Window of the moving averages as a share of a run's length; 0 draws what was recorded alone."""
    over: Axis = "own"
    """The x axis."""
    agents: Agents = "together"
    log: bool = False
    """A logarithmic y axis, in every chart whose values are all above 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "charts", _known(self.charts))
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is {self.smoothing!r}; it must be a share of the run's length, 0 to below 1")
        if self.over not in AXIS_LABELS:
            raise ValueError(f"over is {self.over!r}; it must be one of {', '.join(AXIS_LABELS)}")
        whole = isinstance(self.agents, int) and not isinstance(self.agents, bool) and self.agents >= 0
        if not whole and self.agents not in ("together", "each"):
            raise ValueError(f'agents is {self.agents!r}; it must be "together", "each" or the index of an agent')

    def check_agents(self, counts: Iterable[int]) -> None:
        """Refuse an agent that none of the runs has, given how many agents each has."""
        most = max(counts)
        if isinstance(self.agents, int) and self.agents >= most:
            raise ValueError(f"agents is {self.agents}; the runs have agents 0 to {most - 1}")


def _known(names: str | Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        if name not in CHARTS:
            near = difflib.get_close_matches(str(name), CHARTS, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(CHARTS)}"
            raise ValueError(f"there is no chart {name!r}; {hint}")
    if not 1 <= len(chosen) <= MAX_CHARTS:
        raise ValueError(f"{len(chosen)} charts are chosen; choose 1 to {MAX_CHARTS} of {', '.join(CHARTS)}")
    return chosen
