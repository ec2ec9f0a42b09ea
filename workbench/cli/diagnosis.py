"""``workbench doctor``, ``matrix``, ``torn``, ``kills``, ``soak``: what is wrong with a run, and who would notice."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from tests.campaigns.reference_files import reference_path
from workbench.cli.options import Faults, at_least, load_named, parse
from workbench.core.config import ConfigError
from workbench.runs.folder import data_folder


@dataclass(frozen=True)
class DoctorOptions:
    """Check what a run has recorded, while it goes on or after its end.

    The exit code is 0 if every check passes, 1 if one fails, 2 if one cannot tell.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder, or its name in data/runs."""


def doctor(arguments: list[str]) -> int:
    """Print every check of a run, the methods of seed 000 and the verdict on its hypothesis."""
    options = tyro.cli(DoctorOptions, prog="workbench doctor", args=arguments)
    diagnosis = load_named(options.run).diagnose()
    print(diagnosis.text)
    return diagnosis.exit_code


@dataclass(frozen=True)
class MatrixOptions:
    """Run every fault and the sound system: who notices what, when, and what it costs.

    The file is whole after every run; the same command goes on where an earlier one was interrupted. The exit code is
    1 if a fault was not noticed by the check that must notice it, or if the sound system raised an alarm.
    """

    budget: Literal["full", "quick"] = "full"
    """All faults, some fifteen minutes on two cores; or a few of them on a tiny task, to see that everything runs."""
    only: Faults = ()
    """A fault to run, with the sound runs that it is compared with; can be given several times."""
    seeds: int | None = None
    """Seeds of each fault, counted up from 0. Default: those of the budget."""
    jobs: int = 2
    """Runs at a time."""
    out: Path | None = None
    """File to write. Default: data/reference/matrix.json, or data/matrix-quick.json with the quick budget."""
    runs: Path | None = None
    """Folder that keeps the run folders. Default: they are deleted."""
    fresh: bool = False
    """Begin anew instead of going on with the file."""


def matrix(arguments: list[str]) -> int:
    """Make the runs, write the file and its figure, print the table."""
    from tests.campaigns import matrix as made

    options = parse("matrix", arguments, lambda _: MatrixOptions())
    default = reference_path("matrix.json") if options.budget == "full" else data_folder() / "matrix-quick.json"
    out = options.out or default
    data = made.run_matrix(
        out, options.budget, shlex.join(["workbench", "matrix", *arguments]), _say, options.only, options.seeds,
        options.fresh, options.jobs, options.runs,
    )  # fmt: skip
    print(f"{made.table(data)}\n\nwritten: {out}, {_draw(data, out)}")
    return 0 if made.is_sound(data) else 1


@dataclass(frozen=True)
class TornOptions:
    """Measure torn reads of weights and of replay rows, by protocol, size and rate of the writer.

    The exit code is 1 if what must not tear did.
    """

    quick: bool = False
    """Less work: to see that everything runs, not to quote."""
    seed: int = 0
    """Of the order of the measurements and of the rows drawn."""
    out: Path | None = None
    """File to write. Default: data/reference/torn_reads.json."""


def torn(arguments: list[str]) -> int:
    """Measure, write the file and its figure, print the tables."""
    from workbench.diagnose.torn import run_torn  # here, since no other command needs it

    options = parse("torn", arguments, lambda _: TornOptions())
    at_least(0, seed=options.seed)
    return run_torn(options.out, options.quick, options.seed)


@dataclass(frozen=True)
class KillsOptions:
    """Kill processes of many runs at random instants, and check that every run ends as if nothing had happened.

    The exit code is 1 if a run hung, failed, accepted torn data, counted wrongly, or ended with other digests.
    """

    kills: int = 300
    """Kills to make."""
    seed: int = 0
    """Of what is killed when, and how."""
    out: Path | None = None
    """File to write. Default: data/reference/kills.json."""


def kills(arguments: list[str]) -> int:
    """Make the campaign, write the file, print the counts."""
    from tests.campaigns import kills as made

    options = parse("kills", arguments, lambda _: KillsOptions())
    at_least(0, seed=options.seed)
    at_least(1, kills=options.kills)
    out = options.out or reference_path("kills.json")
    data = made.run_kills(out, options.kills, options.seed, shlex.join(["workbench", "kills", *arguments]), _say)
    counts = ("kills", "runs", "hangs", "failed_runs", "torn_accepted", "digest_mismatches", "wrong_counts")
    print("\n".join(f"{name}: {data[name]}" for name in counts) + f"\nwritten: {out}")
    return 0 if made.is_sound(data) else 1


@dataclass(frozen=True)
class SoakOptions:
    """Let a free-running run go on for long while its processes are killed, and see that nothing grows.

    The exit code is 1 if memory, open files or names in /dev/shm grew, or if a record is missing.
    """

    minutes: float = 60.0
    """How long."""
    kill_every: float = 60.0
    """Seconds between two kills."""
    seed: int = 0
    """Of who is killed, and how."""
    out: Path | None = None
    """File to write. Default: data/reference/soak.json."""

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 1e5 or not 0 < self.kill_every <= 1e6:
            raise ConfigError(
                f"minutes is {self.minutes} and kill_every {self.kill_every}; both must be above 0, and minutes at "
                "most 100000"
            )


def soak(arguments: list[str]) -> int:
    """Watch a run for as long as was asked, write the file, print what grew."""
    from tests.campaigns import soak as made

    options = parse("soak", arguments, lambda _: SoakOptions())
    at_least(0, seed=options.seed)
    out = options.out or reference_path("soak.json")
    command = shlex.join(["workbench", "soak", *arguments])
    data = made.run_soak(out, options.minutes, options.kill_every, options.seed, command, _say)
    print(f"{made.table(data)}\nwritten: {out}")
    return 0 if data["held"] else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _draw(data: dict[str, object], out: Path) -> Path:
    """The figure of the matrix: in the folder ``figures`` beside ``reference``, else next to the file."""
    from workbench.diagnose.matrix_figure import figure

    folder = out.parent.parent / "figures" if out.parent.name == "reference" else out.parent
    folder.mkdir(parents=True, exist_ok=True)
    return figure(data).save(folder / f"{out.stem}.png")
