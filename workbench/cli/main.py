"""The command ``workbench``: does what the first word says, and turns whatever went wrong into a message and a code.

0: done. 1: a run, a notebook or the system failed. 2: the user asked for something that cannot be. 130: interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TextIO

from workbench.cli import notebooks, reports, training
from workbench.core.config import ConfigError
from workbench.core.processes.supervisor import ChildFailed
from workbench.runs import machine
from workbench.runs.folder import RecordError
from workbench.runs.loaded import RunError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


class Command(NamedTuple):
    """A word after ``workbench``: what does it, given the rest of the line, and what the help says of it."""

    act: Callable[[list[str]], int]
    help: str


COMMANDS = {
    "run": Command(training.run, "train in one mode, sequential or multiprocess"),
    "resume": Command(training.resume, "continue a run that was stopped, was cut off or has failed"),
    "runs": Command(training.runs, "list the runs of a folder with their status"),
    "compare": Command(training.compare, "train in both modes and compare: a table, a figure and a summary file"),
    "doctor": Command(reports.doctor, "check what a run has recorded, and say what is wrong with it"),
    "timeline": Command(reports.timeline, "show what each process of a run did when: shares, a figure, a trace"),
    "figures": Command(reports.figures, "make the figures of a report from run folders"),
    "export": Command(reports.export, "give a run to pandas, TensorBoard, or a colleague"),
    "unpack": Command(reports.unpack, "open a run that was packed into one file"),
    "film": Command(reports.film, "a greedy epoch of some runs, side by side, as an animation"),
    "lab": Command(notebooks.lab, "open JupyterLab on the notebooks; further arguments go to JupyterLab"),
    "notebooks": Command(notebooks.notebooks, "execute the notebooks and save them with their outputs"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what follows the word ``workbench``; None takes it from the command line.
    """
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.command is None:
        parser.print_help(sys.stderr)
        return REFUSED
    return exit_code(COMMANDS[chosen.command].act, rest)


def exit_code(act: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Call what a command line stands for, and turn what goes wrong into a message on stderr and a code.

    Args:
        act: takes the arguments and returns an exit code.
        arguments: the words after the command.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's stop is as orderly as Ctrl-C
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited from the process that started this one
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    warnings.showwarning = _show_warning
    try:
        return act(arguments)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except (ConfigError, RecordError, MemoryError) as error:
        return _say(error, REFUSED)
    except (ChildFailed, RunError, notebooks.NotebookFailed, OSError) as error:
        return _say(error, FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="workbench",
        description="One multi-agent trainer, run sequentially and multiprocess, side by side.",
        epilog="Every command explains its options: workbench COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"workbench {machine.versions()['workbench']}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)  # the command itself parses the rest
    return parser


def _say(message: object, code: int) -> int:
    print(f"workbench: {message or type(message).__name__}", file=sys.stderr)
    return code


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    print(f"workbench: warning: {message}", file=sys.stderr)
