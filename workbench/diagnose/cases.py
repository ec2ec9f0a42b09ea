"""Cases: pieces of the evidence that the audit kept, and how a stage or a test says what is wrong with them.

A stage looks at one case, a test of luck at all of an agent. Either returns where the run agrees with the reference,
raises :class:`Wrong` where it does not, and :class:`CannotTell` (or a KeyError, for what was not kept) where nothing
can be told. ``sentences.toml`` has the sentence of every finding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.envs.treasurehunt import TreasurehuntConfig
from workbench.diagnose.audit import ENDING, MOST_BYTES, settings_sum, unpack
from workbench.diagnose.clean import difference
from workbench.diagnose.sentences import beside, said
from workbench.runs.files import plain_file
from workbench.runs.live_settings import SettingsTimeline
from workbench.zoo.sparse import SparseConfig

# How far float32 may be from float64, by what is compared, as ``cases.toml`` says.
TOLERANCES: dict[str, float] = beside(__file__)
# Files of evidence that are read: what an audit writes is far below.
MOST_FILES = 3_000


class Wrong(Exception):
    """The run has done something otherwise than the reference.

    Args:
        finding: what, a name of the part "audit" of ``sentences.toml``.
        about: the numbers of its sentence.
    """

    def __init__(self, finding: str, **about: Any) -> None:
        super().__init__(finding)
        self.finding, self.about = finding, about

    def __str__(self) -> str:
        return said(f"audit.{self.finding}", **self.about)


class CannotTell(Exception):
    """What was kept does not tell."""


def need(told: object) -> None:
    """Go no further unless something holds without which nothing can be told.

    Raises:
        CannotTell: it does not.
    """
    if not told:
        raise CannotTell


def wrong_if(so: object, finding: str, **about: Any) -> None:
    """Say that something is wrong, if it is so.

    Raises:
        Wrong: it is.
    """
    if so:
        raise Wrong(finding, **about)


@dataclass(frozen=True, eq=False)
class Case:
    """One piece of evidence.

    Attributes:
        kind: "turns", "update" or "publish".
        config: the settings of its epoch.
        found: what was kept, by name.
    """

    kind: str
    agent: int
    epoch: int
    config: Config
    found: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.found[name]

    def has(self, *names: str) -> bool:
        """Whether all of that was kept."""
        return all(name in self.found for name in names)

    def treasurehunt(self, ruled: bool = False) -> TreasurehuntConfig:
        """The settings of a world that shows what Treasurehunt does.

        Args:
            ruled: whether the reference must have its rules too: one derived from it may pay otherwise.

        Raises:
            CannotTell: it is another world.
        """
        world = self.config.world
        need(isinstance(world, TreasurehuntConfig) and (not ruled or type(world) in (TreasurehuntConfig, SparseConfig)))
        return cast(TreasurehuntConfig, world)

    def draws(self, field: str) -> bool:
        """Whether a stream is drawn from at all: without noisy layers the values of a DQN take no random numbers."""
        kept = {"values": "drawn_", "rng": "random_"}.get(field)
        return kept is None or any(each.size for name, each in self.found.items() if name.startswith(kept))


@dataclass
class Judge:
    """What all stages of one opinion share.

    Attributes:
        lag: of the run.
        steady: whether nothing was lost or resumed, so that every version due is there.
        cases: all evidence.
        off: the largest deviation that counted as none, by what was compared, as a share of its tolerance.
        updates: what the reference has computed of an update, so that it is computed once.
    """

    lag: int | None
    settings: SettingsTimeline
    steady: bool
    cases: tuple[Case, ...] = ()
    off: dict[str, float] = field(default_factory=dict)
    updates: dict[Case, Any] = field(default_factory=dict)

    def differ(self, kind: str, found: Any, due: Any, scale: float | None = None, rounding: float = 0.0) -> bool:
        """Whether numbers are further apart than float32 explains; what is not finite must be the same.

        Args:
            kind: what is compared, one of :data:`TOLERANCES`.
            found: of the run.
            due: by the reference.
            scale: what the tolerance is a share of; None for the largest number due.
            rounding: how far apart they may be besides, as they are made of larger numbers.
        """
        found, due = np.asarray(found, np.float64), np.asarray(due, np.float64)
        largest = float(np.abs(due[np.isfinite(due)]).max(initial=0)) if scale is None else scale
        apart = float(np.abs(difference(found, due)).max(initial=0))
        off = apart and apart / (TOLERANCES[kind] * max(largest, 1e-9) + rounding)
        if np.isfinite(off) and off <= 1:
            self.off[kind] = max(self.off.get(kind, 0.0), off)
        return not off <= 1

    def same(self, kind: str, found: Any, due: Any, finding: str, *limits: float, **about: Any) -> None:
        """Hold numbers against those due, as far as float32 goes; the sentence has those that are furthest apart.

        ``limits`` are scale and rounding, as for :meth:`differ`.

        Raises:
            Wrong: they differ.
        """
        if self.differ(kind, found, due, *limits):
            found, due = np.broadcast_arrays(np.asarray(found, np.float64), np.asarray(due, np.float64))
            at = np.unravel_index(np.argmax(np.abs(difference(found, due))), found.shape)
            raise Wrong(finding, found=found[at], due=due[at], **about)

    def after(self, stage: "Stage", case: Case) -> None:
        """Go no further where an earlier stage disagrees, of which a later disagreement would be a consequence.

        Raises:
            CannotTell: it does.
        """
        try:
            stage(self, case)
        except Wrong:
            raise CannotTell from None


Stage = Callable[[Judge, Case], None]


def first_wrong(found: NDArray[Any], due: NDArray[Any]) -> tuple[int, ...] | None:
    """Place of the first number that differs; nan equals nan."""
    wrong = np.argwhere(~((found == due) | ((found != found) & (due != due))))
    return tuple(wrong[0].tolist()) if len(wrong) else None


def equal(found: NDArray[Any], due: NDArray[Any], finding: str, **about: Any) -> None:
    """Hold numbers against those due; the sentence has the first that differs, and ``at``, its place.

    Raises:
        Wrong: one does.
    """
    need(found.shape == due.shape)
    if (at := first_wrong(found, due)) is not None:
        raise Wrong(finding, found=found[at], due=due[at], at=at, **about)


def read_cases(folder: Path, settings: SettingsTimeline) -> tuple[Case, ...]:
    """All evidence in a run folder that was kept under these settings; other files are left out."""
    cases, wanted = [], settings_sum(settings.config)
    for path in sorted(folder.glob(f"audit/*-*-*{ENDING}"))[:MOST_FILES]:
        try:
            kind, agent, epoch = path.stem.split("-", 2)
            with plain_file(path) as file:
                found = unpack(file.read(MOST_BYTES))
            case = Case(kind, int(agent), int(epoch), settings.at(int(epoch)), found)
        except Exception:  # damaged as it may be, or made to be: NumPy refuses that in many ways
            continue
        there = case.agent in range(settings.config.num_agents) and case.epoch in range(settings.config.epochs)
        if there and np.array_equal(found.get("settings", ()), wanted) and case.has("process"):
            cases.append(case)
    return tuple(sorted(cases, key=lambda case: (case.epoch, case.agent)))
