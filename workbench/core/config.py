"""Every setting of a run: what it means, in which unit, and which values are refused.

The dataclasses are frozen; :meth:`Config.replace` makes a changed copy. A value that breaks a rule raises
:class:`ConfigError` when the object is built, so no process is ever started on a bad configuration. ``mode`` and
``lag`` belong to a launch, not to the configuration: :func:`check_launch` holds the rules that join the two.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import math
import operator
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.view.rich import Rich

Mode = Literal["sequential", "multiprocess"]
MODES: tuple[Mode, ...] = ("sequential", "multiprocess")


class ConfigError(ValueError):
    """A setting breaks a rule. The message names the field, its value, the rule and the remedy."""


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {_shown(value)}; {rule}")


def _shown(value: object) -> str:
    """A value as text, shortened; Python refuses to print whole numbers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        text = f"an {type(value).__name__} too long to print"
    return text if len(text) <= 200 else f"{text[:200]}..."


@dataclass(frozen=True)
class WorldConfig:
    """Treasurehunt: a walled gridworld in which agents collect gems. Defaults are those of the seeds."""

    height: int = 10
    """Rows of the map, in cells, the border of wall included."""
    width: int = 10
    """Columns of the map, in cells, the border of wall included."""
    num_agents: int = 5
    """Agents in each world; every one has its own network, replay and learner."""
    vision_radius: int = 2
    """An agent sees the (2r+1) x (2r+1) cells around itself, in cells."""
    max_turns: int = 50
    """Turns in an epoch; then the world is reset. The cut is a truncation: values bootstrap through it."""
    spawn_prob: float = 0.02
    """Probability per turn that an empty inner cell becomes a gem."""
    gem_reward: float = 10.0
    """Reward for moving onto a gem."""
    wall_reward: float = -1.0
    """Reward for walking into a wall."""
    num_worlds: int = 1
    """Copies of the world that run side by side and feed the same replays."""

    def __post_init__(self) -> None:
        _check_types(self, "world")
        for name in ("height", "width"):
            value = getattr(self, name)
            _require(
                3 <= value <= 1000,
                f"world.{name}",
                value,
                "it must be 3 to 1000 cells: a border of wall and a cell inside",
            )
        _require(self.num_agents >= 1, "world.num_agents", self.num_agents, "at least one agent must live in the world")
        cells = (self.height - 2) * (self.width - 2)
        _require(
            self.num_agents <= cells, "world.num_agents", self.num_agents,
            f"the {self.height} x {self.width} world has {cells} inner cells; use fewer agents or a larger world",
        )  # fmt: skip
        _require(1 <= self.vision_radius <= 50, "world.vision_radius", self.vision_radius, "it must be 1 to 50 cells")
        _require(1 <= self.max_turns <= 1_000_000, "world.max_turns", self.max_turns, "it must be 1 to 1000000 turns")
        _require(0.0 <= self.spawn_prob <= 1.0, "world.spawn_prob", self.spawn_prob, "a probability lies in 0 to 1")
        for name in ("gem_reward", "wall_reward"):
            value = getattr(self, name)
            _require(abs(value) <= 1e6, f"world.{name}", value, "it must be -1000000 to 1000000")
        _require(1 <= self.num_worlds <= 65536, "world.num_worlds", self.num_worlds, "it must be 1 to 65536 copies")

    @property
    def steps_per_epoch(self) -> int:
        """Agent steps of one agent in one epoch: ``max_turns * num_worlds``."""
        return self.max_turns * self.num_worlds


@dataclass(frozen=True)
class NetworkConfig:
    """The implicit quantile network (Dabney et al. 2018) with dueling heads."""

    num_frames: int = 5
    """Newest observations stacked into one state, in frames."""
    width: int = 250
    """Units of every hidden layer."""
    num_cosines: int = 64
    """Cosine features that embed a quantile fraction."""
    noisy: bool = False
    """Replace the layers after the embedding by factorised noisy layers (Fortunato et al. 2018)."""

    def __post_init__(self) -> None:
        _check_types(self, "network")
        for name in ("num_frames", "width", "num_cosines"):
            value = getattr(self, name)
            _require(1 <= value <= 65536, f"network.{name}", value, "it must be 1 to 65536")


@dataclass(frozen=True)
class ReplayConfig:
    """One ring of transitions per agent."""

    capacity: int = 13_000
    """Rows that the ring of an agent holds, rounded up to whole epochs. Old rows are overwritten."""
    window: int = 12_000
    """Sampling draws from this many rows, the newest ones before the agreed position."""
    learning_starts: int = 500
    """No update is made before this many rows are there, in rows per agent."""

    def __post_init__(self) -> None:
        _check_types(self, "replay")
        _require(self.capacity >= 1, "replay.capacity", self.capacity, "it must be at least 1 row")
        _require(self.window >= 1, "replay.window", self.window, "it must be at least 1 row")
        _require(self.learning_starts >= 1, "replay.learning_starts", self.learning_starts, "it must be at least 1 row")
        _require(
            self.window <= self.capacity, "replay.window", self.window,
            f"the ring holds replay.capacity = {self.capacity} rows; lower the window or raise the capacity",
        )  # fmt: skip
        _require(
            self.learning_starts <= self.window, "replay.learning_starts", self.learning_starts,
            f"only replay.window = {self.window} rows are ever kept for sampling; early rows would be lost",
        )  # fmt: skip


@dataclass(frozen=True)
class LearningConfig:
    """One update of one agent: n-step quantile regression with a softly updated target network."""

    batch_size: int = 64
    """Rows per update."""
    accumulate: int = 1
    """Micro-batches per update; gradients are averaged, so 4 x 16 equals 1 x 64 to rounding."""
    learning_rate: float = 1e-3
    """Step size of Adam at the first update."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the step size goes from ``learning_rate`` to ``learning_rate_end`` over the run's updates."""
    learning_rate_end: float = 1e-4
    """Step size that a schedule other than "constant" ends with."""
    adam_eps: float = 1e-8
    """Adam's epsilon, added to the root of the second moment."""
    tau: float = 0.005
    """Share of the online network that flows into the target network at each target update."""
    target_interval: int = 1
    """Updates between two target updates."""
    gamma: float = 0.99
    """Discount per turn."""
    n_step: int = 3
    """Turns that a row's return spans; it stops at an episode's end."""
    double: bool = True
    """Choose the bootstrap action with the online network, value it with the target network."""
    num_quantiles: int = 12
    """N: quantile fractions of the online network in the loss."""
    num_target_quantiles: int = 12
    """N': quantile fractions of the target network in the loss."""
    num_policy_quantiles: int = 12
    """K: quantile fractions averaged to compare actions."""
    huber_kappa: float = 1.0
    """Threshold of the Huber loss, in units of reward."""
    grad_clip: float = 1.0
    """Largest norm of the gradient over all parameters of an agent; longer gradients are shortened to it."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this on their way into a row's return; the raw reward is kept beside it."""

    def __post_init__(self) -> None:
        _check_types(self, "learning")
        for name in ("batch_size", "accumulate", "target_interval"):
            value = getattr(self, name)
            _require(1 <= value <= 1_000_000, f"learning.{name}", value, "it must be 1 to 1000000")
        _require(1 <= self.n_step <= 10_000, "learning.n_step", self.n_step, "it must be 1 to 10000 turns")
        for name in ("num_quantiles", "num_target_quantiles", "num_policy_quantiles"):
            value = getattr(self, name)
            _require(1 <= value <= 4096, f"learning.{name}", value, "it must be 1 to 4096 fractions")
        for name in ("learning_rate", "adam_eps", "huber_kappa", "grad_clip", "reward_scale"):
            value = getattr(self, name)
            _require(value > 0, f"learning.{name}", value, "it must be above 0")
        _require(
            self.learning_rate_end >= 0, "learning.learning_rate_end", self.learning_rate_end, "it must be 0 or more"
        )
        _require(0 < self.tau <= 1, "learning.tau", self.tau, "a share lies above 0 and at most at 1")
        _require(0 <= self.gamma <= 1, "learning.gamma", self.gamma, "a discount lies in 0 to 1")
        _require(
            self.batch_size % self.accumulate == 0, "learning.accumulate", self.accumulate,
            f"learning.batch_size = {self.batch_size} must be a multiple of it",
        )  # fmt: skip


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon-greedy exploration; epsilon is a function of the epoch alone."""

    epsilon_start: float = 1.0
    """Probability of a random action in the first epoch."""
    epsilon_end: float = 0.02
    """Probability of a random action once the decay is over."""
    decay_epochs: int = 80
    """Epochs over which epsilon falls linearly."""

    def __post_init__(self) -> None:
        _check_types(self, "exploration")
        for name in ("epsilon_start", "epsilon_end"):
            value = getattr(self, name)
            _require(0.0 <= value <= 1.0, f"exploration.{name}", value, "a probability lies in 0 to 1")
        _require(self.decay_epochs >= 1, "exploration.decay_epochs", self.decay_epochs, "it must be at least 1 epoch")


@dataclass(frozen=True)
class PacingConfig:
    """How many updates belong to an epoch, and how far the two sides may drift apart when they run free."""

    updates_per_epoch: int = 5
    """Updates of each agent per epoch. Replay ratio (updates per agent step) = this / (max_turns * num_worlds)."""
    max_ahead: float = 1.0
    """Free-running only: epochs' worth of updates that a learner may do beyond the replay ratio."""
    max_behind: float = 2.0
    """Free-running only: epochs' worth of updates that a learner may be short of before the actor waits for it."""
    publish_interval: int = 5
    """Free-running only: updates between two publications of an agent. At a finite lag: once per epoch."""
    sync_interval: int = 1
    """Free-running only: epochs between two syncs of the actor. At a finite lag: every epoch."""

    def __post_init__(self) -> None:
        _check_types(self, "pacing")
        for name in ("updates_per_epoch", "publish_interval", "sync_interval"):
            value = getattr(self, name)
            _require(1 <= value <= 1_000_000, f"pacing.{name}", value, "it must be 1 to 1000000")
        _require(
            0 <= self.max_ahead <= 1e6,
            "pacing.max_ahead",
            self.max_ahead,
            "it must be 0 to 1000000 epochs' worth of updates",
        )
        _require(
            1 <= self.max_behind <= 1e6, "pacing.max_behind", self.max_behind,
            "it must be 1 to 1000000 epochs' worth of updates; below 1 the actor could never start the next epoch",
        )  # fmt: skip


@dataclass(frozen=True)
class EvaluationConfig:
    """Greedy evaluation on worlds and random streams of its own, so that it changes nothing in the run."""

    interval: int = 20
    """Epochs between two greedy evaluations; 0 evaluates only at the end."""
    worlds: int = 16
    """Greedy epochs per periodic evaluation, run side by side."""
    final_worlds: int = 256
    """Greedy epochs of the evaluation after the last update."""

    def __post_init__(self) -> None:
        _check_types(self, "evaluation")
        _require(
            self.interval >= 0, "evaluation.interval", self.interval, "it must be 0 (only at the end) or more epochs"
        )
        for name in ("worlds", "final_worlds"):
            value = getattr(self, name)
            _require(1 <= value <= 65536, f"evaluation.{name}", value, "it must be 1 to 65536 epochs")


@dataclass(frozen=True)
class CheckpointConfig:
    """What is left on disk so that a run can be resumed. Nothing here changes a result."""

    interval: int = 60
    """Epochs between two checkpoints while the run goes on; 0 writes them at its end and on request only."""
    keep: int = 2
    """Checkpoints that are kept, the newest ones; 0 writes none at all."""

    def __post_init__(self) -> None:
        _check_types(self, "checkpoint")
        _require(
            self.interval >= 0, "checkpoint.interval", self.interval,
            "it must be 0 (at the end and on request) or more epochs",
        )  # fmt: skip
        _require(0 <= self.keep <= 1000, "checkpoint.keep", self.keep, "it must be 0 (none) to 1000 checkpoints")


@dataclass(frozen=True)
class ProcessConfig:
    """How the work is spread over processes, threads and devices. Nothing here changes a result on one device."""

    learners: int | Literal["auto", "per_agent"] = "per_agent"
    """Learner processes: one per agent, as many as there are cores ("auto"), or a number."""
    threads: int = 1
    """Threads that each process may use for its arithmetic."""
    time_slice_ms: float = 100.0
    """Milliseconds that each process asks to keep its core while others wait for it; 0 leaves it to the system."""
    acting_device: str = "cpu"
    """Where actions are computed; small batches are fastest on the CPU."""
    start_timeout_s: float = 120.0
    """Seconds within which every child must report that it is ready."""
    stop_timeout_s: float = 20.0
    """Seconds that the children have to leave in order after a stop, before they are killed."""
    hang_timeout_s: float = 120.0
    """Seconds without a sign of life after which a child counts as hung and is killed. It gives one after every turn of
    all worlds and every update, and while it waits."""
    actor_death: Literal["restart", "stop"] = "restart"
    """What follows the death of the actor, or of a sequential run's only child: start it anew, or end the run."""
    learner_death: Literal["restart", "stop", "continue"] = "restart"
    """What follows the death of a learner; "continue" goes on without its agents' learning."""
    max_restarts: int = 3
    """Restarts of one process within the window below, after which its next death ends the run."""
    restart_window_s: float = 60.0
    """Seconds that the limit of restarts is counted over."""

    def __post_init__(self) -> None:
        _check_types(self, "processes")
        if isinstance(self.learners, int):
            _require(
                self.learners >= 1, "processes.learners", self.learners, 'it must be at least 1, "auto" or "per_agent"'
            )
        _require(1 <= self.threads <= 1024, "processes.threads", self.threads, "it must be 1 to 1024 threads")
        _require(
            self.time_slice_ms == 0 or 0.1 <= self.time_slice_ms <= 100, "processes.time_slice_ms", self.time_slice_ms,
            "it must be 0 (leave it to the system) or 0.1 to 100 milliseconds",
        )  # fmt: skip
        _require(
            0 <= self.max_restarts <= 1000, "processes.max_restarts", self.max_restarts, "it must be 0 to 1000 restarts"
        )
        for name in ("start_timeout_s", "stop_timeout_s", "hang_timeout_s", "restart_window_s"):
            value = getattr(self, name)
            _require(value > 0, f"processes.{name}", value, "it must be above 0 seconds")
        _require_device_name("processes.acting_device", self.acting_device)


@dataclass(frozen=True)
class Config(Rich):
    """Everything that a run depends on, apart from its mode and its lag."""

    seed: int = 0
    """Root of every random stream of the run."""
    epochs: int = 240
    """Epochs of the world to collect and learn from."""
    device: str = "auto"
    """Where updates are computed: "cpu", "cuda", "cuda:1", "mps", or "auto" (CUDA, then MPS, then CPU)."""
    world: WorldConfig = field(default_factory=WorldConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    pacing: PacingConfig = field(default_factory=PacingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    processes: ProcessConfig = field(default_factory=ProcessConfig)

    def __post_init__(self) -> None:
        _check_types(self, "")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "it must be 0 to 2**63 - 1")
        _require(self.epochs >= 1, "epochs", self.epochs, "a run has at least one epoch")
        _require_device_name("device", self.device)
        _require(
            self.learning.batch_size <= self.replay.learning_starts, "learning.batch_size", self.learning.batch_size,
            f"it must be at most replay.learning_starts = {self.replay.learning_starts} rows, "
            "so that the first batch can be drawn; lower the batch or let learning start later",
        )  # fmt: skip
        _require(
            self.learning_epochs > 0, "replay.learning_starts", self.replay.learning_starts,
            f"the run collects only {self.epochs * self.world.steps_per_epoch} rows per agent and would never learn; "
            "raise epochs or let learning start earlier",
        )  # fmt: skip
        learners = self.processes.learners
        if isinstance(learners, int):
            _require(
                learners <= self.world.num_agents, "processes.learners", learners,
                f"there are world.num_agents = {self.world.num_agents} agents to share out; use at most that many",
            )  # fmt: skip

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; nested fields by dotted name: ``replace(**{"world.num_agents": 3})``.

        Raises:
            ConfigError: an unknown field (the nearest known ones are named) or a refused value.
        """
        changed: Config = _changed(self, changes, "")
        return changed

    def __repr__(self) -> str:
        """What differs from the defaults, as code that makes the same configuration."""
        default, changes = Config(), {}
        for name in field_names():
            read = operator.attrgetter(name)
            if read(self) != read(default):
                changes[name] = read(self)
        return f"Config().replace(**{changes!r})" if changes else "Config()"

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`. Missing fields take their defaults; unknown ones are refused by name."""
        config: Config = _from_dict(cls, data, "")
        return config

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The inverse of :meth:`to_json`."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the configuration is not JSON: {error}") from None
        return cls.from_dict(data)

    @property
    def replay_ratio(self) -> float:
        """Updates per agent step, per agent."""
        return self.pacing.updates_per_epoch / self.world.steps_per_epoch

    @property
    def learning_epochs(self) -> int:
        """Epochs that are followed by updates: those at whose end ``learning_starts`` rows are there."""
        first = -(-self.replay.learning_starts // self.world.steps_per_epoch)
        return max(0, self.epochs - first + 1)

    @property
    def total_updates(self) -> int:
        """Updates that each agent makes in the whole run."""
        return self.learning_epochs * self.pacing.updates_per_epoch

    @property
    def num_learners(self) -> int:
        """Learner processes of a multiprocess run."""
        learners, agents = self.processes.learners, self.world.num_agents
        if learners == "per_agent":
            return agents
        if learners == "auto":
            return min(
                agents, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            )
        return int(learners)


# what a notebook completes behind "config.replace("; dotted names are no words of Python and go in a dictionary
Config.replace.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    + [inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=...) for item in dataclasses.fields(Config)]
    + [inspect.Parameter("changes", inspect.Parameter.VAR_KEYWORD)]
)


_TINY: dict[str, Any] = {
    "epochs": 12,
    "world.height": 7, "world.width": 7, "world.num_agents": 2, "world.max_turns": 20,
    "network.num_frames": 3, "network.width": 32, "network.num_cosines": 16,
    "replay.capacity": 400, "replay.window": 200, "replay.learning_starts": 40,
    "learning.batch_size": 16, "learning.num_quantiles": 8, "learning.num_target_quantiles": 8,
    "learning.num_policy_quantiles": 8,
    "exploration.decay_epochs": 6, "pacing.updates_per_epoch": 4, "pacing.publish_interval": 4,
    "evaluation.interval": 4, "evaluation.worlds": 4, "evaluation.final_worlds": 8,
}  # fmt: skip
"""Seconds, and too small to learn much: what tests and notebooks with a small budget use."""
_PRESETS: dict[str, dict[str, Any]] = {
    "treasurehunt": {},
    "quick": _TINY,  # what newcomers start with; the same as "tiny" so far
    "tiny": _TINY,
    "small": {
        "epochs": 60,
        "world.height": 8, "world.width": 8, "world.num_agents": 3, "world.spawn_prob": 0.03,
        "network.num_frames": 3, "network.width": 64, "network.num_cosines": 16,
        "replay.capacity": 2000, "replay.window": 1800, "replay.learning_starts": 250,
        "learning.batch_size": 64, "learning.gamma": 0.9, "learning.learning_rate": 2e-3, "learning.tau": 0.02,
        "learning.num_quantiles": 8, "learning.num_target_quantiles": 8, "learning.num_policy_quantiles": 8,
        "exploration.decay_epochs": 30, "pacing.updates_per_epoch": 10, "pacing.publish_interval": 10,
        "evaluation.interval": 0, "evaluation.final_worlds": 128,
    },
    "gpu": {
        "world.num_worlds": 64, "epochs": 120, "exploration.decay_epochs": 60,
        "replay.capacity": 480_000, "replay.window": 384_000, "replay.learning_starts": 6400,
        "learning.batch_size": 1024, "pacing.updates_per_epoch": 32, "pacing.publish_interval": 32,
    },
}  # fmt: skip


def preset(name: str) -> Config:
    """A named configuration.

    "treasurehunt" is the default task, "gpu" has large batches and 64 worlds, "small" is learned in seconds, "quick" is
    for a first look, and "tiny" is for tests, too small to learn much in.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if not isinstance(name, str) or name not in _PRESETS:
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(_PRESETS)}")
    return Config().replace(**_PRESETS[name])


def presets() -> tuple[str, ...]:
    """Names that :func:`preset` knows."""
    return tuple(_PRESETS)


def check_launch(config: Config, mode: str, lag: int | None) -> None:
    """Check what depends on the mode and the lag of a launch.

    A learner draws its rows from the newest ``window`` rows before the end of its epoch, while the actor may already
    write ``lag`` epochs further (when it runs free: one at least; a row that is overwritten all the same is drawn
    again). The ring must hold both, so that no row of an open window is overwritten.

    Raises:
        ConfigError: an unknown mode, a lag that is no number of epochs, or a ring too small for the lag.
    """
    if mode not in MODES:
        raise ConfigError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    if lag is not None and (not isinstance(lag, int) or isinstance(lag, bool) or lag < 0):
        raise ConfigError(f"lag is {lag!r}; it must be a number of epochs, 0 or more, or None for free-running")
    if lag is None and mode == "sequential":
        raise ConfigError(
            "lag is None; free-running needs mode='multiprocess'. Give a sequential run a lag of 0 or more"
        )
    steps = config.world.steps_per_epoch
    ahead = 1 if lag is None else lag
    needed = (-(-config.replay.window // steps) + ahead) * steps
    _require(
        config.replay.capacity >= needed, "replay.capacity", config.replay.capacity,
        f"it must be at least {needed} (the window of {config.replay.window} rows in whole epochs, and {ahead} epochs "
        f"of {steps} rows that lag = {lag} lets the actor write meanwhile); raise the capacity or lower replay.window",
    )  # fmt: skip


SAFE_TO_CHANGE = ("epochs", "device", "evaluation.", "checkpoint.", "processes.", "pacing.publish_interval",
                  "pacing.sync_interval", "pacing.max_ahead", "pacing.max_behind")  # fmt: skip
"""Settings that :func:`workbench.resume` takes: fields, and groups of fields (with a dot at the end). Which ones a run
takes while it goes on is in :data:`workbench.runs.live_settings.CHANGEABLE`."""


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ, by dotted name, with both values."""
    values = {name: (_value(one, name), _value(other, name)) for name in field_names()}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def safe_to_change(name: str) -> bool:
    """Whether a resumed run may have another value of this setting."""
    return any(name == safe or (safe.endswith(".") and name.startswith(safe)) for safe in SAFE_TO_CHANGE)


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def field_names(config_class: type = Config, prefix: str = "") -> Iterator[str]:
    """Dotted names of every setting, in order."""
    for item, annotation in _fields(config_class).items():
        if dataclasses.is_dataclass(annotation):
            yield from field_names(typing.cast(type, annotation), f"{prefix}{item}.")
        else:
            yield f"{prefix}{item}"


def check_name(name: str) -> None:
    """Refuse what is neither a setting nor a group of settings.

    Raises:
        ConfigError: there is no such setting; the nearest are named.
    """
    if name not in {*field_names(), *_fields(Config)}:
        raise _unknown(name)


# --- building and checking -----------------------------------------------------------------------------------------


def _fields(config_class: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config_class)
    return {item.name: hints[item.name] for item in dataclasses.fields(config_class)}


def _accepts(annotation: Any, value: object) -> bool:
    """Whether a value has the annotated type; whole numbers pass as floats, booleans never pass as numbers.

    A whole number must fit into 64 bits, because every one of them becomes a word in shared memory or on a device.
    """
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(option, value) for option in typing.get_args(annotation))
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in typing.get_args(annotation))
    if annotation is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return whole or (isinstance(value, float) and math.isfinite(value))
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, annotation)


def _describe(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(annotation))
    if origin is Literal:
        return " or ".join(repr(option) for option in typing.get_args(annotation))
    if dataclasses.is_dataclass(annotation):
        return "an object of its fields"
    return {int: "a whole number below 2**63", float: "a finite number", bool: "True or False", str: "a string"}[
        annotation
    ]


def _check_types(config: Any, prefix: str) -> None:
    for name, annotation in _fields(type(config)).items():
        value = getattr(config, name)
        dotted = f"{prefix}.{name}" if prefix else name
        _require(_accepts(annotation, value), dotted, value, f"it must be {_describe(annotation)}")
        if annotation is float and isinstance(value, int):
            object.__setattr__(config, name, float(value))


def _unknown(name: str) -> ConfigError:
    near = difflib.get_close_matches(name, {*field_names(), *_fields(Config)}, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; known fields: {', '.join(field_names())}"
    return ConfigError(f"there is no setting {name!r}{hint}")


def _changed(config: Any, changes: Mapping[Any, Any], prefix: str) -> Any:
    """A copy of one dataclass with changes by field, by dotted name, or by a mapping for a nested one."""
    fields, values, nested = _fields(type(config)), {}, dict[str, dict[Any, Any]]()
    for name, value in changes.items():
        head, dot, rest = str(name).partition(".")
        group = dataclasses.is_dataclass(fields.get(head))
        if head not in fields or (dot and not (group and rest)):
            raise _unknown(f"{prefix}{name}")
        if dot:
            nested.setdefault(head, {})[rest] = value
        elif group and isinstance(value, Mapping):
            nested.setdefault(head, {}).update(value)
        else:
            values[head] = value
    for head, inner in nested.items():
        owner = values.get(head, getattr(config, head))
        _require(isinstance(owner, fields[head]), f"{prefix}{head}", owner, f"it must be {_describe(fields[head])}")
        values[head] = _changed(owner, inner, f"{prefix}{head}.")
    return dataclasses.replace(config, **values)


def _from_dict(config_class: type, data: Mapping[str, Any], prefix: str) -> Any:
    _require(
        isinstance(data, Mapping), prefix.rstrip(".") or "the configuration", data, "it must be an object of fields"
    )
    fields, values = _fields(config_class), {}
    for name, value in data.items():
        if name not in fields:
            raise _unknown(f"{prefix}{name}")
        if dataclasses.is_dataclass(fields[name]):
            value = _from_dict(typing.cast(type, fields[name]), value, f"{prefix}{name}.")
        values[name] = value
    return config_class(**values)


def _require_device_name(name: str, device: object) -> None:
    known = re.fullmatch("auto|cpu|mps|cuda(:[0-9]{1,3})?", str(device)) is not None
    _require(known, name, device, 'it must be "auto", "cpu", "cuda", "cuda:N" or "mps"')
