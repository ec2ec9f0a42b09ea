"""The matrix: every fault in runs of its own beside sound runs, and which checks notice what, when, at what cost.

``python -m tests.campaigns.matrix`` makes it.

A :class:`Case` is one run. A :class:`Matrix` keeps what came of each case in one file, which is whole after every run
and can be continued after an interruption. Everything else in that file is computed from those runs by :func:`summary`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from notebooks.tour import check_of_fault, ids_of_fault
from tests.campaigns.command_line import command, parse, start
from tests.campaigns.command_line import say as to_stderr
from tests.campaigns.difference import holm, paired_difference
from tests.campaigns.reference_files import RunsFile, figure_path
from workbench.api import Run, launch
from workbench.cli.options import Faults
from workbench.core.config import Config, ConfigError, Mode
from workbench.core.processes.supervisor import ChildFailed
from workbench.diagnose.faults import FAULTS, Fault, make
from workbench.report.fault_matrix import matrix_figure
from workbench.runs.folder import data_folder, reference_path
from workbench.runs.presets import preset
from workbench.view.style import PRINT_DPI

Budget = Literal["full", "quick"]
Say = Callable[[str], None]
Record = dict[str, Any]
"""What came of one case, as plain values."""

RUN_LIMIT_S = 180.0
"""A run that takes longer is stopped, and counts as stopped."""
SETTINGS: tuple[tuple[Mode, int | None], ...] = (("sequential", 1), ("multiprocess", 1), ("multiprocess", None))
"""Modes and lags for a fault, the cheapest first; it gets the first one in which it makes sense."""
SETTING_OF_FAULT: dict[str, tuple[Mode, int | None]] = {
    "torn_weights_per_parameter": ("multiprocess", None),  # writer and reader meet where no dial keeps them apart
    "torn_weights_state_dict": ("multiprocess", None),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "impatient": {"processes.hang_timeout_s": 8.0},
    "noisy": {"agent.noisy": True},
    "publishing often": {"pacing.publish_interval": 2},
    "few updates per epoch": {
        "epochs": 240, "exploration.decay_epochs": 120, "pacing.updates_per_epoch": 4, "pacing.publish_interval": 4,
    },
}  # fmt: skip
"""Other settings, in which some faults can be seen at all. Sound runs of the same settings stand beside them."""
VARIANT_OF_FAULT = {
    "hang_learner": "impatient",  # nobody wants to wait for minutes
    "eval_mode_training": "noisy",  # without noise both modes compute the same
    "torn_weights_per_parameter": "publishing often",  # an actor that syncs while the updates are still being made
    "torn_weights_state_dict": "publishing often",  # may never meet the one publication that follows them
    "unpaced_learner": "few updates per epoch",  # a learner that is slower than the actor never runs ahead
}
STRENGTHS = {"torn_weights_per_parameter": 400.0}
"""Strengths of faults that have another one here than by default: pauses that do not hold up the run for long."""
SOUND_SETTINGS: tuple[tuple[Mode, int | None], ...] = (
    ("sequential", 0), ("sequential", 1), ("sequential", 3),
    ("multiprocess", 0), ("multiprocess", 1), ("multiprocess", 3), ("multiprocess", None),
)  # fmt: skip
QUICK_FAULTS = ("truncation_as_terminal", "sync_never", "unflattened_observation")
SEEDS: dict[Budget, tuple[int, int]] = {"full": (10, 3), "quick": (1, 1)}
"""Seeds of each fault and of what it is compared with, and of every other setting of the sound system."""
COMPARED: tuple[tuple[Mode, int | None], ...] = (("sequential", 1), ("multiprocess", None))
"""Settings that faults are compared with; both modes at lag 1 come to the same."""
TASK: dict[str, Any] = {
    "epochs": 120, "exploration.decay_epochs": 60, "world.num_agents": 2, "world.spawn_prob": 0.004,
    "learning.gamma": 0.95,
}  # fmt: skip
"""What the full budget changes of the preset "small": so few gems that one has to be walked to, which takes values."""
LEVEL = 0.05
"""How often, at most, one effect or more of all those called measurable is luck."""


def matrix_config(budget: Budget = "full") -> Config:
    """The preset "small" with few gems, or "tiny" with twice its epochs: a ring that comes round more than once.

    Raises:
        ConfigError: there is no such budget.
    """
    if budget not in SEEDS:
        raise ConfigError(f"budget is {budget!r}; choose one of {', '.join(SEEDS)}")
    config = preset("small").replace(**TASK) if budget == "full" else preset("tiny").replace(epochs=24)
    return config.replace(**{"device": "cpu", "processes.learners": 1})


@dataclass(frozen=True)
class Case:
    """One run of the matrix."""

    fault: str
    """As it is switched on, with its strength: ``sync_rarely=10``; empty for a sound run."""
    mode: Mode
    lag: int | None
    seed: int
    variant: str = ""
    """Which of :data:`VARIANTS`."""

    @property
    def name(self) -> str:
        """Name of its run folder."""
        lag = "free" if self.lag is None else f"lag{self.lag}"
        fault = self.fault.translate(str.maketrans("=", "-", "+")) or "sound"
        variant = f"-{self.variant.replace(' ', '-')}" if self.variant else ""
        return f"{fault}{variant}-{self.mode}-{lag}-seed{self.seed}"

    def config(self, config: Config) -> Config:
        """The matrix' configuration as this run needs it."""
        return config.replace(seed=self.seed, **VARIANTS[self.variant])


def fault_cases(config: Config, faults: Sequence[str], seeds: int) -> Iterator[Case]:
    """Runs of some faults, each in the mode and lag in which it makes sense.

    Raises:
        ConfigError: a fault is unknown, or makes sense in no setting.
    """
    for fault in map(_made, faults):
        mode, lag = _setting(fault, config)
        variant = VARIANT_OF_FAULT.get(fault.name, "")
        yield from (Case(fault.text, mode, lag, config.seed + place, variant) for place in range(seeds))


def sound_cases(config: Config, seeds: tuple[int, int], settings: Sequence[tuple[Mode, int | None]]) -> Iterator[Case]:
    """Runs of the sound system. At the same lag both modes get seeds of their own, since the same ones give the same.

    Those that faults are compared with have the seeds of the faults, the first number; the others the second one.
    """
    for mode, lag in settings:
        first = config.seed + (max(seeds) if mode == "multiprocess" and lag is not None else 0)
        count = seeds[(mode, lag) not in COMPARED]
        yield from (Case("", mode, lag, first + place) for place in range(count))


def plan(config: Config, budget: Budget, only: Sequence[str] = (), seeds: int | None = None) -> tuple[Case, ...]:
    """All cases of a budget, the sound ones first; with ``only``, some faults and what they are compared with.

    Raises:
        ConfigError: a fault is unknown, or fewer than one seed was asked for.
    """
    of_fault, of_sound = SEEDS[budget]
    if seeds is not None:
        if seeds < 1:
            raise ConfigError(f"seeds is {seeds}; a fault needs at least 1")
        of_fault = seeds
    faults = tuple(only) or (QUICK_FAULTS if budget == "quick" else tuple(FAULTS))
    broken = tuple(fault_cases(config, faults, of_fault))
    settings = SOUND_SETTINGS
    if only or budget == "quick":
        lags = {case.lag for case in broken}
        settings = tuple(each for each in COMPARED if each[1] in lags)
    return (*sound_cases(config, (of_fault, of_sound), settings), *variants_of(broken), *broken)


def variants_of(broken: Sequence[Case]) -> tuple[Case, ...]:
    """Sound runs beside the faults that are run in other settings and come to their end."""
    beside = (
        Case("", "sequential" if case.lag is not None else "multiprocess", case.lag, case.seed, case.variant)
        for case in broken
        if case.variant and check_of_fault(make(case.fault).name) != "supervisor"
    )
    return tuple(dict.fromkeys(beside))


def _made(fault: str) -> Fault:
    """The fault, with the strength that it has here if none is given."""
    return make(fault, STRENGTHS.get(fault))


def _setting(fault: Fault, config: Config) -> tuple[Mode, int | None]:
    wanted = SETTING_OF_FAULT.get(fault.name)
    for mode, lag in (wanted,) if wanted else SETTINGS:
        if not (why := fault.why_not(config, mode, lag)):
            return mode, lag
    raise ConfigError(f"{fault.text} makes no sense in any mode of the matrix: {why}")


# --- running ---------------------------------------------------------------------------------------------------------


def run_cases(cases: Sequence[Case], config: Config, keep: Callable[[Record], None], jobs: int, folder: Path) -> None:
    """Make the runs, at most ``jobs`` at a time, and hand on what came of each. Interrupted, it stops them in order.

    Args:
        cases: the runs to make.
        config: the matrix' configuration.
        keep: called with the record of a run as soon as it has ended.
        jobs: runs at a time.
        folder: takes the run folders.
    """
    waiting, going = collections.deque(cases), collections.deque[tuple[Case, Run]]()
    try:
        while waiting or going:
            while waiting and len(going) < jobs:
                case = waiting.popleft()
                going.append((case, _launch(case, config, folder)))
            case, run = going.popleft()
            if _has_ended(run):
                keep(record_of(case, run))
            else:
                going.append((case, run))
    finally:
        for _, run in going:
            run.stop()


def record_of(case: Case, run: Run) -> Record:
    """What came of a run that has ended."""
    diagnosis = run.diagnose()
    result = run.result
    return {
        **dataclasses.asdict(case),
        "status": run.status,
        "noticed": {check.name: check.epoch or 0 for check in diagnosis.failed},
        "cannot_tell": [check.name for check in diagnosis.checks if check.verdict == "cannot tell"],
        "sentences": {check.name: check.sentence[:400] for check in diagnosis.failed},
        "greedy_reward": result.greedy_reward if run.status == "finished" else None,
        "error": str(run.error).strip().splitlines()[-1][:400] if run.error else None,
        "wall_s": round(result.wall_s, 2),
        "startup_s": round(result.startup_s, 2) if np.isfinite(result.startup_s) else None,
    }


def _launch(case: Case, config: Config, folder: Path) -> Run:
    faults = [case.fault] if case.fault else []
    return launch(case.config(config), case.mode, case.lag, name=case.name, out=folder, faults=faults)


def _has_ended(run: Run) -> bool:
    """Look for a moment whether a run has ended; one that takes too long is stopped."""
    try:
        run.wait(0.05)
    except TimeoutError:
        if run.progress["elapsed_s"] > RUN_LIMIT_S:
            run.stop()
        return False
    except ChildFailed:
        return True
    return True


# --- the file --------------------------------------------------------------------------------------------------------


class Matrix(RunsFile):
    """The file of the matrix: what came of every run, and the table that follows from it."""

    def missing(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Cases that the file does not hold yet."""
        there = {_case(run) for run in self.runs}
        return tuple(case for case in cases if case not in there)

    def table(self) -> dict[str, Any]:
        """A line per fault, the sound system, and the runs in the catalogue's order."""
        ordered = sorted(self.runs, key=lambda run: (_place(run["fault"]), run["mode"], str(run["lag"]), run["seed"]))
        return {**summary(ordered), "runs": ordered}


def _case(record: Record) -> Case:
    return Case(**{field.name: record[field.name] for field in dataclasses.fields(Case)})


def _place(fault: str) -> int:
    """Sound runs first, then faults in the catalogue's order."""
    name = fault.partition("=")[0]
    return list(FAULTS).index(name) if name else -1


# --- the table -------------------------------------------------------------------------------------------------------


def summary(runs: Sequence[Record]) -> dict[str, Any]:
    """The table that follows from the runs: a line per fault, and the sound system."""
    sound = [run for run in runs if not run["fault"]]
    faults = dict.fromkeys(run["fault"] for run in runs if run["fault"])
    lines = [fault_line([run for run in runs if run["fault"] == fault], sound) for fault in faults]
    raised = holm({line["name"]: line["chance"] for line in lines if line["chance"] is not None})
    for line in lines:
        line["measurable"] = raised[line["name"]] < LEVEL if line["effect_interval"] else None
    return {"faults": lines, "sound": sound_line(sound)}


def fault_line(runs: Sequence[Record], sound: Sequence[Record]) -> dict[str, Any]:
    """What the runs of one fault say, compared with the sound runs of the same lag and seeds."""
    fault = make(runs[0]["fault"])
    expected = check_of_fault(fault.name)
    noticed_in = collections.Counter(check for run in runs for check in run["noticed"])
    everywhere = [check for check, count in noticed_in.items() if count == len(runs)]
    first = [run["noticed"].get(expected) for run in runs]
    return {
        "name": fault.name,
        "ids": list(ids_of_fault(fault.name)),
        "expected_probe": expected,
        "noticed": expected in everywhere,
        "noticed_by": everywhere,
        "noticed_in": dict(noticed_in),
        "first_epochs": {check: [run["noticed"].get(check) for run in runs] for check in noticed_in},
        "epochs_to_notice": None if None in first else max(first),
        **_effect(runs, sound),
        "seeds": [run["seed"] for run in runs],
        "outcome": "refused" if fault.refuses and runs[0]["status"] == "failed" else runs[0]["status"],
        "strength": fault.strength if fault.unit else None,
        "unit": fault.unit or None,
        "mode": runs[0]["mode"],
        "lag": runs[0]["lag"],
        "variant": runs[0]["variant"],
        "error": runs[0]["error"],
    }


def sound_line(sound: Sequence[Record]) -> dict[str, Any]:
    """Alarms of the sound system in all its runs, and how far those of the matrix' own configuration lie apart."""
    rewards = [run["greedy_reward"] for run in sound if run["greedy_reward"] is not None and not run["variant"]]
    return {
        "runs": len(sound),
        "alarms": [
            {**_which(run), "check": check, "sentence": sentence}
            for run in sound for check, sentence in run["sentences"].items()
        ],
        "unfinished": [{**_which(run), "status": run["status"]} for run in sound if run["status"] != "finished"],
        "reward_mean": float(np.mean(rewards)) if rewards else None,
        "reward_sd": float(np.std(rewards, ddof=1)) if len(rewards) > 1 else None,
    }  # fmt: skip


def _which(run: Record) -> dict[str, Any]:
    return {name: run[name] for name in ("mode", "lag", "seed", "variant")}


def _effect(runs: Sequence[Record], sound: Sequence[Record]) -> dict[str, Any]:
    """Greedy reward against the sound run of the same seed and settings; nothing if a run did not come to its end."""
    seeds, alike = {run["seed"] for run in runs}, _task(runs[0])
    own = [run["greedy_reward"] for run in runs]
    beside = [run for run in sound if _task(run) == alike and run["seed"] in seeds]
    same = {run["seed"]: run["greedy_reward"] for run in beside}
    if None in own or None in same.values() or len(same) < len(seeds):
        return {"effect": None, "effect_interval": None, "chance": None, "rewards": own}
    found, chance = paired_difference(own, [same[run["seed"]] for run in runs])
    interval = [found.low, found.high] if np.isfinite(found.low) else None
    return {"effect": found.value, "effect_interval": interval, "chance": chance, "rewards": own}


def _task(run: Record) -> tuple[int | None, str]:
    """Lag and variant, as far as a reward depends on them: what concerns processes alone changes no result."""
    variant = run["variant"]
    return run["lag"], "" if all(name.startswith("processes.") for name in VARIANTS[variant]) else variant


def not_noticed(data: dict[str, Any]) -> list[str]:
    """Faults that the check that must notice them did not notice in every run."""
    return [line["name"] for line in data["faults"] if not line["noticed"]]


def is_sound(data: dict[str, Any]) -> bool:
    """Whether every fault was noticed and the sound system came to its end without an alarm."""
    return not (not_noticed(data) or data["sound"]["alarms"] or data["sound"]["unfinished"])


# --- the command -----------------------------------------------------------------------------------------------------


def run_matrix(
    path: Path, budget: Budget, command: str, say: Say, only: Sequence[str] = (), seeds: int | None = None,
    fresh: bool = False, jobs: int = 2, folder: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Make the runs that the file does not hold yet; return everything that it then holds.

    Args:
        path: the file.
        budget: "full" or "quick".
        command: what the file says that made it.
        say: told a line for each run.
        only: faults to run; default all of the budget.
        seeds: seeds of each fault; default those of the budget.
        fresh: start the file over.
        jobs: runs at a time.
        folder: keeps the run folders; None keeps none of them.

    Raises:
        ConfigError: a fault is unknown, or a number is out of range.
        RecordError: the file holds runs of another configuration, code or machine.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; at least one run must be made at a time")
    config = matrix_config(budget)
    matrix = Matrix(path, config, command, fresh=fresh, budget=budget)
    cases = matrix.missing(plan(config, budget, only, seeds))
    numbers = iter(range(1, len(cases) + 1))

    def keep(record: Record) -> None:
        matrix.keep(record)
        say(f"{next(numbers)} of {len(cases)}  {told(record)}")

    run_in = functools.partial(run_cases, cases, config, keep, jobs)
    if folder is not None:
        run_in(folder)
    else:
        with tempfile.TemporaryDirectory(prefix="workbench-matrix-") as temporary:
            run_in(Path(temporary))
    return matrix.data


def told(record: Record) -> str:
    """One line on a run that has ended."""
    reward = "no greedy reward" if record["greedy_reward"] is None else f"greedy reward {record['greedy_reward']:.1f}"
    noticed = ", ".join(f"{check} (epoch {epoch})" for check, epoch in record["noticed"].items()) or "no check"
    return f"{_case(record).name}: {record['status']}, {reward}, {record['wall_s']:.1f} s; noticed by {noticed}"


@dataclass(frozen=True)
class Options:
    """Run every fault and the sound system: which check notices what, when, and what it costs.

    The file is whole after every run; the same command continues where an earlier one was interrupted. The exit code
    is 1 if a fault was not noticed by the check that must notice it, or if the sound system raised an alarm.
    """

    budget: Budget = "full"
    """All faults, some hour on two cores; or a few of them on a tiny task, to see that everything runs."""
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
    """Start over instead of continuing the file."""


def main(arguments: list[str]) -> int:
    """Make the runs, write the file and its figure, print the table."""
    options = parse("matrix", arguments, lambda _: Options())
    default = reference_path("matrix.json") if options.budget == "full" else data_folder() / "matrix-quick.json"
    out = options.out or default
    data = run_matrix(
        out, options.budget, command("matrix", arguments), to_stderr, options.only, options.seeds, options.fresh,
        options.jobs, options.runs,
    )  # fmt: skip
    figure = matrix_figure(data)
    picture = figure.picture.save(figure_path(out), PRINT_DPI)
    print(f"{figure.table}\n{textwrap.fill(figure.caption, 120)}\n\nwritten: {out}, {picture}")
    return 0 if is_sound(data) else 1


if __name__ == "__main__":
    start("matrix")
