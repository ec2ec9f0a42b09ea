"""Options from dataclasses: every setting becomes one (``--world.num-agents 3``), with its docstring as help."""

import argparse
import contextlib
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from workbench.core.config import Config
from workbench.core.settings import whole
from workbench.runs.presets import preset, presets

Options = TypeVar("Options")
Value = TypeVar("Value")

# Every setting as an option of its own, without a prefix.
AllSettings = Annotated[Config, tyro.conf.arg(name="")]

# What may be left out; its help says in words what is done then.
Maybe = Annotated[Value | None, tyro.conf.DisallowNone, tyro.conf.arg(help_behavior_hint="")]

# The folder of a run, or its name.
RunPath = tyro.conf.Positional[Path]

PresetName = Annotated[str, tyro.conf.arg(metavar="{" + ",".join(presets()) + "}")]

# How the text of an option becomes a value, where it is not as tyro does it by itself.
READ = ConstructorRegistry()


@READ.primitive_rule
def _whole(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """A whole number, written as one or as ``1e3``."""
    if about.type is not int:
        return None

    def read(texts: list[str]) -> int:
        with contextlib.suppress(ValueError):
            number = int(texts[0]) if re.fullmatch(r"[+-]?\d+", texts[0]) else whole(float(texts[0]))
            if number is not None:
                return number
        raise ValueError(f"{texts[0]} is no whole number")

    return PrimitiveConstructorSpec(1, "INT", read, lambda value: type(value) is int, lambda value: [str(value)])


@dataclass(frozen=True)
class Classes:
    """Classes of your own that the runs were made with. Nothing is imported because a run folder names it.

    Attributes:
        world: World that is not part of this package, as ``module:Class``.
        agent: Agent that is not part of this package, as ``module:Class``.
        sampler: Sampler that is not part of this package, as ``module:Class``.
    """

    world: Maybe[str] = None
    agent: Maybe[str] = None
    sampler: Maybe[str] = None


# The options of :class:`Classes`, without a prefix.
OwnClasses = Annotated[Classes, tyro.conf.arg(name="")]
# No classes of your own.
NONE = Classes()

# Faults by name, an option for each: ``--fault sync_rarely=10 --fault corrupt_rows``.
Faults = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME[=STRENGTH]")]


def parse(
    command: str, arguments: Sequence[str], defaults: Callable[[Config], Options], program: str = "workbench"
) -> Options:
    """The options of a command.

    ``--preset``, ``--world``, ``--agent`` and ``--sampler`` are looked up first: they set the defaults of the others,
    and decide which others there are.

    Exits with code 2 and a message if the arguments cannot be understood, with code 0 after ``--help``.

    Args:
        command: the word after ``workbench``.
        arguments: the words after that.
        defaults: makes an instance of the options' dataclass from the configuration of a preset.
        program: what stands before the command.

    Raises:
        ConfigError: a setting is refused, or there is no such preset.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for setting in ("preset", "world", "agent", "replay.sampler"):
        first.add_argument(f"--{setting.rpartition('.')[2]}", dest=setting, nargs="?")
    found = vars(first.parse_known_args(arguments)[0])
    chosen = {setting: name for setting, name in found.items() if name is not None}
    default = defaults(preset(chosen.pop("preset", presets()[0])).replace(**chosen))
    return tyro.cli(type(default), prog=f"{program} {command}", args=arguments, default=default, registry=READ)


def command(function: Callable[..., int | None]) -> Callable[[Sequence[str]], int]:
    """A decorator: the function's parameters become options, its docstring the help, and what it returns the exit code.

    One that returns nothing has done what it was asked for: 0. The result takes the words after the command. It exits
    with code 2 and a message if they cannot be understood, with code 0 after ``--help``.
    """

    # tyro keeps the line breaks of what is said of a parameter
    function.__doc__ = re.sub(r"\n {5,}", " ", inspect.getdoc(function) or "")

    @functools.wraps(function)
    def act(arguments: Sequence[str]) -> int:
        return int(tyro.cli(function, prog=f"workbench {function.__name__}", args=arguments, registry=READ) or 0)

    return act
