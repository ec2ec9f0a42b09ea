"""The results that are kept under ``data/reference``: what is measured, and the note on where each file comes from.

Every file names the command that made it, the machine, the versions and the commit, so that it can be made again and
compared.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.core.config import MODES, Config, Mode, WorldConfig
from workbench.runs import machine
from workbench.runs.folder import RecordError, data_folder
from workbench.runs.reference_policies import reference_rewards
from workbench.runs.run import Run

POLICY_EPOCHS = 2000
"""Epochs behind a reference policy's mean: its standard error is then well below one gem."""


def reference_path(name: str) -> Path:
    """Where a reference file lies by default."""
    return data_folder() / "reference" / name


def provenance(command: str, device: str = "cpu") -> dict[str, Any]:
    """Where a result comes from: command, machine, versions, commit and whether the code differed from that commit."""
    here = machine.describe()
    return {
        "command": command,
        "machine": {
            "cpu": here["cpu"], "cores": here["cores"], "device": machine.device_name(device),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": here["versions"],
        "commit": here["commit"],
        "dirty": here["dirty"],
    }  # fmt: skip


def machine_label(device: str) -> str:
    """Device and cores as a part of a file name, such as ``nvidia-h200-16-cores``."""
    words = re.sub(r"\(r\)|\(tm\)|\bcpu\b|@.*", " ", machine.device_name(device).lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", words), str(machine.cores()), "cores"])


def measure_policies(world: WorldConfig, epochs: int, seed: int, command: str) -> dict[str, Any]:
    """What :func:`reference_rewards` gives, with the world, the seed and the origin."""
    rewards = reference_rewards(world, epochs, seed)
    return {**rewards, "world": dataclasses.asdict(world), "seed": seed, **provenance(command)}


class RunsFile:
    """A file of runs that is whole after every run and is gone on with after an interruption."""

    def __init__(self, path: Path, config: Config, command: str, device: str = "cpu", fresh: bool = False) -> None:
        """Open the file, or begin it.

        Args:
            path: the file.
            config: settings of every run; their seed may differ.
            command: what makes the file.
            device: device that updates are computed on, such as "cpu" or "cuda:0".
            fresh: begin anew, whatever is there.

        Raises:
            RecordError: the file holds runs of other settings, versions, code or machine, or cannot be read.
        """
        self.path = path
        settings = config.to_dict()
        del settings["seed"]
        self._origin = {**provenance(command, device), "config": settings}
        self.runs: list[dict[str, Any]] = [] if fresh or not path.exists() else self._kept()

    @property
    def data(self) -> dict[str, Any]:
        """Everything that the file holds."""
        return {**self.table(), **self._origin}

    def table(self) -> dict[str, Any]:
        """The runs, and what follows from them."""
        return {"runs": self.runs}

    def keep(self, run: dict[str, Any]) -> None:
        """Add what came of a run and write the file."""
        self.runs.append(run)
        write_json(self.path, self.data)

    def _kept(self) -> list[dict[str, Any]]:
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            runs: list[dict[str, Any]] = kept["runs"]
            origin = {name: kept[name] for name in ("config", "machine", "versions", "commit")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.path} is damaged: {error!r}; give --fresh, or another --out") from None
        if differing := [name for name, value in origin.items() if value != self._origin[name]]:
            raise RecordError(
                f"{self.path} holds runs of another {' and '.join(differing)}, and one file must not mix them; "
                "give --fresh to begin anew, or another --out"
            )
        return runs


class LearningRecord(RunsFile):
    """What both modes reach with several seeds."""

    def __init__(self, path: Path, config: Config, device: str, command: str, fresh: bool = False) -> None:
        """Open the file, or begin it; see :class:`RunsFile`."""
        super().__init__(path, config, command, device, fresh)
        self._policies = reference_rewards(config.world, POLICY_EPOCHS, config.seed)

    def missing(self, seeds: Sequence[int], lag: int) -> Iterator[tuple[int, Mode]]:
        """Seeds and modes that the file does not hold yet."""
        there = {(run["mode"], run["lag"], run["seed"]) for run in self.runs}
        return ((seed, mode) for seed in seeds for mode in MODES if (mode, lag, seed) not in there)

    def table(self) -> dict[str, Any]:
        """The runs, and what the reference policies earn."""
        return {"runs": self.runs, "policies": self._policies}

    def add(self, run: Run) -> None:
        """Add a finished run and write the file.

        Raises:
            RecordError: the run has not finished.
        """
        if run.status != "finished":
            raise RecordError(f"run {run.name} is {run.status}; only finished runs are kept in {self.path}")
        result = run.result
        self.keep({
            "mode": run.mode, "lag": run.lag, "seed": result.seed, "greedy_reward": result.greedy_reward,
            "reward_last_tenth": result.reward["last_tenth"], "wall_s": result.wall_s, "updates": result.updates,
            "digest": result.digest,
        })  # fmt: skip


def write_json(path: Path, data: object) -> None:
    """Write a file whole or not at all, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
