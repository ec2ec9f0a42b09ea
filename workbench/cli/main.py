"""The command ``workbench``: does what the first word says, and turns whatever went wrong into a message and a code.

0: done. 1: a run, a notebook or the system failed. 2: the user asked for something that cannot be.
3: all finished, and the disk refused something of it. 130: interrupted.
"""

import argparse
import os
import re
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from workbench.cli import notebooks, reports, training
from workbench.core.config import ConfigError
from workbench.core.processes.supervisor import ChildFailed
from workbench.runs import machine
from workbench.runs.folder import RecordError
from workbench.runs.loaded import RunError
from workbench.runs.table import tell

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


# "~" where a shell leaves it: in --out=~/runs, or in quotes.
_HOME = re.compile(r"^(--[\w.-]+=|)~(?=/|$)")

Action = Callable[[list[str]], int]

# What a word after ``workbench`` calls, given the rest of the line. The help shows the first line of its docstring.
COMMANDS: dict[str, Action] = {
    action.__name__: action for action in (
        training.run, training.resume, training.runs, training.delete, training.compare,
        training.sweep, reports.doctor, reports.timeline,
        reports.figures, reports.export, reports.unpack, reports.film, notebooks.lab, notebooks.notebooks,
    )
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what follows the word ``workbench``; None takes it from the command line.
    """
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="One multi-agent trainer, run sequentially and multiprocess, side by side.",
        epilog="Every command explains its options: workbench COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"workbench {machine.versions()['workbench']}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, action in COMMANDS.items():  # which parses the rest
        commands.add_parser(name, help=(action.__doc__ or "").partition("\n")[0], add_help=False)
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return REFUSED
    return exit_code(COMMANDS[chosen.command], rest)


def exit_code(action: Action, arguments: list[str]) -> int:
    """Call what a command line stands for, and turn what goes wrong into a message on stderr and a code.

    Args:
        action: takes the arguments and returns an exit code.
        arguments: the words after the command.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by whatever started the command
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as the process lives
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):  # a batch system's stop is as orderly as Ctrl-C
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited from the process that started this one
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    warnings.showwarning = lambda message, *_, **__: tell(f"workbench: warning: {message}", sys.stderr)
    try:
        try:
            return action([_HOME.sub(lambda found: found[1] + os.path.expanduser("~"), each) for each in arguments])
        finally:  # also after --help, which exits
            sys.stdout.flush()
    except BrokenPipeError as error:
        return DONE if _reader_has_left() else _say(error, FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except (ConfigError, RecordError, MemoryError) as error:
        return _say(error, REFUSED)
    except (ChildFailed, RunError, notebooks.NotebookFailed, OSError) as error:
        return _say(error, FAILED)


def _reader_has_left() -> bool:
    """Whether the output has no reader any more, as in ``workbench runs | head -1``."""
    look = select.poll()
    look.register(sys.stdout, 0)
    left = any(event & (select.POLLERR | select.POLLHUP) for _, event in look.poll(0))
    if left:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # nothing is left for the interpreter to flush
    return left


def _say(message: object, code: int) -> int:
    tell(f"workbench: {str(message) or type(message).__name__}", sys.stderr)
    return code
