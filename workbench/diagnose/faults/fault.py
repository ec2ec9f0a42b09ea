"""What a fault is: a named hook with a strength, and the helpers with which it wraps a part."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from workbench.core.agents.value_agent import ValueAgent
from workbench.core.config import MODES, Config, ConfigError
from workbench.core.envs.base import AgentSpec
from workbench.core.processes.worker import Parts
from workbench.core.shared.replay import Replay
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose.sentences import beside, said

# A method that a hook has put something in place of, and what it has put there.
Wrapped = Callable[..., Any]


class FaultError(ConfigError):
    """A fault that does not exist, has an impossible strength, or makes no sense in the run that was asked for."""


class Fault(Hook):
    """One failure of the catalogue, switched on in an otherwise sound run.

    Args:
        strength: how strong, in the fault's :attr:`unit`, as a number or as the text of one; None for its default.

    Raises:
        FaultError: the fault has no strength, or not this one.

    Attributes:
        named: All that there are, by name.
        name: Name under which it is switched on, and which the catalogue lists: that of the class in snake case, unless
            it has another. Of those that follow, ``fault.toml`` has what differs from the default.
        modes: Modes in which it makes sense; :meth:`why_not` says why not in the others.
        races: Whether it takes a writer that is at work while others read.
        refuses: Whether a sound system refuses it with an error, so that the run fails.
        unit: What the strength counts; empty if there is none.
        default: Strength unless another is given.
        least: Smallest strength that makes sense.
        most: Greatest strength that can be given.
        whole: Whether the strength is a whole number.
        replaces: Parts that it puts another in place of; two faults cannot replace the same one.
    """

    named: ClassVar[dict[str, type["Fault"]]] = {}
    name: ClassVar[str]
    modes: ClassVar[Sequence[str]] = MODES
    races: ClassVar[bool] = False
    refuses: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    default: ClassVar[float] = 0
    least: ClassVar[float] = 0
    most: ClassVar[float] = 1_000_000
    whole: ClassVar[bool] = True
    replaces: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        cls.named[cls.name] = cls
        for attribute, value in beside(__file__).get(cls.name, {}).items():
            setattr(cls, attribute, value)

    def __init__(self, strength: float | str | None = None) -> None:
        try:
            value = self.default if strength is None else float(strength)
        except (TypeError, ValueError, OverflowError):
            raise FaultError(said("faults.no number", name=self.name, given=strength)) from None
        if strength is not None and not self.unit:
            raise FaultError(said("faults.no strength", name=self.name, strength=value))
        if not self.least <= value <= self.most or (self.whole and value != int(value)):
            kind = "a whole number" if self.whole else "a number"
            raise FaultError(said("faults.strength", fault=self, value=value, kind=kind))
        self.strength: float = int(value) if self.whole else float(value)

    @property
    def text(self) -> str:
        """The fault as it is switched on, with its strength: ``sync_rarely=10``."""
        return f"{self.name}={self.strength:g}" if self.unit else self.name

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """Why the fault makes no sense in such a run, and what to do; empty if it does."""
        if self.races and (mode == "sequential" or lag == 0):
            return said("faults.no race")
        return "" if mode in self.modes else said("faults.one process")

    def __repr__(self) -> str:
        return f"<fault {self.text}>"


class ReplayFault(Fault):
    """The replays of the learner, of the actor or of both are of another class, or opened with other settings.

    Attributes:
        kind: Class that they are of.
    """

    kind: ClassVar[type[Replay]] = Replay

    def changes(self, config: Config) -> Mapping[str, Any]:
        """Settings that they are opened with, by dotted name."""
        return {}

    def spec(self, spec: AgentSpec) -> AgentSpec:
        """What they take an agent's observations for."""
        return spec

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Open the learner's replays once more, if they are among those replaced."""
        for agent in trainer.replays if "the learner's replay" in self.replaces else ():
            trainer.replays[agent] = self._reopened(parts, agent)

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Open the actor's replays once more, if they are among those replaced."""
        for agent in range(len(collector.replays)) if "the actor's replay" in self.replaces else ():
            collector.replays[agent] = self._reopened(parts, agent)

    def _reopened(self, parts: Parts, agent: int) -> Any:
        config = parts.config.replace(**self.changes(parts.config))
        spec = self.spec(config.spec.agents[agent])
        return self.kind(config, spec, parts.replay_blocks[agent].open(Replay.layout(config, spec)))


class AgentFault(Fault):
    """Something is wrong with every agent into whose networks and optimiser one can reach."""

    def change(self, agent: ValueAgent) -> None:
        """Make it wrong."""
        raise NotImplementedError

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Change each of them."""
        for agent in trainer.agents.values():
            if isinstance(agent, ValueAgent):
                self.change(agent)


def override(owner: object, method: str, function: Wrapped) -> None:
    """Turn every call ``owner.method(...)`` into ``function(original method, ...)``."""
    setattr(owner, method, functools.partial(function, getattr(owner, method)))
