"""What the command lines of all campaigns share: options from a dataclass, exit codes, and lines of progress."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from workbench.cli import options
from workbench.cli.main import exit_code
from workbench.core.config import Config
from workbench.core.settings import require

Options = TypeVar("Options")


def parse(campaign: str, arguments: Sequence[str], defaults: Callable[[Config], Options]) -> Options:
    """The options of a campaign; see :func:`workbench.cli.options.parse`."""
    return options.parse(f"tests.campaigns.{campaign}", arguments, defaults, program="python -m")


def command(campaign: str, arguments: Sequence[str]) -> str:
    """The command line as a reference file quotes it."""
    return shlex.join(["python", "-m", f"tests.campaigns.{campaign}", *arguments])


def at_least(least: int, **options: int) -> None:
    """Refuse numbers that are too small; raises ConfigError, which names the first."""
    for name, value in options.items():
        require(value >= least, name, value, f"it must be {least} or more")


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def start(campaign: str) -> NoReturn:
    """Call ``main`` of a campaign with the words of the command line, and leave with its exit code.

    The campaign is imported under its own name: what it sends to child processes must not belong to ``__main__``.
    """
    main = importlib.import_module(f"tests.campaigns.{campaign}").main
    sys.exit(exit_code(main, sys.argv[1:]))
