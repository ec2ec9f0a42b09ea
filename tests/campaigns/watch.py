"""A trainer that is not ours, each defect on a switch: which check of the watch convicts it, and what others say.

``python -m tests.campaigns.watch`` makes ``data/reference/watch.json``.
"""

from __future__ import annotations

import collections
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import workbench
from notebooks.foreign_trainer import DEFECTS, ONLY_BETWEEN_PROCESSES, Config, train
from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import RunsFile
from workbench.runs.folder import reference_path

MODES = ("sequential", "multiprocess")
CONVICTED_BY = {
    "memory_cleared": "actor_input",
    "two_buffers": "actor_input",
    "private_buffer": "rows",
    "fewer_frames": "actor_input",
    "windows_across_episodes": "windows",
    "windows_across_head": "windows",
    "duplicated_rows": "rows",
    "old_rows_only": "coverage",
    "done_never": "done",
    "n_step_mismatch": "n_step",
    "gamma_n": "n_step",
    "sync_never": "sync",
    "sync_rarely": "sync",
    "sync_noop": "sync",
    "sync_other_agent": "sync",
    "torn_copy": "torn",
    "publish_never": "publish",
    "publish_rarely": "publish",
    "target_not_published": "parts",
    "in_place_training": "sharing",
    "stale_epsilon": "epsilon",
    "not_returned": "result",
    "double_soft_update": "target",
    "target_never": "target",
    "target_too_fast": "target",
    "target_gradients": "gradients",
    "noise_frozen": "parameters",
    "eval_mode": "mode",
    "other_optimizer": "optimizer",
    "learning_rate_huge": "loss",
    "loss_not_computed": "loss",
    "replay_ratio_left_to_chance": "pacing",
    "starved_learner": "pacing",
    "dead_learner": "processes",
}
"""By defect, the check that has to find it."""
MOST_TOGETHER = 5
SETTINGS: dict[str, Any] = {"epochs": 20, "capacity": 110}
"""Of every training: short, and a ring that comes round in the middle of an episode.

Yet so long that each defect takes place: in 14 epochs an actor that explores may forget its frames in one step alone.
"""


@dataclass(frozen=True)
class Options:
    """Train with every defect, in both modes and with ten seeds; sound trainings beside them.

    A training has several defects, each in an agent of its own, and agent 0 is always sound. What the file holds is not
    run again. The exit code is 1 if a defect was missed or a sound training accused.
    """

    num_seeds: int = 10
    """Seeds, from 0."""
    out: Path | None = None
    """File to write. Default: data/reference/watch.json."""
    fresh: bool = False
    """Start over instead of continuing the file."""


def defects_of(mode: str) -> list[str]:
    """The defects that there can be in a mode."""
    return [name for name in DEFECTS if mode == "multiprocess" or name not in ONLY_BETWEEN_PROCESSES]


def groups(mode: str) -> Iterator[tuple[str, ...]]:
    """Defects that can be told apart when they are in one training, because each is found by a check of its own."""
    left = defects_of(mode)
    while left:
        group: list[str] = []
        for name in left:
            if len(group) < MOST_TOGETHER and CONVICTED_BY[name] not in {CONVICTED_BY[other] for other in group}:
                group.append(name)
        left = [name for name in left if name not in group]
        yield tuple(group)


def cases(num_seeds: int) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Seed, mode and defects of every training; the sound ones have none."""
    for seed in range(num_seeds):
        for mode in MODES:
            yield seed, mode, ()
            yield from ((seed, mode, group) for group in groups(mode))


def examined(seed: int, mode: str, defects: tuple[str, ...], out: str) -> dict[str, Any]:
    """Train, and ask the doctor."""
    by_agent = {agent: (name,) for agent, name in enumerate(defects, start=1)}
    config = Config(agents=max(3, 1 + len(defects)), seed=seed, defects=by_agent, **SETTINGS)
    name = "-".join([*(defects[:1] or ["sound"]), mode, str(seed)])
    began = time.monotonic()
    train(mode, config, name, out)
    trained = time.monotonic()
    diagnosis: Any = workbench.load(Path(out, name)).diagnose()
    return {
        "seed": seed, "mode": mode, "defects": list(defects), "verdict": diagnosis.verdict,
        "failed": {
            check.name: {"agents": list(check.agents), "broken": list(check.broken), "sentence": check.sentence}
            for check in diagnosis.failed
        },
        "cannot_tell": [check.name for check in diagnosis.checks if check.verdict == "cannot tell"],
        "training_s": round(trained - began, 2), "doctor_s": round(time.monotonic() - trained, 2),
    }  # fmt: skip


class WatchFile(RunsFile):
    """The trainings, and how often each defect was found."""

    def table(self) -> dict[str, Any]:
        """By mode and defect, the seeds in which its check spoke of its agent, and the others that spoke."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            for agent, defect in enumerate(run["defects"] or ["sound"], start=1):
                row = found.setdefault(f"{run['mode']} {defect}", {"runs": 0, "convicted": 0, "others": {}})
                row["runs"] += 1
                row["convicted"] += convicted(run, agent, defect)
                others = [name for name in run["failed"] if name not in {CONVICTED_BY.get(d) for d in run["defects"]}]
                row["others"] = dict(collections.Counter(row["others"]) + collections.Counter(others))
        return {"found": found, "runs": self.runs}


def convicted(run: dict[str, Any], agent: int, defect: str) -> bool:
    """Whether the check that should find a defect failed for its agent, and for no sound one."""
    agents = run["failed"].get(CONVICTED_BY.get(defect, ""), {}).get("agents", [])
    return agent in agents and 0 not in agents


def main(arguments: list[str]) -> int:
    """Run what the file does not hold yet."""
    options = parse("watch", arguments, lambda _: Options())
    at_least(1, num_seeds=options.num_seeds)
    torch.set_num_threads(1)
    path = options.out or reference_path("watch.json")
    file = WatchFile(path, Config(**SETTINGS), command("watch", arguments), fresh=options.fresh)
    there = {(run["seed"], run["mode"], tuple(run["defects"])) for run in file.runs}
    for case in cases(options.num_seeds):
        if case not in there:
            with tempfile.TemporaryDirectory() as folder:
                file.keep(examined(*case, folder))
            run = file.runs[-1]
            say(f"{case}: {run['training_s']} s, {run['doctor_s']} s, {list(run['failed'])}")
    found = file.table()["found"]
    for name, row in found.items():
        print(f"{name:48} {row['convicted']:3} of {row['runs']:3}  {row['others'] or ''}")
    print(f"written: {path}")
    return int(any(row["others"] if "sound" in name else row["convicted"] < row["runs"] for name, row in found.items()))


if __name__ == "__main__":
    start("watch")
