"""The second opinion: what the audit kept of a run, computed once more, stage by stage, by :mod:`reference`.

Every stage is judged from its own record alone, so none has to be there for another. What a stage is given is what the
run recorded as its input, so a mistake shows in the stage in which it is made and not in those behind it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.agents.iqn_agent import IQNConfig
from workbench.core.config import Config
from workbench.core.envs.treasurehunt import TreasurehuntConfig
from workbench.core.shared.sampling import UniformConfig
from workbench.diagnose import reference
from workbench.diagnose.audit import ENDING, settings_sum, unpack, vector_sum
from workbench.runs.files import plain_file
from workbench.runs.live_settings import SettingsTimeline
from workbench.zoo.dqn import DQNConfig
from workbench.zoo.prioritised import PrioritisedConfig

Floats = NDArray[np.float64]

# How far float32 may be from float64, as a share of the largest number compared; by what is compared. Sound runs of
# varied settings stay below a tenth of each (``data/reference/audit.json``).
TOLERANCES = {
    "values": 1e-4, "weight": 1e-5, "priority": 1e-4, "probability": 1e-6,
    "return": 1e-5, "discount": 1e-5, "q": 2e-5, "td error": 2e-5, "loss": 2e-5,
    "gradient": 2e-3, "norm": 2e-3, "clip": 1e-4, "moments": 1e-4, "step": 2e-3, "target": 1e-2, "rate": 1e-5,
}  # fmt: skip
# Values of two actions this close, as a share of the larger, may be ordered otherwise by float32.
TIE = 1e-5
# Units this close to 0, as a share of the largest, may be passed on by float32 or not; one is worth far more than
# rounding in the gradient of a few rows.
KINK = 1e-6
# How much rougher the gradient is judged then, and with it the length that it is clipped to.
KINKED = 50
# How often the statistics together may speak of a sound run; each test is given its share, an exact bound.
FALSE_ALARMS = 5e-4
# Files of evidence that are read, and bytes of one: what an audit writes is far below.
MOST_FILES, MOST_BYTES = 3_000, 2**28


@dataclass(frozen=True)
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

    @property
    def process(self) -> str:
        """The process that kept it."""
        return str(self.found["process"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.found[name]

    def has(self, *names: str) -> bool:
        """Whether all of that was kept."""
        return all(name in self.found for name in names)

    @functools.cached_property
    def update(self) -> _Update:
        """The update that it is of, by the reference."""
        return _update_of(self)


@dataclass(frozen=True)
class Judged:
    """What one stage says of one record.

    Attributes:
        stage: of the chain, one of :data:`STAGES`.
        process: that kept the record.
        agent: whose record.
        sentence: what was found and what is due; empty where the run agrees with the reference.
    """

    stage: str
    process: str
    agent: int
    epoch: int
    sentence: str = ""

    @property
    def harmless(self) -> bool:
        """Whether no number of the algorithm depends on what is wrong."""
        return self.sentence in HARMLESS

    def __str__(self) -> str:
        return f"{self.stage} ({self.process}, agent {self.agent}, epoch {self.epoch}): {self.sentence}"


@dataclass(frozen=True)
class Opinion:
    """What computing a run's evidence once more has shown.

    Attributes:
        records: every record by every stage that could judge it, in the order of the chain, the earliest first.
        off: the largest deviation by what was compared, as a share of its tolerance.
    """

    records: tuple[Judged, ...] = ()
    off: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def of(self, stages: Sequence[str]) -> list[Judged]:
        """What some stages say."""
        return [each for each in self.records if each.stage in stages]


@dataclass
class _Judge:
    """What all stages of one opinion share.

    Attributes:
        lag: of the run.
        seed: of the run.
        steady: whether nothing was lost or resumed, so that every version due is there.
    """

    lag: int | None
    settings: SettingsTimeline
    steady: bool
    off: dict[str, float] = dataclasses.field(default_factory=dict)
    cases: tuple[Case, ...] = ()

    def differ(self, kind: str, found: Any, due: Any, scale: float | None = None) -> bool:
        """Whether numbers are further apart than float32 explains."""
        found, due = np.asarray(found, np.float64), np.asarray(due, np.float64)
        largest = float(np.abs(due).max(initial=0)) if scale is None else scale
        off = float(np.abs(found - due).max(initial=0)) / (TOLERANCES[kind] * max(largest, 1e-9))
        if np.isfinite(off) and off <= 1:
            self.off[kind] = max(self.off.get(kind, 0.0), off)
        return not off <= 1


# What changes no number of a run, but one that starts from its weights.
TARGET_UNPUBLISHED = "the target network in the weight store is not the learner's; no actor uses it"
HARMLESS = {TARGET_UNPUBLISHED}

# A stage looks at one case and says what is wrong, nothing where all agrees. Where it cannot tell it returns None, or
# asks for what was not kept, which is a KeyError.
Found = list[str] | None
Said = TypeVar("Said", list[str] | None, str | None)
Stage = Callable[[_Judge, Case], Found]


def read_cases(folder: Path, settings: SettingsTimeline) -> tuple[Case, ...]:
    """All evidence in a run folder that was kept under these settings; files that cannot be read are left out."""
    cases, wanted = [], settings_sum(settings.config)
    for path in sorted(folder.glob(f"audit/*-*-*{ENDING}"))[:MOST_FILES]:
        kind, agent, epoch = path.stem.split("-", 2)
        if not (agent.isdigit() and epoch.isdigit() and int(agent) < settings.config.num_agents):
            continue
        try:
            with plain_file(path) as file:
                found = unpack(file.read(MOST_BYTES))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError):
            continue
        if found.get("settings") == wanted and "process" in found:
            cases.append(Case(kind, int(agent), int(epoch), settings.at(int(epoch)), found))
    return tuple(sorted(cases, key=lambda case: (case.epoch, case.agent)))


def opinion(cases: Sequence[Case], settings: SettingsTimeline, lag: int | None, steady: bool) -> Opinion:
    """Compute every case once more.

    Args:
        cases: the evidence.
        settings: of each epoch.
        lag: the dial.
        steady: whether no process was lost and nothing was resumed.
    """
    judge, records = _Judge(lag, settings, steady, cases=tuple(cases)), []
    for name, (kind, stage) in STAGES.items():
        for case in (case for case in cases if case.kind == kind):
            said = _told(stage, judge, case)
            if said is not None:
                records.append(Judged(name, case.process, case.agent, case.epoch, "".join(said[:1])))
        records += _statistics(judge, name)
    return Opinion(tuple(records), judge.off)


def _told(judged: Callable[..., Said], *about: Any) -> Said | None:
    """What a stage or a test says; None where the evidence is not there, or not of the shape that it must have."""
    try:
        with np.errstate(all="ignore"):
            return judged(*about)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError):
        return None


# --- streams, acting --------------------------------------------------------------------------------------------------


def _stream(role: str, field: str) -> Stage:
    """Random numbers come from the stream that is due."""

    def stage(judge: _Judge, case: Case) -> Found:
        """What is wrong with the stream of one case."""
        words, seed = case[field].reshape(-1, 6), judge.settings.config.seed
        owner = 0 if role == "world" else case.agent
        found = reference.increment(words[0])
        if found == reference.stream_increment(seed, role, owner):
            if len(words) > 1 and _draws(case, field) and (words[0] == words[-1]).all():
                return [f"the stream {role} gives the same numbers again within the epoch"]
            return []
        others = [
            f"agent {agent}'s stream {other}"
            for other in reference.ROLES for agent in range(case.config.num_agents)
            if found == reference.stream_increment(seed, other, agent)
        ]  # fmt: skip
        return [f"random numbers of {role} come from {(others or ['an unknown stream'])[0]}, not from its own"]

    return stage


def _draws(case: Case, field: str) -> bool:
    """Whether a stream is drawn from at all: without noisy layers the values of a DQN take no random numbers."""
    kept = {"values": "drawn_", "rng": "random_"}.get(field)
    return kept is None or any(each.size for name, each in case.found.items() if name.startswith(kept))


def _observed(judge: _Judge, case: Case) -> Found:
    """The world shows an agent the cells around it."""
    if not isinstance(case.config.world, TreasurehuntConfig):
        return None
    radius, layout = case.config.world.vision_radius, case["layout"]
    if (layout == reference.GEM).any() or (layout == reference.AGENT).sum() != layout.shape[1] * len(
        case.config.spec.agents
    ):
        return ["the epoch begins with a world that is not new: it holds gems, or not every agent"]
    for turn, world in np.ndindex(*case["shown"].shape[:2]):
        row, column = case["place"][turn, world].tolist()
        due = reference.observe(case["cells"][turn, world], row, column, radius)
        if not np.array_equal(due, case["shown"][turn, world].reshape(-1)):
            return [f"in turn {turn} the world showed something other than the cells around the agent"]
    return []


def _stacked(judge: _Judge, case: Case) -> Found:
    """The policy is handed the newest frames that the world showed, oldest first."""
    given, frames, wrong = case["stack"], case.config.agent.num_frames, -1
    for turn, world in np.ndindex(*given.shape[:2]):
        start = int(case["row_episode_start"][turn, world])
        due = reference.stack(case["shown"][:, world], turn, max(start, 0), frames)
        if not np.array_equal(due, given[turn, world]):
            if order := _order(due, given[turn, world]):
                return [order]
            wrong = turn if wrong < 0 else wrong
    return [f"in turn {wrong} the policy was handed other frames than the world had shown"] if wrong >= 0 else []


def _order(due: NDArray[Any], found: NDArray[Any]) -> str:
    """How frames are ordered, if they are those due in another order."""
    places = [next((at for at, frame in enumerate(due) if np.array_equal(frame, each)), -1) for each in found]
    if -1 in places or len({frame.tobytes() for frame in due}) < len(due):
        return ""
    return f"frames reach the policy in the order {' '.join(map(str, places))}"


def _policy_values(case: Case, stack: NDArray[Any], turn: int, noisy: bool = True) -> Floats:
    """Q of the worlds' states in a turn under the weights that the policy holds: (W, A)."""
    spec, agent = case.config.spec.agents[case.agent], case.config.agent
    parameters = _parameters(case, case["weights"])
    noise = case["drawn_noise"][turn].astype(np.float64) if noisy else None
    x = reference.encode(stack, spec.num_codes)
    if isinstance(agent, IQNConfig):
        quantiles = reference.ImplicitQuantiles(parameters, noise)(x, case["drawn_tau"][turn])
        return np.asarray(quantiles.mean(1))
    assert isinstance(agent, DQNConfig)
    return reference.ActionValues(parameters, noise, agent.dueling)(x)


def _parameters(case: Case, half: NDArray[np.float32]) -> dict[str, Floats]:
    """A network's parameters by name."""
    views = case.config.agent.layout(case.config.spec.agents[case.agent]).views(half)
    return {name: view.astype(np.float64) for name, view in views.items()}


def _forward(judge: _Judge, case: Case) -> Found:
    """The network values what it is handed."""
    if type(case.config.agent) not in (IQNConfig, DQNConfig):
        return None
    turns = len(case["stack"])
    for turn in sorted({0, turns // 3, turns // 2, turns - 1}):
        stack, found = case["stack"][turn], case["chosen_q"][turn]
        if not np.isfinite(case["weights"]).all():
            return None
        if not judge.differ("values", found, _policy_values(case, stack, turn)):
            continue
        frames = stack.shape[1]
        otherwise = {
            f"frames reach the network in the order {' '.join(map(str, range(frames)[::-1]))}": stack[:, ::-1],
            "the network sees the newest frame alone": np.where(
                np.arange(frames).reshape(1, -1, *[1] * (stack.ndim - 2)) == frames - 1, stack, 0
            ),
            "the network sees every code one too high": stack + np.ones((), stack.dtype),
            "the network sees every code one too low": np.maximum(stack, 1) - np.ones((), stack.dtype),
        }
        for said, changed in otherwise.items():
            if not judge.differ("values", found, _policy_values(case, changed, turn)):
                return [said]
        if case["drawn_noise"].size and not judge.differ("values", found, _policy_values(case, stack, turn, False)):
            return ["the noisy layers act without noise"]
        due = _policy_values(case, stack, turn)
        return [f"Q of the state in turn {turn} is {found.flat[0]:.5g} where its weights give {due.flat[0]:.5g}"]
    return []


def _drawn(judge: _Judge, case: Case) -> Found:
    """Fractions and noise of acting are the next numbers of their stream."""
    for turn, words in enumerate(case["values"]):
        rng = reference.generator(words)
        if case.has("drawn_tau"):
            shape = (case.config.num_worlds, case["drawn_tau"].shape[2])
            due = rng.random(shape, dtype=np.float32)[: case["drawn_tau"].shape[1]]
            if not np.array_equal(due, case["drawn_tau"][turn]):
                return [f"the quantile fractions of turn {turn} are not those that their stream gives"]
        if not np.allclose(reference.layer_noise(rng, case["drawn_noise"].shape[1]), case["drawn_noise"][turn], 1e-5):
            return [f"the layer noise of turn {turn} is not what its stream gives"]
    return []


def _chosen(judge: _Judge, case: Case) -> Found:
    """Epsilon-greedy in the values, with the numbers of the exploration stream."""
    exploration = case.config.exploration
    due = reference.epsilon_due(
        case.epoch, exploration.epsilon_start, exploration.epsilon_end, exploration.decay_epochs
    )
    if abs(float(case["epsilon"][0]) - due) > 1e-6:
        return [f"epsilon {float(case['epsilon'][0]):.5g} used, {due:.5g} due"]
    worlds = case["chosen_q"].shape[1]
    for turn, words in enumerate(case["exploration"]):
        chance, choice = reference.generator(words).random((2, case.config.num_worlds))[:, :worlds]
        chosen = reference.choose(case["chosen_q"][turn], float(case["epsilon"][turn]), chance, choice)
        for name, each in chosen._asdict().items():
            found = case[f"chosen_{name}"][turn]
            if judge.differ("probability", found, each, 1.0):
                return [f"the {name} of turn {turn} is {found.flat[0]:g}, where epsilon-greedy gives {each.flat[0]:g}"]
    return []


def _acted(judge: _Judge, case: Case) -> Found:
    """The world takes the action that was chosen and answers by its rules."""
    if (wrong := _first_row(case["taken"], case["chosen_action"])) is not None:
        taken, chosen = case["taken"][wrong], case["chosen_action"][wrong]
        return [f"action {taken} reached the world in turn {wrong[0]}, {chosen} was chosen"]
    world = case.config.world
    if type(world) is not TreasurehuntConfig or not case.has("cells", "place_after"):
        return []
    for turn, copy in np.ndindex(*case["taken"].shape):
        (row, column), action = case["place"][turn, copy].tolist(), int(case["taken"][turn, copy])
        rewards = world.gem_reward, world.wall_reward
        reward, *after = reference.treasurehunt(case["cells"][turn, copy], row, column, action, *rewards)
        came_to = case["place_after"][turn, copy].tolist()
        if judge.differ("probability", case["paid_rewards"][turn, copy], reward, max(abs(reward), 1.0)):
            return [f"the world paid {case['paid_rewards'][turn, copy]:g} in turn {turn}, its rules give {reward:g}"]
        if after != came_to:
            return [f"in turn {turn} the agent came to {came_to}, its action leads to {after}"]
    return []


def _first_row(found: NDArray[Any], due: NDArray[Any]) -> tuple[int, ...] | None:
    """Place of the first number that differs; nan equals nan."""
    wrong = np.argwhere(~((found == due) | ((found != found) & (due != due))))
    return tuple(wrong[0].tolist()) if len(wrong) else None


def _stored(judge: _Judge, case: Case) -> Found:
    """What lies in the replay is what was shown, done and paid in that turn."""
    shape = case["row_action"].shape
    epsilon = np.broadcast_to(case["epsilon"].astype(np.float32)[:, None], shape)
    pairs: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "action": (case["row_action"], case["chosen_action"]), "reward": (case["row_reward"], case["paid_rewards"]),
        "frame": (case["row_frame"], case["shown"]), "epsilon": (case["row_epsilon"], epsilon),
        "probability": (case["row_probability"], case["chosen_probability"]),
        "policy version": (case["row_policy_version"], np.full(shape, case["version"])),
    }  # fmt: skip
    pairs |= {
        name: (case[f"row_{name}"], case[f"paid_{name}"])
        for name in ("terminated", "truncated", "valid") if case.has(f"row_{name}")
    }  # fmt: skip
    for name, (found, due) in pairs.items():
        if (wrong := _first_row(found, due)) is None:
            continue
        for shift in (1, -1, 2, -2):
            there = slice(max(shift, 0), len(found) + min(shift, 0))
            from_ = slice(max(-shift, 0), len(found) + min(-shift, 0))
            if _first_row(found[there], due[from_]) is None:
                turn = from_.start or 0
                return [f"{name} of turn {turn} stored for turn {turn + shift}"]
        others = [other for other in judge.cases if (other.kind, other.epoch) == ("turns", case.epoch)]
        for other in others if name == "action" else ():
            if other.agent != case.agent and _first_row(found, other["chosen_action"]) is None:
                return [f"the actions of agent {other.agent} are stored for agent {case.agent}"]
        return [f"{name} of turn {wrong[0]} is stored as {found[wrong]:g}, where it was {due[wrong]:g}"]
    return []


def _returned(judge: _Judge, case: Case) -> Found:
    """Return, discount and span of a row are those of the rewards that lie in the replay."""
    if (times := _times(judge, case)) is not None:
        scale = case.config.learning.reward_scale
        return [f"returns are {times:.4g} times what their rewards give at reward_scale {scale:g}"]
    found: list[str] = []
    for turn, world in np.ndindex(*case["row_r_t"].shape):
        ends = _ends(case, "row", slice(turn, None), world)
        found += _row_of(judge, case.config, case["row_reward"][turn:, world], *ends,
                         case["row_r_t"][turn, world], case["row_discount_t"][turn, world], turn)  # fmt: skip
        if found:
            return found
    return found


def _times(judge: _Judge, case: Case) -> float | None:
    """The one factor that all returns of an epoch are off by, if there is one."""
    learning, found = case.config.learning, case["row_r_t"].astype(np.float64)
    due = np.zeros_like(found)
    for turn, world in np.ndindex(*found.shape):
        ends = _ends(case, "row", slice(turn, None), world)
        rewards = case["row_reward"][turn:, world].astype(np.float64)
        due[turn, world] = reference.n_step(rewards, *ends, learning.gamma, learning.n_step, learning.reward_scale)[0]
    times = _along(found.reshape(-1), due.reshape(-1))
    if not times or not judge.differ("return", times, 1.0) or judge.differ("return", found, times * due):
        return None
    return times


def _ends(case: Case, prefix: str, turns: slice, at: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where episodes end, by termination and truncation, where the replay holds that; else nowhere."""
    reward = case[f"{prefix}_reward"]
    of_row = reward[turns, at] if prefix == "row" else reward[at, turns]
    if not case.has(f"{prefix}_terminated"):
        return np.zeros(len(of_row), np.bool_), np.zeros(len(of_row), np.bool_)
    columns = [case[f"{prefix}_{name}"] for name in ("terminated", "truncated")]
    terminated, truncated = (each[turns, at] if prefix == "row" else each[at, turns] for each in columns)
    return terminated, truncated


def _row_of(
    judge: _Judge, config: Config, rewards: NDArray[Any], terminated: NDArray[Any], truncated: NDArray[Any],
    r_t: Any, discount_t: Any, turn: int,
) -> list[str]:  # fmt: skip
    learning = config.learning
    rewards = rewards.astype(np.float64)
    due = reference.n_step(rewards, terminated, truncated, learning.gamma, learning.n_step, learning.reward_scale)
    scale = float(np.abs(rewards[: learning.n_step]).sum()) * learning.reward_scale
    if judge.differ("discount", discount_t, due[1], 1.0):
        return [f"discount {float(discount_t):.6g} used for the row of turn {turn}, {due[1]:.6g} due"]
    if judge.differ("return", r_t, due[0], max(scale, 1e-6)):
        return [f"return {float(r_t):.6g} of the row of turn {turn}, its rewards give {due[0]:.6g}"]
    return []


# --- learning ---------------------------------------------------------------------------------------------------------


def _rows_drawn(judge: _Judge, case: Case) -> Found:
    """Rows come from the window, and one batch is not like the one before."""
    window, drawn = case.config.replay.window, case["drawn"]
    for numbers, (end, committed) in zip(drawn, case["bounds"].tolist(), strict=True):
        low = max(0, end - window)
        if (numbers < low).any() or (numbers >= end).any() or end > committed:
            wrong = numbers.max() if (numbers >= end).any() else numbers.min()
            return [f"row {wrong} drawn, {low} to {end - 1} are due"]
    due = (case.epoch + 1) * case.config.steps_per_epoch
    if judge.lag is not None and int(case["bounds"][0, 0]) != due:
        return [f"rows below {case['bounds'][0, 0]} were drawn from after epoch {case.epoch}"]
    return []


def _batch(judge: _Judge, case: Case) -> Found:
    """The batch that the agent is handed is what lies in the replay under its row numbers."""
    config, turns, rows = case.config, case["memory_turn"], len(case["memory_turn"])
    frames, ahead = config.agent.num_frames, case["memory_action"].shape[1]
    for row in range(rows):
        left = min(ahead, config.max_turns - int(turns[row]))
        rewards, ends = case["memory_reward"][row, :left].astype(np.float64), _ends(case, "memory", slice(0, left), row)
        learning = config.learning
        *_, span = reference.n_step(rewards, *ends, learning.gamma, learning.n_step, learning.reward_scale)
        numbers = (rewards, *ends, case["batch_r_t"][row], case["batch_discount_t"][row], int(turns[row]))
        if said := _row_of(judge, config, *numbers):
            return said
        for name in ("action", "policy_version"):
            found, due = case[f"batch_{'a_tm1' if name == 'action' else name}"][row], case[f"memory_{name}"][row, 0]
            if found != due:
                return [f"{name} {found} of row {case['batch_number'][row]} handed on, {due} lies in the replay"]
        start = int(case["memory_episode_start"][row, 0]) - int(turns[row]) + frames - 1
        for name, turn in (("s_tm1", 0), ("s_t", span)):
            due_stack = reference.stack(case["memory_frame"][row], turn + frames - 1, max(start, 0), frames)
            if not np.array_equal(case[f"batch_{name}"][row], due_stack):
                order = _order(due_stack, case[f"batch_{name}"][row]).replace("the policy", "the learner")
                return [order or f"{name} of row {case['batch_number'][row]} has other frames than lie in the replay"]
    return []


def _randoms(judge: _Judge, case: Case) -> Found:
    """Fractions and noise of an update are the next numbers of their stream."""
    rng = reference.generator(case["rng"])
    for name in ("tau_tm1", "tau_t", "tau_policy"):
        if case.has(f"random_{name}"):
            found = case[f"random_{name}"]
            if not np.array_equal(rng.random(found.shape, dtype=np.float32), found):
                return [f"the fractions {name} are not those that their stream gives"]
    for name in ("noise_tm1", "noise_t", "noise_policy"):
        if not np.allclose(reference.layer_noise(rng, len(case[f"random_{name}"])), case[f"random_{name}"], 1e-5):
            return [f"the layer noise {name} is not what its stream gives"]
    return []


def _weighted(judge: _Judge, case: Case) -> Found:
    """Rows of a prioritised batch weigh as their priorities say, and take their new priorities from their errors."""
    sampler, made = case.config.replay.sampler, int(case["updates_before"])
    if not isinstance(sampler, PrioritisedConfig):
        return []  # there are no priorities to be wrong
    if not judge.steady or judge.lag is None:
        return None
    beta = reference.beta_due(made, case.config.total_updates, sampler.beta)
    due = reference.importance(case["priorities"].astype(np.float64), beta)
    if judge.differ("weight", case["batch_weight"], due):
        return [f"a row weighs {case['batch_weight'].min():.5g} where its priority gives {due.min():.5g}"]
    numbers, newest = case["batch_number"], {}
    for number, error in zip(numbers.tolist(), case["errors"].tolist(), strict=True):
        newest[number] = (error + sampler.floor) ** sampler.alpha  # of a row drawn twice the last one counts
    if judge.differ("priority", case["priorities_after"], [newest[number] for number in numbers.tolist()]):
        return ["the priorities after an update are not those of its TD errors"]
    return []


@dataclass(frozen=True)
class _Update:
    """One update by the reference.

    Attributes:
        numbers: loss, mean and greatest Q, TD error, and norm of the gradient, as an update returns them.
        gradient: (size,) before it is clipped.
        tied: whether float32 may choose another action to bootstrap from.
        kinked: whether a unit is so close to 0 that float32 may pass it on or not.
    """

    numbers: Floats
    gradient: Floats
    tied: bool
    kinked: bool


def _update_of(case: Case, valued_by: str = "target", double: bool | None = None, discount: float = 1.0) -> _Update:
    """Compute an update once more.

    Args:
        case: its evidence.
        valued_by: which network values the action that is bootstrapped from.
        double: whether the online network chooses that action; None for what the settings say.
        discount: what discounts are multiplied by.
    """
    config, spec = case.config, case.config.spec.agents[case.agent]
    layout, agent, learning = config.agent.layout(spec), config.agent, config.learning
    halves = {"online": case["vector"][: layout.size], "target": case["vector"][layout.size :]}
    networks = {name: _parameters(case, half) for name, half in halves.items()}
    double = learning.double if double is None else double
    chooser, valuer = networks["online" if double else "target"], networks[valued_by]
    batch = {name: case[f"batch_{name}"] for name in ("s_tm1", "s_t", "a_tm1", "r_t", "discount_t")}
    noise = {name: case[f"random_{name}"].astype(np.float64) for name in ("noise_tm1", "noise_t", "noise_policy")}
    rows, here = np.arange(len(batch["a_tm1"])), batch["a_tm1"]
    x_tm1, x_t = reference.encode(batch["s_tm1"], spec.num_codes), reference.encode(batch["s_t"], spec.num_codes)
    r_t, discount_t = batch["r_t"].astype(np.float64), batch["discount_t"].astype(np.float64) * discount
    weight = case["batch_weight"].astype(np.float64) if case.has("batch_weight") else np.ones(len(rows))
    if isinstance(agent, IQNConfig):
        tau = {name: case[f"random_{name}"] for name in ("tau_tm1", "tau_t", "tau_policy")}
        q = reference.ImplicitQuantiles(chooser, noise["noise_policy"])(x_t, tau["tau_policy"]).mean(1)
        z_t = reference.ImplicitQuantiles(valuer, noise["noise_t"])(x_t, tau["tau_t"])[rows, :, q.argmax(1)]
        target = r_t[:, None] + discount_t[:, None] * z_t
        network = reference.ImplicitQuantiles(networks["online"], noise["noise_tm1"])
        z = network(x_tm1, tau["tau_tm1"])
        value = z[rows, :, here]
        loss, slope, error = reference.quantile_huber(value, tau["tau_tm1"], target, agent.huber_kappa)
        along = np.zeros_like(z)
        along[rows, :, here] = slope * (weight / len(rows))[:, None]
        q_tm1, tied, slopes = value.mean(1), _tied(q), functools.partial(network.gradient, along)
    else:
        assert isinstance(agent, DQNConfig)
        net = functools.partial(reference.ActionValues, dueling=agent.dueling)
        target, tied = _dqn_targets(case, net, chooser, valuer, noise, x_t, r_t, discount_t)
        valued = net(networks["online"], noise["noise_tm1"])
        q = valued(x_tm1)
        q_tm1 = q[rows, here]
        delta = target - q_tm1
        loss, error, kappa = reference.huber(delta, agent.huber_kappa), np.abs(delta), agent.huber_kappa
        along = np.zeros_like(q)
        along[rows, here] = -np.clip(delta, -kappa, kappa) * weight / len(rows)
        slopes = functools.partial(valued.gradient, along)
    gradient, low, high = (_flat(layout, slopes(edge)) for edge in (0.0, -KINK, KINK))
    numbers = np.array([(loss * weight).mean(), q_tm1.mean(), q_tm1.max(), error.mean(), _norm(gradient)])
    return _Update(numbers, gradient, tied, _norm(high - low) > 1e-9 * _norm(gradient))


def _flat(layout: ParameterLayout, gradient: Mapping[str, Floats]) -> Floats:
    """A gradient by parameter as a vector."""
    flat = np.zeros(layout.size)
    for name, offset in zip(layout.names, layout.offsets, strict=True):
        flat[offset : offset + gradient[name].size] = gradient[name].reshape(-1)
    return flat


def _dqn_targets(
    case: Case, net: Callable[..., Any], chooser: Any, valuer: Any, noise: Mapping[str, Floats], x_t: Floats,
    r_t: Floats, discount_t: Floats,
) -> tuple[Floats, bool]:  # fmt: skip
    """Targets of Double DQN, corrected as the settings say."""
    config, double = case.config, case.config.learning.double
    noises = noise["noise_policy" if double else "noise_t"], noise["noise_t"]
    if config.learning.correction == "none":
        q, valued = net(chooser, noises[0])(x_t), net(valuer, noises[1])(x_t)
        return r_t + discount_t * valued[np.arange(len(q)), q.argmax(1)], _tied(q)
    states, spec = case["batch_states"], config.spec.agents[case.agent]
    flat = reference.encode(states.reshape(-1, *states.shape[2:]), spec.num_codes)
    shape = (*states.shape[:2], -1)
    q, valued = (net(each, drawn)(flat).reshape(shape) for each, drawn in zip((chooser, valuer), noises, strict=True))
    retrace, learning = config.learning.correction == "retrace", config.learning
    about = (config.exploration.epsilon_end, learning.trace) if retrace else (0.0, 1.0)
    actions, rewards, discounts, probabilities = (
        case[f"batch_{name}"] for name in ("actions", "rewards", "discounts", "probabilities")
    )
    targets = [
        reference.corrected(
            valued[row], q[row].argmax(1), actions[row], rewards[row], discounts[row], probabilities[row], span, *about
        )
        for row, span in enumerate(case["batch_span"].tolist())
    ]
    return np.array(targets), _tied(q.reshape(-1, q.shape[-1]))


def _tied(q: Floats) -> bool:
    """Whether the two best actions of a state are so close that float32 may order them otherwise."""
    if q.shape[1] < 2:
        return False
    best = np.sort(q, 1)[:, -2:]
    return bool((best[:, 1] - best[:, 0] < TIE * np.abs(q).max()).any())


def _examined(case: Case) -> _Update | None:
    """An update once more; None where it cannot be told: another agent's, numbers that are not finite, a tie, and
    products of matrices that are coarser than the tolerances."""
    if (case.config.learning.precision, case.config.processes.matmul_precision) != ("float32", "highest"):
        return None
    if type(case.config.agent) not in (IQNConfig, DQNConfig):
        return None
    if not (np.isfinite(case["vector"]).all() and np.isfinite(case["metrics"]).all()):
        return None
    return None if case.update.tied else case.update


# Places in what an update returns.
_LOSS, _MEAN_Q, _MAX_Q, _ERROR, _NORM = range(5)


def _valued(judge: _Judge, case: Case) -> Found:
    """The online network values the states and actions of the batch."""
    if (due := _examined(case)) is None:
        return None
    scale = max(abs(due.numbers[_MEAN_Q]), abs(due.numbers[_MAX_Q]), 0.1)
    for at, name in ((_MEAN_Q, "mean"), (_MAX_Q, "greatest")):
        if judge.differ("q", case["metrics"][at], due.numbers[at], scale):
            return [f"the {name} Q of the batch is {case['metrics'][at]:.6g}, its weights give {due.numbers[at]:.6g}"]
    return []


def _targeted(judge: _Judge, case: Case) -> Found:
    """TD errors are those to r + discount * Z_target(s_t, a*)."""
    if (due := _examined(case)) is None:
        return None
    found, learning = float(case["metrics"][_ERROR]), case.config.learning
    if not judge.differ("td error", found, due.numbers[_ERROR]):
        return []
    otherwise: dict[str, dict[str, Any]] = {
        "valued by the online network, the target network's value is due": {"valued_by": "online"},
        f"its action chosen with double = {not learning.double}, not as due": {"double": not learning.double},
        "chosen and valued by the online network, the target network's value is due":
            {"double": True, "valued_by": "online"},
        "nothing was bootstrapped": {"discount": 0.0},
    }  # fmt: skip
    for said, how in otherwise.items():
        if not judge.differ("td error", found, _update_of(case, **how).numbers[_ERROR]):
            return [said]
    low, high = 0.0, 1.0 / max(learning.gamma, 1e-3)
    wanted = found - due.numbers[_ERROR]
    for factor in (0.99, 1.01):  # the error is close to linear in a small change of the discount
        slope = (_update_of(case, discount=factor).numbers[_ERROR] - due.numbers[_ERROR]) / (factor - 1)
        guess = 1 + wanted / slope if slope else 0.0
        if low < guess < high and not judge.differ("td error", found, _update_of(case, discount=guess).numbers[_ERROR]):
            typical = float(np.median(case["batch_discount_t"]))
            return [f"discount {guess * typical:.6g} used, {typical:.6g} due, or another target"]
    return [f"the mean TD error is {found:.6g}, {due.numbers[_ERROR]:.6g} due"]


def _lost(judge: _Judge, case: Case) -> Found:
    """The loss is that of these TD errors."""
    if (due := _examined(case)) is None or _valued(judge, case) or _targeted(judge, case):
        return None
    found, wanted = float(case["metrics"][_LOSS]), due.numbers[_LOSS]
    return [f"the loss is {found:.6g}, {wanted:.6g} due"] if judge.differ("loss", found, wanted) else []


def _graded(judge: _Judge, case: Case) -> Found:
    """The gradient is that of the loss, up to its length."""
    if (due := _examined(case)) is None or _valued(judge, case) or _targeted(judge, case) or _lost(judge, case):
        return None
    gradient, found = due.gradient[case["places"]], case["gradient"].astype(np.float64)
    scale, rough = _along(found, gradient), KINKED if due.kinked else 1
    if judge.differ("norm", case["metrics"][_NORM], due.numbers[_NORM], rough * due.numbers[_NORM]):
        return [f"the norm of the gradient is {case['metrics'][_NORM]:.6g}, {due.numbers[_NORM]:.6g} due"]
    largest = rough * float(np.abs(gradient).max()) * (scale or 0.0)
    if scale is None or not judge.differ("gradient", found, scale * gradient, largest):
        return []
    name, here = _worst_layer(case, found - scale * gradient)
    return [f"layer {name}: gradient of norm {_norm(found[here]):.3g}, {_norm(gradient[here]) * scale:.3g} due"]


def _shortened(judge: _Judge, case: Case) -> Found:
    """A gradient longer than the limit is shortened to it, and no other."""
    if (due := _examined(case)) is None or _graded(judge, case) != []:
        return None
    scale = _along(case["gradient"].astype(np.float64), due.gradient[case["places"]])
    limit, norm = case.config.learning.grad_clip, float(case["metrics"][_NORM])
    wanted = reference.clipped(norm, limit)
    if scale is None or not judge.differ("clip", scale, wanted, wanted * (KINKED if due.kinked else 1)):
        return []
    return [f"the gradient of norm {norm:.4g} was multiplied by {scale:.4g}, {wanted:.4g} due (grad_clip {limit:g})"]


def _stepped(judge: _Judge, case: Case) -> Found:
    """Adam steps the weights by the gradient that it is given, with the step size of the schedule."""
    if not all(np.isfinite(case[name]).all() for name in ("gradient", "online_before", "exp_avg_sq_before")):
        return None
    learning, made = case.config.learning, int(case["updates_before"])
    rate, gradient = float(case["rate"]), case["gradient"].astype(np.float64)
    if judge.steady:
        at = judge.settings.schedule_position(made, case.epoch)
        ends = learning.learning_rate, learning.learning_rate_end
        due_rate = reference.rate_due(at, case.config.total_updates, *ends, learning.learning_rate_schedule)
        if judge.differ("rate", rate, due_rate):
            return [f"step size {rate:.6g} used, {due_rate:.6g} due"]
    if int(case["updates_after"]) != made + 1 or int(case["step_after"]) != int(case["step_before"]) + 1:
        return [f"the optimiser counts {int(case['step_after'])} steps after {int(case['updates_after'])} updates"]
    before = reference.Moments(
        *(case[f"{name}_before"].astype(np.float64) for name in ("online", "exp_avg", "exp_avg_sq"))
    )
    due = reference.adam(before, gradient, made + 1, rate, learning.adam_eps)
    first, second = case["exp_avg_after"].astype(np.float64), case["exp_avg_sq_after"].astype(np.float64)
    moved, way = case["online_after"].astype(np.float64) - before.weights, due.weights - before.weights
    for name in _layers(case):
        here = _places_of(case, name)
        if np.abs(way[here]).max() > 1e-6 and not moved[here].any():
            return [f"layer {name}: gradient present, parameters unchanged"]
    for what, found, wanted, old, new, decay in (
        ("first", first, due.first, before.first, gradient, reference.BETA1),
        ("second", second, due.second, before.second, gradient**2, reference.BETA2),
    ):
        if judge.differ("moments", found, wanted, max(np.abs(wanted).max(), np.abs(new).max() * (1 - decay))):
            fitted = _along(found - new, old - new)
            return [f"Adam's {what} moment decays by {0.0 if fitted is None else fitted:.5g}, {decay:g} due"]
    rounding = 2.5e-7 * np.abs(before.weights).max()
    if judge.differ("step", moved, way, float(np.abs(way).max()) + rounding / TOLERANCES["step"]):
        name, here = _worst_layer(case, moved - way)
        fitted = _along(moved[here], way[here]) or 0.0
        if judge.differ("step", moved[here], fitted * way[here]):
            return [f"layer {name} moved otherwise than by Adam's step: by {_norm(moved[here] - way[here]):.3g} more"]
        return [f"layer {name} moved {fitted:.4g} times as far as Adam's step"]
    return []


def _followed(judge: _Judge, case: Case) -> Found:
    """The target network moves by tau of the way, when it is due to."""
    if not np.isfinite(case["online_after"]).all():
        return None
    learning, made = case.config.learning, int(case["updates_after"])
    due = learning.tau if made % learning.target_interval == 0 else 0.0
    names = ("target_before", "target_after", "online_after")
    before, after, online = (case[name].astype(np.float64) for name in names)
    rounding = 2.5e-7 * np.abs(before).max()
    scale = learning.tau * float(np.abs(online - before).max()) + rounding / TOLERANCES["target"]
    if not judge.differ("target", after, reference.soft_update(before, online, due), scale):
        return []
    share = _along(after - before, online - before) or 0.0
    return [f"the target network moved by {share:.4g} of the way to the online network, {due:.4g} due"]


def _published(judge: _Judge, case: Case) -> Found:
    """What lies in the weight store is what the learner holds."""
    if int(case["newest"]) != int(case["due_version"]):
        return [f"version {int(case['newest'])} is the newest, {int(case['due_version'])} is due"]
    if int(case["updates"]) != int(case["made"]):
        return [f"the header says {int(case['updates'])} updates, {int(case['made'])} were made"]
    if not _same(case["online"], case["stored"]):
        previous = case["previous"].size and _same(case["previous"], case["stored"])
        those = "those of the version before" if previous else "other weights than the learner's"
        return [f"version {int(case['newest'])} holds {those}"]
    if not _same(case["target"], case["stored_target"]):
        return [TARGET_UNPUBLISHED]
    same = int(case["online_sum"]) == int(case["stored_sum"])
    return [] if same else ["some published weights are not the learner's"]


def _synced(judge: _Judge, case: Case) -> Found:
    """The policy acts with the version that is due, whole."""
    version = int(case["version"])
    if judge.steady and judge.lag is not None and version != max(0, case.epoch - judge.lag):
        return [f"version {version} acts, {max(0, case.epoch - judge.lag)} is due"]
    if vector_sum(case["weights"]) == int(case["stored_sum"]):
        return []
    return [f"the policy acts with other weights than version {version} in the weight store"]


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


def _norm(vector: Floats) -> float:
    return float(np.sqrt(vector @ vector))


def _along(found: Floats, due: Floats) -> float | None:
    """By what the vector due must be multiplied to come closest; None if it is 0."""
    length = float(due @ due)
    return float(found @ due) / length if length > 0 else None


def _layers(case: Case) -> tuple[str, ...]:
    return case.config.agent.layout(case.config.spec.agents[case.agent]).names


def _places_of(case: Case, name: str) -> NDArray[np.bool_]:
    """Which of the sampled places belong to a parameter."""
    layout = case.config.agent.layout(case.config.spec.agents[case.agent])
    at = layout.names.index(name)
    first, size = layout.offsets[at], int(np.prod(layout.shapes[at]))
    inside: NDArray[np.bool_] = (case["places"] >= first) & (case["places"] < first + size)
    return inside


def _worst_layer(case: Case, difference: Floats) -> tuple[str, NDArray[np.bool_]]:
    """The parameter with the largest difference, and which of the sampled places are its."""
    name = max(_layers(case), key=lambda each: float(np.abs(difference[_places_of(case, each)]).max(initial=0)))
    return name, _places_of(case, name)


# --- statistics -------------------------------------------------------------------------------------------------------


def _statistics(judge: _Judge, name: str) -> Iterator[Judged]:
    """The statistical tests of a stage over all its cases, those that can tell."""
    for test in _TESTS.get(name, ()):
        agents = range(judge.settings.config.num_agents)
        level = FALSE_ALARMS / (sum(map(len, _TESTS.values())) * len(agents))
        for agent in agents:
            cases = [case for case in judge.cases if case.agent == agent and case.kind == STAGES[name][0]]
            if not cases:
                continue
            said = _told(test, cases, level)
            if said is not None:
                yield Judged(name, cases[0].process, agent, cases[0].epoch, said)


# A test says what is wrong, or "" if nothing is, or None where nothing can be told.
Test = Callable[[Sequence[Case], float], str | None]


def _uniform(cases: Sequence[Case], level: float) -> str | None:
    """Rows are as likely from each quarter of the window."""
    config = cases[0].config
    if type(config.replay.sampler) is not UniformConfig or config.replay.max_age or not config.spec.whole_epochs:
        return None
    counts, means, trials = np.zeros(4), np.zeros(4), 0
    for case in cases:
        for numbers, (end, _) in zip(case["drawn"], case["bounds"].tolist(), strict=True):
            low = max(0, end - config.replay.window)
            edges = low + (np.arange(5) * (end - low)) // 4
            counts += np.histogram(numbers, edges)[0] if (np.diff(edges) > 0).all() else np.diff(edges) * 0
            means += len(numbers) * np.diff(edges) / (end - low)
            trials += len(numbers)
    if (means <= 0).any():
        return None
    for quarter, (count, mean) in enumerate(zip(counts, means, strict=True)):
        if reference.chance_of_share(count, trials, mean / trials) < level / 4:
            found, due = count / trials, mean / trials
            return f"{found:.1%} of the rows come from quarter {quarter + 1} of the window, {due:.1%} are due"
    return ""


def _repeated(cases: Sequence[Case], level: float) -> str | None:
    """Two batches of an epoch are not of the same rows, unless luck does that."""
    pairs, rows, window = 0, cases[0]["drawn"].shape[1], cases[0].config.steps_per_epoch
    for case in cases:
        drawn = case["drawn"]
        pairs += len(drawn) * (len(drawn) - 1) // 2
        equal = sum(np.array_equal(one, other) for at, one in enumerate(drawn) for other in drawn[:at])
        if equal and float(len(drawn)) ** 2 * len(cases) * float(min(window, 1e6)) ** -min(rows, 40) < level:
            return f"one batch is used for {equal + 1} updates of epoch {case.epoch}" if equal < len(drawn) else (
                f"one batch is used for all updates of epoch {case.epoch}"
            )  # fmt: skip
    return "" if pairs else None


def _explored(cases: Sequence[Case], level: float) -> str | None:
    """Actions other than the greedy one are as frequent as epsilon says."""
    count, mean, trials = 0.0, 0.0, 0
    for case in cases:
        actions = case.config.spec.agents[case.agent].num_actions
        count += float((case["chosen_action"] != case["chosen_greedy"]).sum())
        mean += float(case["epsilon"].sum()) * case["chosen_action"].shape[1] * (actions - 1) / actions
        trials += case["chosen_action"].size
    if reference.chance_of_share(count, trials, mean / trials) >= level:
        return ""
    return f"{count / trials:.2%} of the actions are other than greedy, epsilon gives {mean / trials:.2%}"


def _every_action(cases: Sequence[Case], level: float) -> str | None:
    """Every kind of action reaches the world."""
    actions = cases[0].config.spec.agents[cases[0].agent].num_actions
    seen = set(np.concatenate([case["taken"].reshape(-1) for case in cases]).tolist())
    shares = [np.minimum(case["epsilon"] / actions, 0.999999) for case in cases]
    missed = sum(np.log1p(-each).sum() * case["taken"].shape[1] for each, case in zip(shares, cases, strict=True))
    lacking = sorted(set(range(actions)) - seen)
    return f"action {lacking[0]} never reached the world" if lacking and missed < np.log(level / actions) else ""


def _spawned(cases: Sequence[Case], level: float) -> str | None:
    """Gems appear in empty cells as often as the world says."""
    world = cases[0].config.world
    if type(world) is not TreasurehuntConfig:
        return None
    before = np.concatenate([case["before_spawn"] for case in cases])
    after = np.concatenate([case["after_spawn"] for case in cases])
    empty = before == reference.EMPTY
    trials, count = int(empty.sum()), int((after[empty] == reference.GEM).sum())
    if (before != after)[~empty].any():
        return "cells that are not empty change before the agents act"
    if not trials or reference.chance_of_share(count, trials, float(np.float32(world.spawn_prob))) >= level:
        return ""
    return f"gems appear in {count / trials:.2%} of the empty cells per turn, {world.spawn_prob:.2%} are due"


def _moves_on(field: str) -> Test:
    """A stream continues from epoch to epoch."""

    def test(cases: Sequence[Case], level: float) -> str | None:
        """Which epoch repeats which, if one does."""
        drawn = [case for case in cases if _draws(case, field)]
        states = {case.epoch: case[field].reshape(-1, 6)[0].tobytes() for case in drawn}
        epochs = list(states)
        for at, epoch in enumerate(epochs):
            for earlier in epochs[:at]:
                if states[epoch] == states[earlier]:
                    return f"the stream gives the numbers of epoch {earlier} again in epoch {epoch}"
        return "" if epochs else None

    return test


def _layouts(cases: Sequence[Case], level: float) -> str | None:
    """Two epochs do not begin with the same world, unless luck does that."""
    if not isinstance(cases[0].config.world, TreasurehuntConfig):
        return None
    world, layouts = cases[0].config.world, [case["layout"][0].tobytes() for case in cases]
    cells, agents, copies = (world.height - 2) * (world.width - 2), world.num_agents, cases[0]["layout"].shape[1]
    alike = float(math.comb(cells, agents)) ** -copies * len(layouts) ** 2
    return f"{len(layouts) - len(set(layouts))} epochs begin with the same world" if (
        len(set(layouts)) < len(layouts) and alike < level
    ) else ""  # fmt: skip


# The chain: each stage with the kind of evidence that it is judged from.
STAGES: dict[str, tuple[str, Stage]] = {
    "world's stream": ("turns", _stream("world", "world_rng")),
    "observe": ("turns", _observed),
    "stack": ("turns", _stacked),
    "acting stream": ("turns", _stream("acting_quantiles", "values")),
    "acting draws": ("turns", _drawn),
    "forward": ("turns", _forward),
    "exploration stream": ("turns", _stream("exploration", "exploration")),
    "choice": ("turns", _chosen),
    "world": ("turns", _acted),
    "stored": ("turns", _stored),
    "return": ("turns", _returned),
    "sampling stream": ("update", _stream("sampling", "sampling")),
    "rows drawn": ("update", _rows_drawn),
    "batch": ("update", _batch),
    "priorities": ("update", _weighted),
    "learning stream": ("update", _stream("learning_quantiles", "rng")),
    "learning draws": ("update", _randoms),
    "values": ("update", _valued),
    "target": ("update", _targeted),
    "loss": ("update", _lost),
    "gradient": ("update", _graded),
    "clip": ("update", _shortened),
    "adam": ("update", _stepped),
    "target update": ("update", _followed),
    "publication": ("publish", _published),
    "sync": ("turns", _synced),
}
# Where single records cannot tell: tests over all records of an agent.
_TESTS: dict[str, tuple[Test, ...]] = {
    "world's stream": (_moves_on("world_rng"), _layouts),
    "acting stream": (_moves_on("values"),),
    "exploration stream": (_moves_on("exploration"),),
    "choice": (_explored,),
    "world": (_every_action, _spawned),
    "sampling stream": (_moves_on("sampling"),),
    "rows drawn": (_uniform, _repeated),
    "learning stream": (_moves_on("rng"),),
}
