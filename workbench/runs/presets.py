"""Named configurations to start from, out of ``presets.toml``."""

from typing import Any

from workbench.core.config import Config, ConfigError
from workbench.runs.sentences import beside

_PRESETS: dict[str, dict[str, Any]] = beside(__file__)


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
    changes = dict(_PRESETS[name])
    base = changes.pop("based_on", None)
    return (preset(base) if base else Config()).replace(**changes)


def presets() -> tuple[str, ...]:
    """Names that :func:`preset` knows.

    Example:
        ``[wb.preset(name) for name in wb.presets()]``
    """
    return tuple(_PRESETS)
