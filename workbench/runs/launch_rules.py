"""The rules that join a configuration with the mode and the lag of a launch."""

from workbench.core import registry
from workbench.core.config import MODES, Config
from workbench.core.settings import require, whole
from workbench.runs.sentences import counted, said


def check_config(config: Config) -> None:
    """Refuse what is no configuration.

    Raises:
        ConfigError: it is something else.
    """
    require(isinstance(config, Config), "config", config, "it must be a configuration, such as wb.preset('quick')")


def check_launch(config: Config, mode: str, lag: int | None) -> int | None:
    """Check what depends on the mode and the lag of a launch, and return the lag as Python's own number.

    A learner draws its rows from the newest ``window`` rows before the end of its epoch, while the actor may already
    write ``lag`` epochs further (when it runs free: one at least; a row that is overwritten all the same is drawn
    again). The ring must hold both, so that no row of an open window is overwritten.

    Raises:
        ConfigError: an unknown mode, a lag that is no number of epochs, a ring too small for the lag, a greatest age
            that no row could have, or rewards that are made for another discount.
    """
    require(mode in MODES, "mode", mode, f"it must be one of {', '.join(MODES)}")
    given, lag = lag, whole(lag)
    require(given is None or (lag is not None and lag >= 0), "lag", given, said("launch_rules.lag"))
    require(lag is not None or mode != "sequential", "lag", lag, said("launch_rules.free"))
    if learner := registry.registered("learner", config.processes.learner[0]):
        learner.check(config)
    gamma, other = config.learning.gamma, said("launch_rules.discount", spec=config.spec)
    require(config.spec.discount in (None, gamma), "learning.gamma", gamma, other)
    steps, max_age = config.steps_per_epoch, config.replay.max_age
    too_old = said("launch_rules.age", lag=lag or 0, least=(lag or 0) + 1)
    require(max_age == 0 or max_age > (lag or 0), "replay.max_age", max_age, too_old)
    ahead, capacity, window = 1 if lag is None else lag, config.replay.capacity, config.replay.window
    needed = (-(-window // steps) + ahead) * steps
    too_small = said("launch_rules.capacity", needed=needed, config=config, ahead=counted(ahead, "epoch"), lag=lag)
    require(capacity >= needed, "replay.capacity", capacity, too_small)
    return lag
