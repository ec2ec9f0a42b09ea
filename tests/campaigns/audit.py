"""What the audit finds in sound runs of varied settings, and in runs with a mistake that stands in no list.

``python -m tests.campaigns.audit`` makes ``data/reference/audit.json``.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench
from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import RunsFile
from workbench.diagnose.doctor import evidence_of, examine
from workbench.runs.folder import reference_path

# Every mistake by name: its hook, and the stage of the chain in which it is made.
UNLISTED: Any = importlib.import_module("tests.process.unlisted")
MISTAKES: Mapping[str, tuple[Any, str]] = UNLISTED.MISTAKES
# Settings that differ from those of the short runs; "lag" is that of the launch.
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one agent": {"world.num_agents": 1},
    "64 worlds": {"world.num_worlds": 64, "world.max_turns": 5, "replay.capacity": 3600, "replay.window": 3200},
    "one step": {"learning.n_step": 1},
    "10 steps": {"learning.n_step": 10},
    "gamma 0": {"learning.gamma": 0.0},
    "gamma 1": {"learning.gamma": 1.0},
    "epsilon 0": {"exploration.epsilon_start": 0.0, "exploration.epsilon_end": 0.0},
    "epsilon 1": {"exploration.epsilon_end": 1.0},
    "target every 100": {"learning.target_interval": 100},
    "accumulate": {"learning.accumulate": 4},
    "noisy": {"agent.noisy": True},
    "not double": {"learning.double": False},
    "constant step": {"learning.learning_rate_schedule": "constant"},
    "cosine step": {"learning.learning_rate_schedule": "cosine"},
    "one row": {"learning.batch_size": 1},
    "256 rows": {"learning.batch_size": 256, "replay.learning_starts": 256, "replay.window": 360, "epochs": 20},
    "3 x 3": {"world.height": 3, "world.width": 3, "world.num_agents": 1},
    "small rewards": {"learning.reward_scale": 0.1},
    "no gems": {"world.spawn_prob": 0.0},
    "gems everywhere": {"world.spawn_prob": 1.0},
    "one evaluation world": {"evaluation.final_worlds": 1},
    "30 epochs": {"epochs": 30},
    "prioritised": {"replay.sampler": "prioritised"},
    "young rows": {"replay.max_age": 2},
    "dqn": {"agent": "dqn", "agent.width": 32},
    "retrace": {"agent": "dqn", "agent.width": 32, "learning.correction": "retrace", "agent.dueling": True},
    "cut": {"agent": "dqn", "agent.width": 32, "learning.correction": "cut", "agent.noisy": True},
    "images": {**UNLISTED.PICTURES, "agent.noisy": True, "replay.sampler": "prioritised"},
    "large images": {**UNLISTED.LARGE_PICTURES, "learning.correction": "cut", "agent": "dqn"},
    "channels first": {**UNLISTED.FIRST_CHANNELS, "learning.correction": "retrace"},
    "lag 5": {"lag": 5},
    "free": {"lag": None},
}


@dataclass(frozen=True)
class Options:
    """Make short sound runs with every setting, and one with every mistake, and let the doctor look at them.

    What the file holds is not run again. The exit code is 1 if a sound run was accused, or a mistake not found at its
    stage.
    """

    num_seeds: int = 4
    """Seeds of the sound runs, from 0; each setting is run with every one."""
    most: int = 1_000
    """Runs to make now at most; the next call continues."""
    out: Path | None = None
    """File to write. Default: data/reference/audit.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


class AuditFile(RunsFile):
    """The runs, what was found, and the largest deviation of float32 from the reference in sound runs."""

    def table(self) -> dict[str, Any]:
        """Counts over all runs."""
        sound = [run for run in self.runs if not run["stage"]]
        wrong = [run for run in self.runs if run["stage"]]
        off: dict[str, float] = {}
        for run in sound:
            off = {name: max(off.get(name, 0.0), run["off"].get(name, 0.0)) for name in {**off, **run["off"]}}
        return {
            "sound": {"runs": len(sound), "alarms": [run["name"] for run in sound if run["failed"]]},
            "mistakes": {
                "runs": len(wrong), "noticed": sum(bool(run["failed"]) for run in wrong),
                "at_their_stage": sum(run["first"] == run["stage"] for run in wrong),
            },
            "largest_share_of_tolerance": {name: round(value, 4) for name, value in sorted(off.items())},
            "runs": self.runs,
        }  # fmt: skip


def cases(num_seeds: int) -> Iterator[tuple[str, str, int]]:
    """Name, stage and seed of every run; a sound one has no stage."""
    yield from ((name, stage, 0) for name, (_, stage) in MISTAKES.items())
    yield from ((name, "", seed) for seed in range(num_seeds) for name in SETTINGS)


def looked_at(name: str, stage: str, seed: int, config: workbench.Config, folder: str) -> dict[str, Any]:
    """One run, and what the doctor finds in it."""
    changes = dict(MISTAKES[name][0].changes if stage else SETTINGS[name])
    mode = "multiprocess" if "lag" in changes or seed % 2 else "sequential"
    lag = changes.pop("lag", 1)
    parts = {key: value for key, value in changes.items() if key in ("agent", "world")}
    config = config.replace(seed=seed, **parts).replace(**changes)
    with workbench.launch(config, mode, lag, out=folder, hooks=[MISTAKES[name][0]()] if stage else []) as run:
        run.wait()
    evidence = evidence_of(run)
    found = examine(evidence)
    wrong = [check.name.removeprefix("chain.") for check in found.chain if check.verdict == "fail"]
    return {
        "name": name, "stage": stage, "seed": seed, "mode": mode, "first": wrong[0] if wrong else "",
        "failed": [check.name for check in found.failed],
        "off": {} if stage else {kind: float(value) for kind, value in evidence.opinion.off.items()},
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run what the file does not hold yet."""
    options = parse("audit", arguments, lambda _: Options())
    at_least(1, num_seeds=options.num_seeds, most=options.most)
    path = options.out or reference_path("audit.json")
    config = workbench.preset("tiny").replace(**{
        "device": "cpu", "epochs": 8, "evaluation.interval": 0, "evaluation.final_worlds": 8,
    })  # fmt: skip
    file = AuditFile(path, config, command("audit", arguments), fresh=options.fresh)
    there = {(run["name"], run["stage"], run["seed"]) for run in file.runs}
    for case in [case for case in cases(options.num_seeds) if case not in there][: options.most]:
        with tempfile.TemporaryDirectory() as folder:
            file.keep(looked_at(*case, config, folder))
        say(f"{case}: {file.runs[-1]['failed'] or 'nothing'}")
    table = file.table()
    sound, mistakes = table["sound"], table["mistakes"]
    print(f"{sound['runs']} sound runs, alarms: {sound['alarms'] or 'none'}")
    print(f"{mistakes['runs']} mistakes: {mistakes['noticed']} noticed, {mistakes['at_their_stage']} at their stage")
    print(f"written: {path}")
    return int(bool(sound["alarms"]) or mistakes["at_their_stage"] < mistakes["runs"])


if __name__ == "__main__":
    start("audit")
