"""Named configurations to start from."""

from __future__ import annotations

from typing import Any

from workbench.core.config import Config, ConfigError

# Seconds, and learned well.
_SMALL: dict[str, Any] = {
    "epochs": 60,
    "world.height": 8, "world.width": 8, "world.num_agents": 3, "world.spawn_prob": 0.03,
    "agent.num_frames": 3, "agent.width": 64, "agent.num_cosines": 16,
    "replay.capacity": 2000, "replay.window": 1800, "replay.learning_starts": 250,
    "learning.batch_size": 64, "learning.gamma": 0.9, "learning.learning_rate": 2e-3, "learning.tau": 0.02,
    "agent.num_quantiles": 8, "agent.num_target_quantiles": 8, "agent.num_policy_quantiles": 8,
    "exploration.decay_epochs": 30, "pacing.updates_per_epoch": 10, "pacing.publish_interval": 10,
    "evaluation.interval": 0, "evaluation.final_worlds": 128,
}  # fmt: skip
# The same task for two agents in a smaller world: learned in a few seconds, with a curve to look at.
_QUICK: dict[str, Any] = _SMALL | {
    "epochs": 50, "world.height": 7, "world.width": 7, "world.num_agents": 2,
    "exploration.decay_epochs": 25, "evaluation.interval": 5, "evaluation.worlds": 16,
}  # fmt: skip
# Seconds, and too small to learn much: what tests and notebooks with a small budget use.
_TINY: dict[str, Any] = {
    "epochs": 12,
    "world.height": 7, "world.width": 7, "world.num_agents": 2, "world.max_turns": 20,
    "agent.num_frames": 3, "agent.width": 32, "agent.num_cosines": 16,
    "replay.capacity": 400, "replay.window": 200, "replay.learning_starts": 40,
    "learning.batch_size": 16, "agent.num_quantiles": 8, "agent.num_target_quantiles": 8,
    "agent.num_policy_quantiles": 8,
    "exploration.decay_epochs": 6, "pacing.updates_per_epoch": 4, "pacing.publish_interval": 4,
    "evaluation.interval": 4, "evaluation.worlds": 4, "evaluation.final_worlds": 8,
}  # fmt: skip
_PRESETS: dict[str, dict[str, Any]] = {
    "treasurehunt": {},
    "quick": _QUICK,
    "tiny": _TINY,
    "small": _SMALL,
    "gpu": {
        "world.num_worlds": 64, "epochs": 120, "exploration.decay_epochs": 60,
        "replay.capacity": 480_000, "replay.window": 384_000, "replay.learning_starts": 6400,
        "learning.batch_size": 1024, "pacing.updates_per_epoch": 32, "pacing.publish_interval": 32,
    },
}  # fmt: skip


def preset(name: str) -> Config:
    """A named configuration.

    "treasurehunt" is the default task, "gpu" has large batches and 64 worlds, "quick" is for a first look and learned
    in a few seconds, "small" is a little larger, and "tiny" is for tests, too small to learn much in.

    Example:
        ``wb.preset("quick").replace(seed=7)``

    Raises:
        ConfigError: there is no preset of that name.
    """
    if not isinstance(name, str) or name not in _PRESETS:
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(_PRESETS)}")
    return Config().replace(**_PRESETS[name])


def presets() -> tuple[str, ...]:
    """Names that :func:`preset` knows.

    Example:
        ``[wb.preset(name) for name in wb.presets()]``
    """
    return tuple(_PRESETS)
