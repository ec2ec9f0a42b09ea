"""The run folder of a watched trainer: an ordinary one, whose world and agent are somebody else's."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from workbench.core.agents.base import AgentConfig
from workbench.core.config import Config, ConfigError
from workbench.core.envs.base import AgentSpec, EnvSpec, WorldConfig
from workbench.core.settings import between, require
from workbench.runs import machine
from workbench.runs.folder import RunFolder

# What a description of a watched run has as its kind and its mode.
KIND = "watched"
# Epochs that a run seems to have while it is not known.
UNKNOWN = 1_000_000


@dataclass(frozen=True)
class Elsewhere(WorldConfig):
    """The world of a trainer that is only watched. Nothing can be played in it.

    Attributes:
        num_agents: Agents of the trainer.
    """

    num_agents: Annotated[int, between(1, 65536, "agents")] = 1

    @property
    def title(self) -> str:
        """What the world is called in a sentence."""
        return "a watched trainer's world"

    def spec(self) -> EnvSpec:
        """As many agents as the trainer has; what they see and do is not known."""
        return EnvSpec((AgentSpec((1,), "float32", num_actions=1),) * self.num_agents, max_turns=1)


@dataclass(frozen=True)
class Watched(AgentConfig):
    """An agent that is only watched."""


def config_of(declared: Mapping[str, Any]) -> Config:
    """A configuration that says what the trainer has declared of itself.

    Raises:
        ConfigError: a number breaks its rule.
    """
    told = {"epochs": UNKNOWN, "capacity": Config().replay.capacity}
    told |= {name: value for name, value in declared.items() if value is not None}
    try:
        return Config().replace(
            world=Elsewhere(num_agents=told["agents"]), agent=Watched(num_frames=told["frames"]), epochs=told["epochs"],
            replay={"capacity": told["capacity"], "window": told["capacity"], "learning_starts": 1},
            learning={name: told[name] for name in ("gamma", "n_step", "tau") if name in told} | {"batch_size": 1},
        )  # fmt: skip
    except ConfigError as error:  # it has the names of settings
        raise ConfigError(re.sub(r"^\w+\.(num_)?", "", str(error))) from None


def make(name: str, declared: Mapping[str, Any], out: Path | str | None) -> RunFolder:
    """Make a run folder for a trainer, with a place for the files of its processes.

    Raises:
        ConfigError: a number breaks its rule.
        RecordError: the folder exists already or cannot be made.
    """
    most = declared["max_mb"]
    require(isinstance(most, int | float) and most > 0, "max_mb", most, "it must be a number of megabytes above 0")
    return RunFolder.create(name, {
        "kind": KIND, "watched": dict(declared), "config": config_of(declared).to_dict(), "mode": KIND, "lag": None,
        "status": "running", "created": time.time(), "machine": machine.describe(), "device": "cpu", "error": None,
    }, out, subfolders=["watch"])  # fmt: skip
