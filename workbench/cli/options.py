"""Options from dataclasses: every setting becomes one (``--world.num-agents 3``), with its docstring as help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from workbench.core.config import Config, ConfigError, preset, presets
from workbench.runs.folder import runs_folder
from workbench.runs.loaded import LoadedRun, load

Options = TypeVar("Options")

AllSettings = Annotated[Config, tyro.conf.arg(name="")]
"""Every setting as an option of its own, without a prefix."""

PresetName = Annotated[str, tyro.conf.arg(metavar="{" + ",".join(presets()) + "}")]

Lag = int | Literal["free"]
"""A number of epochs, or free-running."""

Faults = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME[=STRENGTH]")]
"""Faults by name, an option for each: ``--fault sync_rarely=10 --fault corrupt_rows``."""


def parse(
    command: str, arguments: Sequence[str], defaults: Callable[[Config], Options], program: str = "workbench"
) -> Options:
    """The options of a command; ``--preset`` is looked up first, since it sets the defaults of the others.

    Exits with code 2 and a message if the arguments cannot be understood, with code 0 after ``--help``.

    Args:
        command: the word after ``workbench``.
        arguments: the words after that.
        defaults: makes an instance of the options' dataclass from the configuration of a preset.
        program: what stands before the command.

    Raises:
        ConfigError: a setting is refused, or there is no such preset.
    """
    default = defaults(preset(_preset_name(arguments)))
    return tyro.cli(type(default), prog=f"{program} {command}", args=arguments, default=default)


def lag_of(option: Lag) -> int | None:
    """The dial as the package takes it: None for free-running."""
    return None if option == "free" else option


def at_least(least: int, **options: int) -> None:
    """Refuse numbers that are too small.

    Raises:
        ConfigError: one of them is; it is named.
    """
    for name, value in options.items():
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be {least} or more")


def load_named(run: Path) -> LoadedRun:
    """A run by the path of its folder, or by its name in the folder of the runs.

    Raises:
        RecordError: there is no run at either place, or it cannot be read.
    """
    return load(named_path(run))


def named_path(run: Path) -> Path:
    """The folder of a run, given by its path, or by its name in the folder of the runs."""
    named = runs_folder() / run
    return run if run.exists() or not named.exists() else named


def _preset_name(arguments: Sequence[str]) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", default=presets()[0], const=presets()[0])
    name: str = parser.parse_known_args(arguments)[0].preset
    return name
