"""Every setting of a run: what it means, in which unit, and which values are refused.

The dataclasses are frozen; :meth:`Config.replace` makes a changed copy. A value that breaks a rule raises
:class:`ConfigError` when the object is built, so no process is ever started on a bad configuration. World, agent and
sampler declare their arguments in their own files. ``mode`` and ``lag`` belong to a launch, not to the configuration.
"""

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from workbench.core import registry, settings
from workbench.core.agents.base import AgentConfig
from workbench.core.envs.base import EnvSpec, WorldConfig
from workbench.core.registry import ConfigError as ConfigError
from workbench.core.sentences import did_you_mean, said
from workbench.core.settings import SHARE, Choice, Rule, Settings, above, at_least, between, require
from workbench.core.shared.sampling import SamplerConfig

Mode = Literal["sequential", "multiprocess"]
MODES: tuple[Mode, ...] = ("sequential", "multiprocess")

_DEVICE = re.compile("auto|cpu|mps|cuda(:[0-9]{1,3})?")
Device = Annotated[str, Rule('"auto", "cpu", "cuda", "cuda:N" or "mps"', lambda value: bool(_DEVICE.fullmatch(value)))]
MANY = between(1, 1_000_000)


@dataclass(frozen=True)
class ReplayConfig(Settings, group="replay"):
    """One ring of transitions per agent.

    Attributes:
        capacity: Rows that the ring of an agent holds, rounded up to whole epochs. Old rows are overwritten.
        window: Sampling draws from this many of the newest rows; at a finite lag, those up to the epoch learned from.
        learning_starts: No update is made before this many rows are there, in rows per agent.
        max_age: Rows whose policy is more than this many versions behind the newest are not drawn; 0 draws rows of any
            age. An epoch that leaves fewer rows than a batch is followed by no updates, now or later.
    """

    capacity: Annotated[int, at_least(1, "row")] = 13_000
    window: Annotated[int, at_least(1, "row")] = 12_000
    learning_starts: Annotated[int, at_least(1, "row")] = 500
    max_age: Annotated[int, at_least(0, "versions (0: any age)")] = 0
    sampler: SamplerConfig = field(default_factory=lambda: registry.default("replay.sampler"))

    def check(self) -> None:
        """A window fits into the ring, and the first rows into the window."""
        self.demand(self.window <= self.capacity, "window", said("config.window", replay=self))
        self.demand(self.learning_starts <= self.window, "learning_starts", said("config.starts", replay=self))


@dataclass(frozen=True)
class LearningConfig(Settings, group="learning"):
    """One update of one agent: n-step returns, Adam, and a softly updated target network.

    Attributes:
        batch_size: Rows per update.
        accumulate: Micro-batches per update; gradients are averaged, so 4 x 16 equals 1 x 64 to rounding.
        learning_rate: Step size of Adam at the first update.
        learning_rate_schedule: How the step size goes from ``learning_rate`` to ``learning_rate_end`` over the run's
            updates.
        learning_rate_end: Step size that a schedule other than "constant" ends with.
        adam_eps: Adam's epsilon, added to the root of the second moment.
        tau: Share of the online network that flows into the target network at each target update.
        target_interval: Updates between two target updates.
        gamma: Discount per turn.
        n_step: Turns that a row's return spans; it stops at an episode's end.
        correction: What becomes of an n-step return where the learner's policy would now act otherwise: it stays, it
            stops before the first action that is not greedy ("cut"), or it is weighted by Retrace ("retrace").
        trace: Retrace's lambda: 0 is one step, 1 as many as it allows.
        double: Choose the bootstrap action with the online network, value it with the target network.
        grad_clip: Largest norm of the gradient over all parameters of an agent; longer gradients are shortened to it.
        reward_scale: Rewards are multiplied by this on their way into a row's return; the raw reward is kept beside it.
        precision: What the matrix products of an update are computed in. Weights, targets, losses and optimiser are
            float32 either way.
        capture: Whether the device work of an update is captured once as a CUDA graph and replayed ("auto", on CUDA).
    """

    batch_size: Annotated[int, MANY] = 64
    accumulate: Annotated[int, MANY] = 1
    learning_rate: Annotated[float, above(0)] = 1e-3
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "linear"
    learning_rate_end: Annotated[float, at_least(0)] = 1e-4
    adam_eps: Annotated[float, above(0)] = 1e-8
    tau: Annotated[float, above(0, most=1)] = 0.005
    target_interval: Annotated[int, MANY] = 1
    gamma: Annotated[float, SHARE] = 0.99
    n_step: Annotated[int, between(1, 10_000, "turns")] = 3
    correction: Literal["none", "cut", "retrace"] = "none"
    trace: Annotated[float, SHARE] = 1.0
    double: bool = True
    grad_clip: Annotated[float, above(0)] = 1.0
    reward_scale: Annotated[float, above(0)] = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    capture: Literal["auto", "never"] = "auto"

    def check(self) -> None:
        """A batch is made of whole micro-batches."""
        self.demand(self.batch_size % self.accumulate == 0, "accumulate", said("config.batches", learning=self))


@dataclass(frozen=True)
class ExplorationConfig(Settings, group="exploration"):
    """Epsilon-greedy exploration; epsilon is a function of the epoch alone.

    Attributes:
        epsilon_start: Probability of a random action in the first epoch.
        epsilon_end: Probability of a random action once the decay is over.
        decay_epochs: Epochs over which epsilon falls linearly.
    """

    epsilon_start: Annotated[float, SHARE] = 1.0
    epsilon_end: Annotated[float, SHARE] = 0.02
    decay_epochs: Annotated[int, at_least(1, "epoch")] = 80


@dataclass(frozen=True)
class PacingConfig(Settings, group="pacing"):
    """How many updates belong to an epoch, and how far the two sides may drift apart when they run free.

    Attributes:
        updates_per_epoch: Updates of each agent per epoch. Replay ratio (updates per agent step) = this / (max_turns *
            num_worlds).
        max_ahead: Free-running only: epochs' worth of updates that a learner may do beyond the replay ratio.
        max_behind: Free-running only: epochs' worth of updates that a learner may be short of before the actor waits
            for it.
        publish_interval: Free-running only: updates between two publications of an agent. At a finite lag: once per
            epoch.
        sync_interval: Free-running only: epochs between two syncs of the actor. At a finite lag: every epoch.
    """

    updates_per_epoch: Annotated[int, MANY] = 5
    max_ahead: Annotated[float, between(0, 1e6, "epochs' worth of updates")] = 1.0
    max_behind: Annotated[float, between(1, 1e6, "epochs' worth of updates; below 1 no epoch could start")] = 2.0
    publish_interval: Annotated[int, MANY] = 5
    sync_interval: Annotated[int, MANY] = 1


@dataclass(frozen=True)
class EvaluationConfig(Settings, group="evaluation"):
    """Greedy evaluation on worlds and random streams of its own, so that it changes nothing in the run.

    Attributes:
        interval: Epochs between two greedy evaluations; 0 evaluates only at the end.
        worlds: Greedy epochs per periodic evaluation, run side by side.
        final_worlds: Greedy epochs of the evaluation after the last update.
    """

    interval: Annotated[int, at_least(0, "epochs (0: only at the end)")] = 20
    worlds: Annotated[int, between(1, 65536, "epochs")] = 16
    final_worlds: Annotated[int, between(1, 65536, "epochs")] = 256


@dataclass(frozen=True)
class CheckpointConfig(Settings, group="checkpoint"):
    """What is left on disk so that a run can be resumed. Nothing here changes a result.

    Attributes:
        interval: Epochs between two checkpoints while the run is running; 0 writes them at its end and on request only.
        keep: Checkpoints that are kept, the newest ones; 0 writes none at all.
    """

    interval: Annotated[int, at_least(0, "epochs (0: only at the end)")] = 60
    keep: Annotated[int, between(0, 1000, "checkpoints (0 writes none)")] = 2


@dataclass(frozen=True)
class ProcessConfig(Settings, group="processes"):
    """How the work is spread over processes, threads and devices. Nothing here changes a result on one device.

    Attributes:
        learners: Learner processes: one per agent ("per_agent"), as many as there are cores ("auto"), a number, or
            those of a registered learner that updates its agents at once: one ("fused"), or several ("fused:2").
        threads: Threads that each process may use for its arithmetic.
        time_slice_ms: Milliseconds that each process asks to keep its core while others wait for it; 0 leaves it to the
            system.
        start_method: How children are started: forked from a server that has imported everything ("auto", where the
            system can have one), or each in a fresh interpreter.
        matmul_precision: Of float32 matrix products: full, or TF32 and the like where the device has it ("high").
        acting_device: Where actions are computed; small batches are fastest on the CPU.
        start_timeout_s: Seconds within which every child must report that it is ready, counted from the one before it.
        stop_timeout_s: Seconds that the children have to leave in order after a stop, before they are killed.
        hang_timeout_s: Seconds without a heartbeat after which a child counts as hung and is killed. It sends one after
            every turn of all worlds and every update, and while it waits.
        actor_death: What follows the death of the actor, or of a sequential run's only child: restart it, or end the
            run.
        learner_death: What follows the death of a learner; "continue" continues without its agents' learning.
        max_restarts: Restarts of one process within the window below, after which its next death ends the run.
        restart_window_s: Seconds that the limit of restarts is counted over.
    """

    learners: Annotated[int | str, at_least(1)] = "per_agent"
    threads: Annotated[int, between(1, 1024, "threads")] = 1
    time_slice_ms: Annotated[float, between(0.1, 100, "milliseconds, or 0 to leave it to the system", also=0)] = 100.0
    start_method: Literal["auto", "fork_server", "spawn"] = "auto"
    matmul_precision: Literal["highest", "high"] = "highest"
    acting_device: Device = "cpu"
    start_timeout_s: Annotated[float, above(0, "seconds")] = 120.0
    stop_timeout_s: Annotated[float, above(0, "seconds")] = 20.0
    hang_timeout_s: Annotated[float, above(0, "seconds")] = 120.0
    actor_death: Literal["restart", "stop"] = "restart"
    learner_death: Literal["restart", "stop", "continue"] = "restart"
    max_restarts: Annotated[int, between(0, 1000, "restarts")] = 3
    restart_window_s: Annotated[float, above(0, "seconds")] = 60.0

    def check(self) -> None:
        """Learners are named by what there is."""
        (name, count), registered = self.learner, registry.names("learner")
        words = ["auto", "per_agent", *registered]
        counted = name in registered and count.isdecimal() and int(count) > 0
        known = isinstance(self.learners, int) or self.learners in words or counted
        self.demand(known, "learners", said("config.learners", nearest=did_you_mean(name, words)))

    @property
    def learner(self) -> tuple[str, str]:
        """The name in :attr:`learners`, and the number behind it, if there is one."""
        name, _, count = str(self.learners).partition(":")
        return name, count


@dataclass(frozen=True)
class Config(Settings):
    """Everything that a run depends on, apart from its mode and its lag.

    Attributes:
        seed: Root of every random stream of the run.
        epochs: Epochs of the world to collect and learn from.
        device: Where updates are computed: "cpu", "cuda", "cuda:1", "mps", or "auto" (CUDA, then MPS, then CPU).

    Example:
        ``wb.preset("quick").replace(**{"world.num_agents": 3, "seed": 7})``
    """

    seed: Annotated[int, at_least(0)] = 0
    epochs: Annotated[int, at_least(1, "epoch")] = 240
    device: Device = "auto"
    world: WorldConfig = field(default_factory=lambda: registry.default("world"))
    agent: AgentConfig = field(default_factory=lambda: registry.default("agent"))
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    pacing: PacingConfig = field(default_factory=PacingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    processes: ProcessConfig = field(default_factory=ProcessConfig)

    def check(self) -> None:
        """World, batch, rows, epochs and learners go together."""
        require(isinstance(self.spec, EnvSpec), "world", self.spec, said("config.spec", config=self))
        learning, replay, rows = self.learning, self.replay, self.epochs * self.steps_per_epoch
        can_begin = learning.batch_size <= replay.learning_starts
        offered = learning.correction == "none" or not self.agent.uncorrected
        self.demand(can_begin, "learning.batch_size", said("config.first batch", replay=replay))
        self.demand(self.learning_epochs > 0, "replay.learning_starts", said("config.never learns", rows=rows))
        self.demand(self.num_learners <= self.num_agents, "processes.learners", said("config.agents", config=self))
        self.demand(offered, "learning.correction", said("config.correction", agent=self.agent))
        for spec in dict.fromkeys(self.spec.agents):
            self.agent.check_spec(spec)

    @functools.cached_property
    def spec(self) -> EnvSpec:
        """What the world is for those who live in it: agents, their observations and actions, turns of an epoch."""
        return self.world.spec()

    @property
    def num_agents(self) -> int:
        """Agents in each copy of the world; every one has its own network, replay and learner."""
        return len(self.spec.agents)

    @property
    def max_turns(self) -> int:
        """Turns of an epoch."""
        return self.spec.max_turns

    @property
    def num_worlds(self) -> int:
        """Copies of the world that feed the same replays."""
        return self.world.num_worlds

    @property
    def steps_per_epoch(self) -> int:
        """Agent steps of one agent in one epoch: ``max_turns * num_worlds``."""
        return self.max_turns * self.num_worlds

    def replace(self, **changes: Any) -> "Config":
        """A copy with some fields changed; nested fields by dotted name: ``replace(**{"world.num_agents": 3})``.

        A world, agent or sampler is given by its registered name, by ``module:Class``, as a class of arguments, or as
        an object of one: ``replace(world="treasurehunt")``, ``replace(agent=MyAgentConfig())``.

        Raises:
            ConfigError: an unknown field (the nearest known ones are named) or a refused value.
        """
        return cast(Config, settings.changed(self, changes, self))

    def __repr__(self) -> str:
        """What differs from the defaults, as code that makes the same configuration."""
        changes = {name: value for name, (value, default) in differences(self, Config()).items() if value is not None}
        return f"Config().replace(**{changes!r})" if changes else "Config()"

    def flat(self) -> dict[str, Any]:
        """Every setting by dotted name, in order, with the names of world, agent and sampler."""
        return settings.flat(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **given: type | str | None) -> "Config":
        """The inverse of :meth:`to_dict`. Missing fields take their defaults; unknown ones are refused by name.

        Args:
            data: what was read.
            given: ``world=``, ``agent=`` or ``sampler=``: the class that ``data`` names, if it is not registered.
                Nothing is imported because ``data`` names it.

        Raises:
            ConfigError: a setting is unknown or refused, or a class is not the one that is named or not given.
        """
        classes, default = {{"sampler": "replay.sampler"}.get(kind, kind): each for kind, each in given.items()}, cls()

        def choose(before: Choice, wanted: Any) -> Any:
            found = registry.read(before.group, wanted, classes.get(before.group))
            return before if type(before) is found else found()

        require(isinstance(data, Mapping), "the configuration", data, "it must be an object of fields")
        return cast(Config, settings.changed(default, data, default, choose=choose))

    def to_json(self) -> str:
        """JSON text of :meth:`to_dict`."""
        return json.dumps(self.to_dict(), indent=2)

    @property
    def replay_ratio(self) -> float:
        """Updates per agent step, per agent."""
        return self.pacing.updates_per_epoch / self.steps_per_epoch

    @property
    def learning_epochs(self) -> int:
        """Epochs that are followed by updates: those at whose end ``learning_starts`` rows are there."""
        first = -(-self.replay.learning_starts // self.steps_per_epoch)
        return max(0, self.epochs - first + 1)

    @property
    def total_updates(self) -> int:
        """Updates that each agent makes in the whole run."""
        return self.learning_epochs * self.pacing.updates_per_epoch

    @property
    def num_learners(self) -> int:
        """Learner processes of a multiprocess run."""
        (name, count), agents = self.processes.learner, self.num_agents
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        named = {"per_agent": agents, "auto": min(agents, cores)}
        return named.get(name) or int(name if name.isdecimal() else count or 1)


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The settings in which two configurations differ, by dotted name, with both values; None where there is none.

    Worlds, agents or samplers of different names differ in "world.name" and so on too.
    """
    first, second = one.flat(), other.flat()
    values = {name: (first.get(name), second.get(name)) for name in first | second}
    return {name: both for name, both in values.items() if both[0] != both[1]}
