"""Names of worlds, agents, samplers and learners: which class a name in a configuration stands for.

A class is registered by itself or as ``"module:Class"``, which is imported when the name is first used. A name with a
colon that is not registered is a class of the user's own: it is imported because the caller names it, never because a
file does.
"""

import importlib
import sys
from operator import attrgetter
from typing import Any

from workbench.core.sentences import beside, did_you_mean, said


class ConfigError(ValueError):
    """A setting breaks a rule. The message names the setting, its value, the rule and the remedy."""


class NotGiven(ConfigError):
    """A file names a class that is not registered, and the caller did not give it, or gave another."""


# By kind (the dotted name of the setting) and name: what the core brings along, then what is registered.
_REGISTERED: dict[str, dict[str, type | str]] = beside(__file__)


def register(kind: str, name: str, config_class: type | str) -> None:
    """Give a class of arguments a name that configurations and run folders may use.

    Args:
        kind: "world", "agent", "replay.sampler" or "learner".
        name: the name.
        config_class: the class of its arguments (of a learner, the learner itself), or its ``"module:Class"``.
    """
    _REGISTERED.setdefault(kind, {})[name] = config_class


def names(kind: str) -> list[str]:
    """The names that worlds, agents, samplers or learners are registered under."""
    return list(_REGISTERED.get(kind, ()))


def default(kind: str) -> Any:
    """The world, agent or sampler that was registered first, with its default arguments."""
    return find(kind, names(kind)[0])[0]()


def find(kind: str, wanted: str | type) -> tuple[type[Any], dict[str, str]]:
    """The class of arguments that the caller means by a registered name, by ``module:Class``, or by a class itself.

    A class that has arguments of its own as ``config_class`` stands for them. What a registered name has behind a colon
    is imported, because the caller names it, and comes back as an argument.

    Raises:
        ConfigError: there is none of that name, it cannot be imported, or a child process could not import it.
    """
    named = ""
    if isinstance(wanted, str):
        name, colon, behind = wanted.partition(":")
        found = registered(kind, name)
        if found is None and not colon:
            raise ConfigError(said("registry.own", kind=kind, wanted=wanted, nearest=did_you_mean(wanted, names(kind))))
        if found is not None and (not colon or (behind and getattr(found, "named_by", None))):
            wanted, named = found, behind
        else:  # a module of the user's own, which may have a registered name
            wanted = _imported(kind, wanted)
    own: type[Any] = getattr(wanted, "__dict__", {}).get("config_class", wanted)
    if getattr(own, "group", None) != kind:
        raise ConfigError(said("registry.arguments", kind=kind, wanted=wanted, known=", ".join(names(kind))))
    check_importable(kind, own)
    if not named:
        return own, {}
    own.import_named(named)
    return own, {own.named_by: named}


def registered(kind: str, name: str) -> Any:
    """The class of a registered name, imported if need be; None if there is no such name."""
    found = _REGISTERED.get(kind, {}).get(name)
    return _imported(kind, found) if isinstance(found, str) else found


def read(kind: str, name: object, given: type | str | None) -> type[Any]:
    """The class of arguments that a file names; ``given`` is the class that the caller gives for it, if any.

    Raises:
        ConfigError: the name is not registered and no class is given, or another one than the file names.
    """
    if given is not None:
        found, _ = find(kind, given)
        if name_of(found) != name:
            raise NotGiven(said("registry.other", kind=kind, name=name, given=name_of(found)))
        return found
    if isinstance(name, str) and name in names(kind):
        return find(kind, name)[0]
    if isinstance(name, str) and ":" in name:
        raise NotGiven(said("registry.not given", kind=kind, name=name, argument=kind.rpartition(".")[2]))
    raise ConfigError(f"{kind} is {name!r}; {did_you_mean(name, names(kind))}")


def name_of(config_class: type[Any]) -> str:
    """The name of a class of arguments: as registered, or ``module:Class``."""
    path = f"{config_class.__module__}:{config_class.__qualname__}"
    registered = [each for of_kind in _REGISTERED.values() for each in of_kind.items()]
    return next((name for name, known in registered if known in (config_class, path)), path)


def check_importable(what: str, wanted: type) -> None:
    """Refuse a class that a child process could not import: it would die before it can say why.

    Raises:
        ConfigError: the class is defined in a notebook cell, a script or a function.
    """
    found: Any = sys.modules.get(wanted.__module__)
    for part in wanted.__qualname__.split("."):
        found = getattr(found, part, None)
    if wanted.__module__ == "__main__" or found is not wanted:
        raise ConfigError(said("registry.not importable", what=what, wanted=wanted))


def _imported(kind: str, path: str) -> type[Any]:
    module, _, qualified = path.partition(":")
    try:
        found: Any = attrgetter(qualified)(importlib.import_module(module))
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the third: a module relative to nothing
        nearest = did_you_mean(module, names(kind))
        raise ConfigError(said("registry.not imported", kind=kind, path=path, error=error, nearest=nearest)) from error
    if not isinstance(found, type):
        raise ConfigError(said("registry.no class", kind=kind, path=path, found=found))
    return found
