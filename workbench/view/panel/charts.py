"""What can be drawn of a run: a closed list of charts, and the choices that a person makes among them.

A chart is a few curves over one axis. :data:`CHARTS` names all of them, :data:`STANDARD` those that are drawn unless
somebody asks for others, and :class:`Choices` holds one set of answers: which charts, over what, of whom, how smooth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from workbench.core.config import ConfigError
from workbench.core.records import TABLES
from workbench.core.sentences import did_you_mean
from workbench.core.settings import require
from workbench.runs.loaded import RunView
from workbench.runs.metrics import METRICS, loss_name
from workbench.runs.sentences import beside

# Default window of the moving averages, as a share of the run's length.
SMOOTHING = 0.04
# Charts in one picture. More are too small to read and too slow to draw live.
MAX_CHARTS = 12

Axis = Literal["own", "epoch", "agent_steps", "update", "time"]
_SAID = beside(__file__)
# What charts can be drawn over.
AXIS_LABELS: dict[Axis, str] = _SAID["axes"]

# One agent, all as one curve (mean or sum, as the metric says), or a curve for each.
Agents = int | Literal["together", "each"]


@dataclass(frozen=True)
class Curve:
    """One metric in a chart.

    Attributes:
        weight: Width of its line, relative to the run's.
        noisy: Whether a moving average is drawn over the recorded values.
        rate: Whether the points per second are drawn, of all agents, in place of the values.
    """

    metric: str
    weight: float = 1.0
    noisy: bool = True
    rate: bool = False


@dataclass(frozen=True)
class Chart:
    """What one pair of axes shows.

    Attributes:
        unit: Label of the y axis.
        curves: All recorded in one table.
        marks: Metric drawn as markers.
        references: Whether the rewards of the reference policies are drawn as lines.
        due: Whether what the configuration says the curve should be, or must not pass, is drawn as a dotted line.
        over: What the curves are recorded over: "update" or "epoch".
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    marks: str | None = None
    references: bool = False
    due: bool = False
    over: str = "epoch"

    @property
    def name(self) -> str:
        """The title without what it explains."""
        return self.title.partition(":")[0].partition(";")[0]


def _chart(title: str, curves: Sequence[Mapping[str, Any]], unit: str = "", **more: Any) -> Chart:
    first = METRICS[curves[0]["metric"]]
    drawn = tuple(Curve(**each) for each in curves)
    return Chart(title, unit or first.unit, drawn, over=TABLES[first.table].axis, **more)


# Every chart of what the core measures, by its name, as ``charts.toml`` lists them.
CHARTS: dict[str, Chart] = {name: _chart(**about) for name, about in _SAID.items() if name != "axes"}

# Charts that are drawn unless others are asked for.
STANDARD = ("loss", "q", "reward", "epsilon", "lag_versions", "lag_ms")


def charts_of(runs: Sequence[RunView]) -> dict[str, Chart]:
    """Every chart that can be drawn of some runs, by its name: :data:`CHARTS`, and one for each metric of a hook.

    The loss bears the name that the runs' agents have for it.
    """
    loss = replace(CHARTS["loss"], unit=loss_name(run.config for run in runs))
    more = {
        name: Chart(name, metric.unit, (Curve(name),), over=run.history.schema.axis(name))
        for run in runs
        for name, metric in run.history.schema.metrics.items()
        if name not in METRICS
    }
    return CHARTS | {"loss": loss} | more


@dataclass(frozen=True)
class Choices:
    """What to draw and how. A choice that no run could be drawn by raises ConfigError when the object is built.

    Attributes:
        charts: Names of charts (:func:`charts_of`), in the order in which they are drawn.
        smoothing: Window of the moving averages as a share of a run's length; 0 draws what was recorded alone.
        over: The x axis.
        log: A logarithmic y axis, in every chart whose values are all above 0.
    """

    charts: tuple[str, ...] = STANDARD
    smoothing: float = SMOOTHING
    over: Axis = "own"
    agents: Agents = "together"
    log: bool = False

    def __post_init__(self) -> None:
        charts = (self.charts,) if isinstance(self.charts, str) else self.charts
        object.__setattr__(self, "charts", tuple(dict.fromkeys(charts)))
        if not 1 <= len(self.charts) <= MAX_CHARTS:
            raise ConfigError(f"{len(self.charts)} charts are chosen; choose 1 to {MAX_CHARTS} of {', '.join(CHARTS)}")
        share = "it must be a share of the run's length, 0 to below 1"
        require(0 <= self.smoothing < 1, "smoothing", self.smoothing, share)
        require(self.over in AXIS_LABELS, "over", self.over, f"it must be one of {', '.join(AXIS_LABELS)}")
        whole = isinstance(self.agents, int) and not isinstance(self.agents, bool) and self.agents >= 0
        known = 'it must be "together", "each" or the index of an agent'
        require(whole or self.agents in ("together", "each"), "agents", self.agents, known)

    def check(self, charts: Mapping[str, Chart], runs: Sequence[RunView]) -> None:
        """Refuse a chart that is none of those that there are, and an agent that none of the runs has."""
        for name in self.charts:
            if name not in charts:
                raise ConfigError(f"there is no chart {name!r}; {did_you_mean(name, charts)}")
        known = {"together", "each", *range(most := max(run.config.num_agents for run in runs))}
        require(self.agents in known, "agents", self.agents, f"the runs have agents 0 to {most - 1}")
