"""Groups of settings: frozen dataclasses whose fields carry their own bounds, checked when an object is built.

A field says what it takes by its annotation, and its rules by metadata: ``width: Annotated[int, between(1, 65536)]``.
Rules that join several fields are short methods named ``check``. Changes and JSON go through :func:`changed`
and :meth:`Settings.to_dict`, which follow the groups however deep they are nested.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from workbench.core import registry
from workbench.core.registry import ConfigError
from workbench.core.sentences import did_you_mean, said


class Rule(NamedTuple):
    """Which values a field takes, and the same in words."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: float, unit: str = "") -> Rule:
    """``low`` or more, in that unit; a word that the field takes beside numbers has no bounds."""
    return Rule(f"at least {low:.15g} {unit}".rstrip(), lambda value: isinstance(value, str) or value >= low)


def above(low: float, unit: str = "", most: float = math.inf) -> Rule:
    """More than ``low``, and ``most`` at most."""
    limit = "" if most == math.inf else f" and at most {most:.15g}"
    return Rule(f"above {low:.15g}{limit} {unit}".rstrip(), lambda value: low < value <= most)


def between(low: float, high: float, unit: str = "", also: float | None = math.nan) -> Rule:
    """From ``low`` to ``high``, both included, or ``also``."""
    return Rule(f"{low:.15g} to {high:.15g} {unit}".rstrip(), lambda value: value == also or low <= value <= high)


SHARE = between(0, 1, "(a share or a probability)")


def require(holds: bool, name: str, value: object, rule: str) -> None:
    """Refuse a setting.

    Raises:
        ConfigError: the rule does not hold.
    """
    if not holds:
        raise ConfigError(f"{name} is {_shown(value)}; {rule}")


class Settings:
    """A group of settings. A subclass is a frozen dataclass; its fields are checked when it is built.

    Attributes:
        group: Dotted name of the group; "" for the whole configuration.
    """

    group: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "") -> None:
        cls.group = group or cls.group

    def __post_init__(self) -> None:
        for name, annotation in fields_of(type(self)).items():
            value, dotted = getattr(self, name), f"{self.group}.{name}".lstrip(".")
            bare, *rules = typing.get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
            accepted = _accepted(bare, value)
            require(accepted is not _REFUSED, dotted, value, f"it must be {_described(bare)}")
            for rule in rules:
                require(rule.holds(accepted), dotted, accepted, f"it must be {rule.words}")
            object.__setattr__(self, name, accepted)
        self.check()

    def check(self) -> None:
        """Rules that join several fields; they are refused by :meth:`demand` or :func:`require`."""

    def demand(self, holds: bool, name: str, rule: str) -> None:
        """Refuse one of these settings, by its dotted name in the group, if the rule does not hold."""
        require(holds, f"{self.group}.{name}".lstrip("."), attrgetter(name)(self), rule)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries, ready for JSON. World, agent and sampler say their names first."""
        named = {"name": registry.name_of(type(self))} if isinstance(self, Choice) else {}
        values = {name: getattr(self, name) for name in fields_of(type(self))}
        return named | {name: each.to_dict() if isinstance(each, Settings) else each for name, each in values.items()}


class Choice(Settings):
    """Arguments of one world, agent or sampler out of several, chosen by a registered name or by ``module:Class``.

    Each declares its own fields.

    Attributes:
        named_by: The field that takes what stands behind a colon after the name; "" if none does.
    """

    named_by: ClassVar[str] = ""

    @classmethod
    def import_named(cls, text: str) -> None:
        """Import what the caller means by the text behind the colon. A file never has this called."""

    def lacks(self, method: str) -> ConfigError:
        """What to raise where a class has not the method that all of its group need."""
        return ConfigError(said("settings.lacks", choice=self, name=registry.name_of(type(self)), method=method))


def fields_of(settings: type) -> dict[str, Any]:
    """Field name to annotation, with its bounds."""
    if settings not in _FIELDS:
        hints = typing.get_type_hints(settings, include_extras=True)
        _FIELDS[settings] = {item.name: hints[item.name] for item in dataclasses.fields(settings)}
    return _FIELDS[settings]


_FIELDS: dict[type, dict[str, Any]] = {}


def field_names(settings: Settings, prefix: str = "") -> Iterator[str]:
    """Dotted names of every setting, in order."""
    for name in fields_of(type(settings)):
        value, dotted = getattr(settings, name), f"{prefix}{name}"
        yield from field_names(value, f"{dotted}.") if isinstance(value, Settings) else [dotted]


def known_names(settings: Settings) -> list[str]:
    """Dotted names of every setting and of every group."""
    names = list(field_names(settings))
    return list(dict.fromkeys([*names, *(name.rpartition(".")[0] for name in names if "." in name)]))


def _chosen(before: Choice, wanted: Any) -> Any:
    """The choice that is meant by a name or a class, with what it shares with the one before."""
    if not isinstance(wanted, str | type):
        return wanted
    found, named = registry.find(before.group, wanted)
    shared = fields_of(type(before)) if issubclass(found, type(before)) else {}
    return found(**{name: getattr(before, name) for name in shared} | named)


def changed(
    settings: Any, changes: Mapping[Any, Any], root: Settings, prefix: str = "",
    choose: Callable[[Choice, Any], Any] = _chosen,
) -> Any:  # fmt: skip
    """A copy of a group with changes by field, by dotted name, or by a mapping for a group.

    A world, agent or sampler can also be given by registered name, by ``module:Class`` or as a class. Arguments that
    its class shares with the one before, because it is derived from it, keep their values.

    Raises:
        ConfigError: an unknown field (the nearest known ones are named) or a refused value.
    """
    fields, values, nested = fields_of(type(settings)), dict[str, Any](), dict[str, dict[Any, Any]]()
    for name, value in changes.items():
        head, dot, rest = str(name).partition(".")
        before = getattr(settings, head) if head in fields else None
        if head not in fields or (dot and not (isinstance(before, Settings | dict) and rest)):
            raise unknown(f"{prefix}{name}", root)
        if dot and isinstance(before, dict):
            values[head] = {**values.get(head, before), rest: value}
        elif dot or (isinstance(before, Settings) and isinstance(value, Mapping)):
            nested.setdefault(head, {}).update({rest: value} if dot else value)
        else:
            values[head] = choose(before, value) if isinstance(before, Choice) else value
    for head, inner in nested.items():
        owner = values.get(head, getattr(settings, head))
        if isinstance(owner, Choice) and "name" in inner:
            owner = choose(owner, inner.pop("name"))
        require(isinstance(owner, Settings), f"{prefix}{head}", owner, f"it must be {_described(fields[head])}")
        values[head] = changed(owner, inner, root, f"{prefix}{head}.", choose)
    return dataclasses.replace(settings, **values)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def unknown(name: str, root: Settings) -> ConfigError:
    """What to raise for an unknown setting."""
    return ConfigError(f"there is no setting {name!r}; {did_you_mean(name, known_names(root))}")


_REFUSED = object()


def _accepted(annotation: Any, value: Any) -> Any:
    """The value as the annotated type, or :data:`_REFUSED`.

    NumPy's numbers and strings are Python's, whole numbers pass as floats, and floats without a fraction as whole ones
    (``1e3``); a truth value is no number. A whole number must fit into 64 bits, because each becomes a word in shared
    memory or on a device.
    """
    if isinstance(value, np.generic):
        value = value.item()
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        accepted = (_accepted(option, value) for option in typing.get_args(annotation))
        return next((each for each in accepted if each is not _REFUSED), _REFUSED)
    if origin is Literal:
        options = typing.get_args(annotation)
        return value if any(type(value) is type(option) and value == option for option in options) else _REFUSED
    if annotation in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        if annotation is float:
            return float(value) if number and (isinstance(value, float) or abs(value) < 2**63) else _REFUSED
        return int(value) if number and value == int(value) and abs(value) < 2**63 else _REFUSED
    if origin is tuple and isinstance(value, list):
        value = tuple(value)  # as it comes out of JSON
    return value if isinstance(value, origin or annotation) else _REFUSED


def whole(value: Any) -> int | None:
    """A whole number, also one of NumPy's or a float without a fraction, as Python's own; None for anything else."""
    accepted = _accepted(int, value)
    return None if accepted is _REFUSED else accepted


def _described(annotation: Any) -> str:
    options = {typing.Union: _described, types.UnionType: _described, Literal: repr}.get(typing.get_origin(annotation))
    if options:
        return " or ".join(map(options, typing.get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        named = f"a {annotation.__name__}, the name of one, or " * issubclass(annotation, Choice)
        return f"{named}an object of its fields"
    words = {int: "a whole number below 2**63", float: "a finite number", bool: "True or False", str: "a string"}
    return words.get(annotation, str(annotation))


def _shown(value: object) -> str:
    """A value as text, shortened; Python refuses to print whole numbers of thousands of digits."""
    try:
        text = repr(value)
    except ValueError:
        text = f"an {type(value).__name__} too long to print"
    return text if len(text) <= 200 else f"{text[:200]}..."
