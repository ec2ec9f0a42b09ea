"""The stages of the chain, by ``stages.toml``: each holds what the run recorded of it against :mod:`reference`."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout
from workbench.core.agents.iqn_agent import IQNConfig
from workbench.core.shared.sampling import UniformConfig
from workbench.diagnose import reference
from workbench.diagnose.audit import vector_sum
from workbench.diagnose.cases import TOLERANCES, Case, Judge, Wrong, equal, first_wrong, need, wrong_if
from workbench.zoo.dqn import DQNConfig
from workbench.zoo.prioritised import PrioritisedConfig

Floats = NDArray[np.float64]
Network = reference.ImplicitQuantiles | reference.ActionValues

# Values of two actions this close, as a share of the larger, may be ordered otherwise by float32.
TIE = 1e-5
# Units this close to 0, as a share of the largest, may be passed on by float32 or not; one is worth far more than
# rounding in the gradient of a few rows.
KINK = 1e-6
# How many times what all such units are worth together a gradient may be off, as float32 may pass on any of them.
BENT = 4
# How far off float32 may have values, as a share of the largest of a batch; a gradient is, by what that is worth.
VALUES = 1e-6
# How often tests of luck may speak of a sound run, all its agents together: that no two batches of an epoch are equal,
# which is given its share of this for each record; and each of the two of a policy's exploration, of which one looks
# at no more actions than this. All three are exact bounds. With those of learning (rules.py) they come to 9 in 10,000.
FALSE_ALARMS = 5e-4
LUCK, MOST_ACTIONS = 1e-4, 4_000
# Rounding of a step of float32 weights, as a share of the largest.
ROUNDING = 2.5e-7

_same = functools.partial(np.array_equal, equal_nan=True)


# --- streams, acting --------------------------------------------------------------------------------------------------


def streamed(role: str, field: str, judge: Judge, case: Case) -> None:
    """Random numbers come from the stream that is due, which moves on within the epoch and from epoch to epoch."""
    words, seed = case[field].reshape(-1, 6), judge.settings.config.seed
    found, owner = reference.increment(words[0]), 0 if role == "world" else case.agent
    if found != reference.stream_increment(seed, role, owner):
        others = {
            reference.stream_increment(seed, other, agent): f"agent {agent}'s stream {other}"
            for other in reference.ROLES for agent in range(case.config.num_agents)
        }  # fmt: skip
        raise Wrong("other stream", role=role, other=others.get(found, "an unknown stream"))
    if case.draws(field):
        wrong_if(len(words) > 1 and (words[0] == words[-1]).all(), "numbers again", role=role)
        # free-running, updates that a lost process had not kept are made again after a later epoch
        for other in judge.cases if judge.steady or judge.lag is not None or case.kind == "turns" else ():
            beside = (other.kind, other.agent) == (case.kind, case.agent) and other.epoch < case.epoch
            again = beside and other.has(field) and _same(other[field].reshape(-1, 6)[0], words[0])
            wrong_if(again, "epoch again", earlier=other.epoch, epoch=case.epoch)


def observed(judge: Judge, case: Case) -> None:
    """The world shows an agent the cells around it, or what the environments that it plays show."""
    if case.has("told"):
        for turn, world in np.argwhere(case["told"][..., 0]).tolist():
            shown = vector_sum(case["shown"][turn + 1, world].reshape(-1))
            wrong_if(shown != case["told"][turn, world, 0], "seen", turn=turn + 1)
        return
    radius = case.treasurehunt().vision_radius
    for turn, world in np.ndindex(*case["shown"].shape[:2]):
        row, column = case["place"][turn, world].tolist()
        due = reference.observe(case["cells"][turn, world], row, column, radius)
        wrong_if(not np.array_equal(due, case["shown"][turn, world].reshape(-1)), "shown", turn=turn)


def stacked(judge: Judge, case: Case) -> None:
    """The policy is handed the newest frames that the world showed, oldest first."""

    def dues() -> Iterable[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Of each turn and world: what it is, the stack handed on, the one due."""
        for turn, world in np.ndindex(*case["stack"].shape[:2]):
            start = max(int(case["row_episode_start"][turn, world]), 0)
            due = reference.stack(case["shown"][:, world], turn, start, case.config.agent.num_frames)
            yield f"turn {turn}", case["stack"][turn, world], due

    _same_frames(dues(), "policy", "policy's frames")


def _same_frames(dues: Iterable[tuple[str, NDArray[Any], NDArray[Any]]], who: str, finding: str) -> None:
    """Hold stacks against those due; the sentence has their order where they have the right frames in another one."""
    wrong = [each for each in dues if not _same(*each[1:])]
    for _, found, due in wrong:
        places = [next((at for at, frame in enumerate(due) if _same(frame, each)), -1) for each in found]
        if -1 not in places and len({frame.tobytes() for frame in due}) == len(due):
            raise Wrong("order", who=who, order=" ".join(map(str, places)))
    if wrong:
        raise Wrong(finding, what=wrong[0][0])


def _network(case: Case, half: NDArray[np.float32], noise: NDArray[np.float32], tau: NDArray[Any] | None) -> Network:
    """A network of weights in a vector, with its noise; and with fractions, if it takes any."""
    parameters = {name: view.astype(np.float64) for name, view in _layout(case).views(half).items()}
    agent: Any = case.config.agent
    if tau is not None:
        return reference.ImplicitQuantiles(parameters, noise.astype(np.float64), tau)
    return reference.ActionValues(parameters, noise.astype(np.float64), agent.dueling)


def _encoded(case: Case, states: NDArray[Any]) -> Floats:
    """States as a network's input."""
    return reference.encode(states, case.config.spec.agents[case.agent].num_codes)


def _q(values: Floats) -> Floats:
    """Q of each action, (B, A): of quantiles, (B, N, A), the mean."""
    return np.asarray(values.mean(1)) if values.ndim == 3 else values


def _layout(case: Case) -> ParameterLayout:
    return case.config.agent.layout(case.config.spec.agents[case.agent])


def _transcribed(case: Case) -> None:
    """Go no further unless the reference has the network, as precisely as it was computed.

    Raises:
        CannotTell: it is another agent's, or has convolutions on a card, whose rounding nobody has measured.
    """
    need(type(case.config.agent) in (IQNConfig, DQNConfig))
    need(all(len(shape) <= 2 for shape in _layout(case).shapes) or str(case["device"]) != "cuda")


def _policy_values(case: Case, stack: NDArray[Any], turn: int, noisy: bool = True) -> Floats:
    """Q of the worlds' states in a turn under the weights that the policy holds: (W, A)."""
    noise, tau = case["drawn_noise"][turn], case["drawn_tau"][turn] if case.has("drawn_tau") else None
    return _q(_network(case, case["weights"], noise if noisy else noise[:0], tau)(_encoded(case, stack)))


def forward(judge: Judge, case: Case) -> None:
    """The network values what it is handed."""
    _transcribed(case)
    need(np.isfinite(case["weights"]).all())
    need(int(case["sum_later"]) == vector_sum(case["weights"]))  # else which weights were due in a turn is not known
    turns = len(case["stack"])
    for turn in sorted({0, turns // 3, turns // 2, turns - 1}):
        stack, found = case["stack"][turn], case["chosen_q"][turn]
        due = _policy_values(case, stack, turn)
        if not judge.differ("values", found, due):
            continue
        if not judge.differ("values", found, _policy_values(case, stack[:, ::-1], turn)):
            raise Wrong("order", who="network", order=" ".join(map(str, range(stack.shape[1])[::-1])))
        if case["drawn_noise"].size and not judge.differ("values", found, _policy_values(case, stack, turn, False)):
            raise Wrong("acts without noise")
        judge.same("values", found, due, "values", turn=turn)


def acting_drawn(judge: Judge, case: Case) -> None:
    """Fractions and noise of acting are the next numbers of their stream."""
    for turn, words in enumerate(case["values"]):
        rng, which = reference.generator(words), f"of turn {turn}"
        if case.has("drawn_tau"):
            tau = case["drawn_tau"][turn]
            drawn = rng.random((case.config.num_worlds, tau.shape[1]), dtype=np.float32)
            equal(tau, drawn[case["worlds"]], "fractions", which=which)
        _same_noise(rng, case["drawn_noise"][turn], which)


def _same_noise(rng: np.random.Generator, found: NDArray[Any], which: str) -> None:
    wrong_if(not np.allclose(reference.layer_noise(rng, len(found)), found, 1e-5), "noise", which=which)


def chosen(judge: Judge, case: Case) -> None:
    """Epsilon-greedy in the values, with the numbers of the exploration stream."""
    how = case.config.exploration
    due = reference.epsilon_due(case.epoch, how.epsilon_start, how.epsilon_end, how.decay_epochs)
    epsilon = float(case["epsilon"][np.abs(case["epsilon"] - due).argmax()])
    wrong_if(abs(epsilon - due) > 1e-6, "epsilon", found=epsilon, due=due)
    if not case.has("exploration"):
        _explored(judge, case)
    for turn, words in enumerate(case.found.get("exploration", ())):
        chance, choice = reference.generator(words).random((2, case.config.num_worlds))[:, case["worlds"]]
        chosen = reference.choose(case["chosen_q"][turn], float(case["epsilon"][turn]), chance, choice)
        for name, each in chosen.items():
            judge.same("probability", case[f"chosen_{name}"][turn], each, "chosen", 1.0, name=name, turn=turn)


def _explored(judge: Judge, case: Case) -> None:
    """A policy whose random numbers nobody knows explores as often as epsilon says, and each action now and then.

    Told from all turns of the agent that were kept, of a policy that says how likely its actions are, and says as
    epsilon-greedy does. Layer noise may make an action another one than the greedy one besides.
    """
    cases = [each for each in judge.cases if each.agent == case.agent and each.has("chosen_greedy")]
    taken, greedy, told, epsilon = (
        np.concatenate([each[name].repeat(1 + (name == "epsilon") * (each["taken"].shape[1] - 1)) for each in cases])
        for name in ("chosen_action", "chosen_greedy", "chosen_probability", "epsilon")
    )
    kinds, most = case.config.spec.agents[case.agent].num_actions, LUCK / case.config.num_agents
    need(np.allclose(told, epsilon / kinds + (1 - epsilon) * (taken == greedy), 1e-4))
    need(not getattr(case.config.agent, "noisy", False))
    other, chances = taken != greedy, epsilon[:MOST_ACTIONS] * (kinds - 1) / kinds
    luck = min(reference.tails(chances, int(other[:MOST_ACTIONS].sum())))
    wrong_if(luck < most / 2, "explored", found=other.mean(), turns=len(taken), due=chances.mean())
    never, luck = sorted(set(range(kinds)) - set(taken.tolist())), kinds * float(np.prod(1 - epsilon / kinds))
    wrong_if(never and luck < most, "never chosen", which=never[:1], turns=len(taken))


def acted(judge: Judge, case: Case) -> None:
    """The world takes the action that was chosen and answers by its rules, or as the environments that it plays."""
    equal(case["taken"], case["chosen_action"], "taken")
    if case.has("told"):
        reward, ended, cut, given, acts, gone = np.moveaxis(case["told"][..., 1:].astype(np.float32), 2, 0)
        wrong_if(len(np.unique((given - case["taken"])[acts > 0])) > 1, "given")  # an environment may count from 1
        cut *= ended == 0
        dues = {"valid": acts, "rewards": reward, "truncated": cut, "terminated": np.maximum(ended, gone * (cut == 0))}
        for name, due in dues.items():
            equal(np.where((acts > 0) | (name == "valid"), case[f"paid_{name}"], due), due, "answered", name=name)
        return
    world = case.treasurehunt(ruled=True)
    shaping, discount = getattr(world, "shaping", 0.0), getattr(world, "discount", 0.0)
    ends = np.concatenate([case["before_spawn"][1:], case["cells"][-1:]])  # the maps as the turns leave them
    for turn, copy in np.ndindex(*case["taken"].shape):
        (row, column), action = case["place"][turn, copy].tolist(), int(case["taken"][turn, copy])
        cells = case["cells"][turn, copy].copy()
        reward, *after = reference.treasurehunt(cells, row, column, action, world.gem_reward, world.wall_reward)
        came_to, paid = case["place_after"][turn, copy].tolist(), case["paid_rewards"][turn, copy]
        before = reference.potential(case["before_spawn"][turn, copy], row, column)
        reward += shaping * (discount * reference.potential(ends[turn, copy], *came_to) - before)
        judge.same("probability", paid, reward, "paid", max(abs(reward), abs(shaping * before), 1.0), turn=turn)
        wrong_if(after != came_to, "moved", turn=turn, found=came_to, due=after)
        cells[row, column], cells[tuple(after)] = reference.EMPTY, reference.AGENT
        wrong_if(not _same(case["cells_after"][turn, copy], cells), "cells after", turn=turn)


def drifted(judge: Judge, case: Case) -> None:
    """An epoch begins with agents in random cells, and gems appear in empty ones: as the world's stream gives them."""
    world, rng, worlds = case.treasurehunt(ruled=True), reference.generator(case["world_rng"][0]), case["worlds"]
    inner, copies = (world.height - 2, world.width - 2), case.config.num_worlds
    first = rng.random((copies, inner[0] * inner[1]))[worlds]
    due = np.array([reference.first_cells(draws, world.num_agents) for draws in first])
    wrong_if(not _same(case["before_spawn"][0, :, 1:-1, 1:-1].reshape(due.shape), due), "not new")
    for turn, (before, after) in enumerate(zip(case["before_spawn"], case["after_spawn"], strict=True)):
        draws, most = rng.random((copies, *inner), dtype=np.float32)[worlds], getattr(world, "max_gems", 0)
        dues = [reference.spawned(*each, world.spawn_prob, most) for each in zip(before, draws, strict=True)]
        wrong_if(not _same(after, np.array(dues)), "gems", turn=turn)


def stored(judge: Judge, case: Case) -> None:
    """What lies in the replay is what was shown, done and paid in that turn."""
    shape = case["row_action"].shape
    dues: dict[str, NDArray[Any]] = {
        "action": case["chosen_action"], "reward": case["paid_rewards"], "frame": case["shown"],
        "epsilon": np.broadcast_to(case["epsilon"].astype(np.float32)[:, None], shape),
        "probability": case["chosen_probability"], "policy_version": np.full(shape, case["version"]),
    }  # fmt: skip
    ends = (name for name in ("terminated", "truncated", "valid") if case.has(f"row_{name}"))
    over = case["paid_terminated"] | case["paid_truncated"]
    dues["episode_start"] = reference.episode_starts(over, case["paid_valid"])
    for name, due in (dues | {name: case[f"paid_{name}"] for name in ends}).items():
        found, told = case[f"row_{name}"], name.replace("_", " ")
        if (wrong := first_wrong(found, due)) is None:
            continue
        for shift in (1, -1, 2, -2):
            turn, shared = max(-shift, 0), max(len(found) - abs(shift), 0)
            alike = first_wrong(found[turn + shift :][:shared], due[turn:][:shared]) is None
            wrong_if(shared and alike, "other turn", name=told, turn=turn, other=turn + shift)
        raise Wrong("stored", name=told, turn=wrong[0], found=float(found[wrong]), due=float(due[wrong]))


class _Row(NamedTuple):
    """What a row must hold, and the size of the rewards that it adds up."""

    r_t: float
    discount_t: float
    span: int
    scale: float

    def check(self, judge: Judge, r_t: Any, discount_t: Any, turn: int) -> None:
        """Hold a row's return and discount against these."""
        judge.same("discount", discount_t, self.discount_t, "discount", 1.0, turn=turn)
        judge.same("return", r_t, self.r_t, "return", max(self.scale, 1e-6), turn=turn)


def _row(case: Case, prefix: str, at: tuple[Any, Any]) -> _Row:
    """The row whose turns, in an epoch or in what was kept of the replay, lie in a place."""
    learning, rewards = case.config.learning, case[f"{prefix}_reward"][at].astype(np.float64)
    never, names = np.zeros(len(rewards), np.bool_), (f"{prefix}_terminated", f"{prefix}_truncated")
    terminated, truncated = (case[name][at] if case.has(name) else never for name in names)
    due = reference.n_step(rewards, terminated, truncated, learning.gamma, learning.n_step, learning.reward_scale)
    return _Row(*due, float(np.abs(rewards[: learning.n_step]).sum()) * learning.reward_scale)


def returned(judge: Judge, case: Case) -> None:
    """Return, discount and span of a row are those of the rewards that lie in the replay."""
    found, scale = case["row_r_t"].astype(np.float64), case.config.learning.reward_scale
    rows = {(turn, world): _row(case, "row", (slice(turn, None), world)) for turn, world in np.ndindex(*found.shape)}
    due = np.array([row.r_t for row in rows.values()])
    times = _along(found.reshape(-1), due)
    if times and judge.differ("return", times, 1.0) and not judge.differ("return", found.reshape(-1), times * due):
        raise Wrong("scale", times=times, scale=scale)
    for at, row in rows.items():
        row.check(judge, found[at], case["row_discount_t"][at], at[0])
        wrong_if(case["row_span"][at] != row.span, "span", turn=at[0], found=case["row_span"][at], due=row.span)


# --- learning ---------------------------------------------------------------------------------------------------------


def rows_drawn(judge: Judge, case: Case) -> None:
    """Rows come from the window, those of it that are still there, and from all that is due after the epoch."""
    for numbers, (end, committed, intact) in zip(case["drawn"], case["bounds"].tolist(), strict=True):
        low, late = max(0, end - case.config.replay.window, intact), (numbers >= end).any()
        if late or (numbers < low).any() or end > committed:
            raise Wrong("rows", found=numbers.max() if late else numbers.min(), low=low, high=end - 1)
    replay, numbers, oldest = case.config.replay, case["batch_number"], int(case["batch_policy_version"].min())
    # others may well draw the same rows again, where few have all the weight
    repeats = type(replay.sampler) is UniformConfig and len(case["drawn"]) - len(np.unique(case["drawn"], axis=0))
    luck = float(len(case["drawn"])) ** 2 * float(case.config.steps_per_epoch) ** -len(numbers)
    wrong_if(repeats and luck < FALSE_ALARMS / len(judge.cases), "one batch", updates=repeats + 1, epoch=case.epoch)
    least = int(case["version"]) - replay.max_age
    wrong_if(replay.max_age > 0 and oldest < least, "old row", found=oldest, due=least)
    wrong_if(case.has("memory_valid") and not case["memory_valid"][:, 0].all(), "nobody's row")
    low, end = int(case["low"]), int(case["end"])
    other, whole = np.zeros(len(numbers), np.bool_), case["intact"] <= max(0, end - replay.window)
    # where the writer was given rows of the window meanwhile, nobody knows from which row on the others were drawn
    if type(replay.sampler) is UniformConfig and case["intact"] <= low and (whole or not replay.max_age):
        due = reference.generator(case["sampling"]).integers(low, end, len(numbers))
        other = (numbers != due) & ~np.isin(due, case["rejected"])  # those were nobody's, and drawn again
    if type(replay.sampler) is PrioritisedConfig and whole and not len(case["rejected"]):
        wrong_if(case.config.spec.whole_epochs and case["least"] == 0, "never drawn")
        points = reference.generator(case["sampling"]).random(len(numbers))
        shares = reference.stratified(points) if replay.sampler.draws == "stratified" else points
        above = case["priority_ends"] / case["priority_sum"] - shares  # from 0 to the row's own share
        other = (above < -ROUNDING) | (above > case["priorities"] / case["priority_sum"] + ROUNDING)
    wrong_if(other.any(), "other rows", count=int(other.sum()), rows=len(numbers))
    end, until = int(case["bounds"][0, 0]), (case.epoch + 1) * case.config.steps_per_epoch
    wrong_if(judge.lag is not None and end != until, "rows of another epoch", end=end, epoch=case.epoch)


def handed_on(judge: Judge, case: Case) -> None:
    """The batch that the agent is handed is what lies in the replay under its row numbers."""
    config, turns = case.config, case["memory_turn"].tolist()
    frames, ahead = config.agent.num_frames, case["memory_action"].shape[1]
    for row, turn in enumerate(turns):
        due = _row(case, "memory", (row, slice(0, min(ahead, config.max_turns - turn))))
        due.check(judge, case["batch_r_t"][row], case["batch_discount_t"][row], turn)
        number = case["batch_number"][row]
        for handed, name in (("a_tm1", "action"), ("policy_version", "policy_version")):
            found, lies = case[f"batch_{handed}"][row], case[f"memory_{name}"][row, 0]
            wrong_if(found != lies, "handed on", name=name.replace("_", " "), number=number, found=found, due=lies)
        states = {"s_tm1": (case["batch_s_tm1"], 0), "s_t": (case["batch_s_t"], due.span)}
        if case.has("batch_states"):
            for name, each in _window_of(case, row, due.span).items():
                judge.same("return", case[f"batch_{name}"][row, :ahead], each, "handed on", name=name, number=number)
            states |= {f"state {k}": (case["batch_states"][:, k], min(k, due.span)) for k in range(ahead + 1)}
        kept, newest = case["memory_frame"][row], frames - 1
        start = max(int(case["memory_episode_start"][row, 0]) - turn + newest, 0)
        stacks = [
            (f"{name} of row {number}", state[row], reference.stack(kept, after + newest, start, frames))
            for name, (state, after) in states.items()
        ]
        _same_frames(stacks, "learner", "learner's frames")


def _window_of(case: Case, row: int, span: int) -> dict[str, Floats]:
    """The turns of a row one by one, as corrections read them; 0 behind its span."""
    learning, lies = case.config.learning, {name: case[f"memory_{name}"][row] for name in ("action", "probability")}
    ends = case["memory_terminated"][row] if case.has("memory_terminated") else np.zeros(len(lies["action"]), np.bool_)
    columns = {
        "actions": lies["action"], "probabilities": lies["probability"],
        "rewards": case["memory_reward"][row] * learning.reward_scale, "discounts": learning.gamma * ~ends,
    }  # fmt: skip
    return {name: np.where(np.arange(len(ends)) < span, each, 0.0) for name, each in columns.items()}


def learning_drawn(judge: Judge, case: Case) -> None:
    """Fractions and noise of an update are the next numbers of their stream."""
    rng = reference.generator(case["rng"])
    for name in ("tau_tm1", "tau_t", "tau_policy"):
        if case.has(f"random_{name}"):
            found = case[f"random_{name}"]
            equal(found, rng.random(found.shape, dtype=np.float32), "fractions", which=name)
    for name in ("noise_tm1", "noise_t", "noise_policy"):
        _same_noise(rng, case[f"random_{name}"], name)


def weighted(judge: Judge, case: Case) -> None:
    """Rows of a prioritised batch weigh as their priorities say, and take their new priorities from their errors."""
    sampler, made = case.config.replay.sampler, int(case["updates_before"])
    if not isinstance(sampler, PrioritisedConfig):
        return  # there are no priorities to be wrong
    need(judge.steady and judge.lag is not None and np.isfinite(case["errors"]).all())
    beta = reference.beta_due(made, judge.settings.config.total_updates, sampler.beta)  # the sampler knows of no change
    weights = reference.importance(case["priorities"].astype(np.float64), beta)
    judge.same("weight", case["batch_weight"], weights, "weight")
    (least, most), largest = case["new"], max(float(case["largest"]), float(case["greatest"]), 1.0)
    rejected = least == 0 and not case.config.spec.whole_epochs
    wrong_if(most != largest or (least != largest and not rejected), "new row", found=least, due=largest)
    numbers, made_of = case["batch_number"].tolist(), (case["errors"] + sampler.floor) ** sampler.alpha
    newest = dict(zip(numbers, made_of.tolist(), strict=True))  # of a row drawn twice the last one counts
    judge.same("priority", case["priorities_after"], [newest[number] for number in numbers], "priorities")
    judge.after(targeted, case)
    due = _examined(judge, case)
    judge.same("td error", case["errors"], due.errors, "errors", due.errors.max(), due.rounding)


@dataclass(frozen=True)
class _Due:
    """What an update must come to by the reference.

    Attributes:
        numbers: loss, mean and greatest Q, TD error, and norm of the gradient, as an update returns them.
        errors: TD error of each row.
        gradient: (size,) before it is clipped.
        rounding: how far off float32 may have a TD error, which is the difference of values.
        tied: whether float32 may choose another action to bootstrap from.
        bent: how far off the gradient may be, as float32 rounds the values that an error is the difference of, and may
            pass on units that are close to 0 or not.
    """

    numbers: Floats
    errors: Floats
    gradient: Floats
    rounding: float
    tied: bool
    bent: float


# Places of these numbers in what an update returns.
_LOSS, _MEAN_Q, _MAX_Q, _ERROR, _NORM = range(5)


def _update_of(judge: Judge, case: Case, by_online: bool = False, double: bool | None = None, times: float = 1) -> _Due:
    """Compute an update once more.

    Args:
        judge: knows what the run was launched with.
        case: its evidence.
        by_online: whether the online network values the action that is bootstrapped from, in place of the target one.
        double: whether the online network chooses that action; None for what the settings say.
        times: what discounts are multiplied by.
    """
    agent: Any = case.config.agent
    quantiles, learning, layout = isinstance(agent, IQNConfig), case.config.learning, _layout(case)
    online, target_network = np.split(case["vector"], 2)
    chooser = online if (learning.double if double is None else double) else target_network
    valuer = online if by_online else target_network

    def network(half: NDArray[np.float32], use: str) -> Network:
        """A network with the noise and the fractions that were drawn for one of its uses."""
        return _network(case, half, case[f"random_noise_{use}"], case.found.get(f"random_tau_{use}"))

    choosing = network(chooser, "policy" if learning.double or quantiles else "t")
    target, tied = _targets(judge, case, choosing, network(valuer, "t"), times)
    trained, here = network(online, "tm1"), case["batch_a_tm1"]
    z, rows = trained(_encoded(case, case["batch_s_tm1"])), np.arange(len(here))
    taken = z[rows, ..., here]
    weight = case["batch_weight"].astype(np.float64) if case.has("batch_weight") else np.ones(len(rows))
    if quantiles:
        loss, slope, error = reference.quantile_huber(taken, case["random_tau_tm1"], target, agent.huber_kappa)
    else:
        loss, slope, error = reference.huber(taken, target, agent.huber_kappa)
    along, q_tm1 = np.zeros_like(z), taken.reshape(len(rows), -1).mean(1)
    along[rows, ..., here] = (slope.T * weight / len(rows)).T
    gradient, low, high = (_flat(layout, trained.gradient(along, edge)) for edge in (0.0, -KINK, KINK))
    numbers = np.array([(loss * weight).mean(), q_tm1.mean(), q_tm1.max(), error.mean(), np.linalg.norm(gradient)])
    rounding = VALUES * max(np.abs(z).max(), np.abs(target).max())
    off = _flat(layout, trained.gradient(rounding / min(agent.huber_kappa, 1.0) / len(rows) * (along != 0)))
    bent = float(BENT * np.linalg.norm(high - low) + np.linalg.norm(off))
    return _Due(numbers, error, gradient, rounding, tied, bent)


def _flat(layout: ParameterLayout, gradient: Mapping[str, Floats]) -> Floats:
    """A gradient by parameter as a vector."""
    flat = np.zeros(layout.size)
    for name, offset in zip(layout.names, layout.offsets, strict=True):
        flat[offset : offset + gradient[name].size] = gradient[name].reshape(-1)
    return flat


def _targets(judge: Judge, case: Case, choosing: Network, valuing: Network, discount: float) -> tuple[Floats, bool]:
    """Targets, corrected as the settings say, by the network that chooses and the one that values; whether tied."""
    learning, launched = case.config.learning, judge.settings.config  # agents know of no change of epsilon
    if learning.correction == "none":
        x_t, r_t, discount_t = _encoded(case, case["batch_s_t"]), case["batch_r_t"], case["batch_discount_t"]
        q = _q(choosing(x_t))
        best = valuing(x_t)[np.arange(len(q)), ..., q.argmax(1)]
        return (r_t.astype(np.float64) + discount_t.astype(np.float64) * discount * best.T).T, _tied(q)
    states = case["batch_states"]
    flat = _encoded(case, states.reshape(-1, *states.shape[2:]))
    q, valued = (network(flat).reshape(*states.shape[:2], -1) for network in (choosing, valuing))
    rates = (launched.exploration.epsilon_end, learning.trace) if learning.correction == "retrace" else (0.0, 1.0)
    columns = (case[f"batch_{name}"] for name in ("actions", "rewards", "discounts", "probabilities", "span"))
    rows: Iterable[Any] = zip(valued, q.argmax(2), *columns, strict=True)
    return np.array([reference.corrected(*rates, *row) for row in rows]), _tied(q)


def _tied(q: Floats) -> bool:
    """Whether the two best actions of a state are so close that float32 may order them otherwise."""
    return bool((np.diff(np.sort(q)[..., -2:]) < TIE * np.abs(q).max()).any())


def _examined(judge: Judge, case: Case) -> _Due:
    """An update once more.

    Raises:
        CannotTell: see :func:`_transcribed`; or its numbers are not finite, float32 may choose another action, or
            products of matrices are coarser than the tolerances.
    """
    _transcribed(case)
    need((case.config.learning.precision, case.config.processes.matmul_precision) == ("float32", "highest"))
    need(np.isfinite(case["vector"]).all() and np.isfinite(case["metrics"]).all())
    due: _Due = judge.updates.get(case) or judge.updates.setdefault(case, _update_of(judge, case))
    need(not due.tied)
    return due


def valued(judge: Judge, case: Case) -> None:
    """The online network values the states and actions of the batch."""
    due = _examined(judge, case).numbers
    scale = max(abs(due[_MEAN_Q]), abs(due[_MAX_Q]), 0.1)
    for at, which in ((_MEAN_Q, "mean"), (_MAX_Q, "greatest")):
        judge.same("q", case["metrics"][at], due[at], "batch's values", scale, which=which)


def targeted(judge: Judge, case: Case) -> None:
    """TD errors are those to r + discount * Z_target(s_t, a*)."""
    update, found, learning = _examined(judge, case), float(case["metrics"][_ERROR]), case.config.learning
    due, differ = update.numbers[_ERROR], functools.partial(judge.differ, "td error", found, rounding=update.rounding)
    if not differ(due):
        return
    otherwise: dict[str, dict[str, Any]] = {
        "valued by online": {"by_online": True}, "double": {"double": not learning.double},
        "all by online": {"double": True, "by_online": True}, "no bootstrap": {"times": 0.0},
    }  # fmt: skip
    for finding, how in otherwise.items():
        if not differ(_update_of(judge, case, **how).numbers[_ERROR]):
            raise Wrong(finding, double=not learning.double)
    for factor in (0.99, 1.01):  # the error is close to linear in a small change of the discount
        slope = (_update_of(judge, case, times=factor).numbers[_ERROR] - due) / (factor - 1)
        guess = 1 + (found - due) / slope if slope else 0.0
        sound = 0 < guess < 1 / max(learning.gamma, 1e-3)
        if sound and not differ(_update_of(judge, case, times=guess).numbers[_ERROR]):
            typical = float(np.median(case["batch_discount_t"]))
            raise Wrong("target's discount", found=guess * typical, due=typical)
    raise Wrong("td error", found=found, due=due)


def lost(judge: Judge, case: Case) -> None:
    """The loss is that of these TD errors."""
    judge.after(valued, case)
    judge.after(targeted, case)
    due = _examined(judge, case)
    loss = due.numbers[_LOSS]  # a small error counts by its square, so twice as much of it is rounding
    rounding = 2 * loss * due.rounding / max(due.numbers[_ERROR], due.rounding, 1e-9)
    judge.same("loss", case["metrics"][_LOSS], loss, "loss", loss, rounding)


def graded(judge: Judge, case: Case) -> None:
    """The gradient is that of the loss."""
    judge.after(lost, case)
    due = _examined(judge, case)
    _same_layers(judge, case, "gradient", case["summed"].astype(np.float64), due.gradient[case["places"]], due.bent)
    judge.same("norm", case["summed_norm"], due.numbers[_NORM], "norm", due.numbers[_NORM], due.bent)


def _same_layers(judge: Judge, case: Case, kind: str, found: Floats, due: Floats, bent: float = 0.0) -> None:
    """Hold a gradient against the one due; the sentence has the layer that is furthest off."""
    if judge.differ(kind, found, due, rounding=bent):
        name, here = _worst_layer(case, found - due)
        raise Wrong(kind, name=name, found=np.linalg.norm(found[here]), due=np.linalg.norm(due[here]))


def shortened(judge: Judge, case: Case) -> None:
    """A gradient longer than the limit is shortened to it as a whole, and no other."""
    before, after = case["summed"].astype(np.float64), case["gradient"].astype(np.float64)
    limit, norm = case.config.learning.grad_clip, float(case["summed_norm"])
    need(np.isfinite(before).all() and norm)
    scale = _along(after, before)
    _same_layers(judge, case, "clip", after, before * scale)
    due = reference.clipped(norm, limit)
    wide = max(1.0, TOLERANCES["summed"] * _layout(case).size / TOLERANCES["clip"])
    judge.same("clip", scale, due, "clipped", due * wide, norm=norm, limit=limit)
    judge.same("clip", case["metrics"][_NORM], norm, "norm", norm * wide)


def stepped(judge: Judge, case: Case) -> None:
    """Adam steps the weights by the gradient that it is given, with the step size of the schedule."""
    need(all(np.isfinite(case[name]).all() for name in ("gradient", "online_before", "exp_avg_sq_before")))
    wrong_if(case["touched"][[1, 3, 4]].any(), "weights between updates")
    learning, made = case.config.learning, int(case["updates_before"])
    rate, gradient = float(case["rate"]), case["gradient"].astype(np.float64)
    if judge.steady:
        at = judge.settings.schedule_position(made, case.epoch)
        ends = learning.learning_rate, learning.learning_rate_end
        due_rate = reference.rate_due(at, case.config.total_updates, *ends, learning.learning_rate_schedule)
        judge.same("rate", rate, due_rate, "step size")
    steps, updates = int(case["step_after"]), int(case["updates_after"])
    wrong_if(updates != made + 1 or steps != int(case["step_before"]) + 1, "counts", steps=steps, updates=updates)
    kept = ([case[f"{name}_{when}"] for name in ("online", "exp_avg", "exp_avg_sq")] for when in ("before", "after"))
    before, found = (reference.Moments(*np.array(each, np.float64)) for each in kept)
    due = reference.adam(before, gradient, made + 1, rate, learning.adam_eps)
    moved, way = found.weights - before.weights, due.weights - before.weights
    for name, here in _layers(case).items():
        wrong_if(np.abs(way[here]).max() > 1e-6 and not moved[here].any(), "unchanged", name=name)
    for what, new, decay in (("first", gradient, reference.BETA1), ("second", gradient**2, reference.BETA2)):
        old, now, wanted = (getattr(each, what) for each in (before, found, due))
        if judge.differ("moments", now, wanted, max(np.abs(wanted).max(), np.abs(new).max() * (1 - decay))):
            raise Wrong("decay", which=what, found=_along(now - new, old - new), due=decay)
    if judge.differ("step", moved, way, rounding=ROUNDING * np.abs(before.weights).max()):
        name, here = _worst_layer(case, moved - way)
        times = _along(moved[here], way[here])
        if judge.differ("step", moved[here], times * way[here]):
            raise Wrong("other step", name=name, norm=np.linalg.norm(moved[here] - way[here]))
        raise Wrong("length of step", name=name, times=times)


def followed(judge: Judge, case: Case) -> None:
    """The target network moves by tau of the way, when it is due to."""
    need(np.isfinite(case["online_after"]).all())
    wrong_if(case["touched"][2], "target between updates")
    learning, made = case.config.learning, int(case["updates_after"])
    due = learning.tau if made % learning.target_interval == 0 else 0.0
    before, after, online = (case[x].astype(np.float64) for x in ("target_before", "target_after", "online_after"))
    scale, rounding = learning.tau * float(np.abs(online - before).max()), ROUNDING * np.abs(before).max()
    if judge.differ("target", after, reference.soft_update(before, online, due), scale, rounding):
        raise Wrong("target's way", found=_along(after - before, online - before), due=due)


def published(judge: Judge, case: Case) -> None:
    """What lies in the weight store is what the learner holds."""
    equal(case["newest"], case["due_version"], "newest")
    equal(case["updates"], case["made"], "header")
    finding = "version before" if _same(case["previous"], case["stored"]) else "other weights published"
    wrong_if(not _same(case["online"], case["stored"]), finding, version=int(case["newest"]))
    wrong_if(not _same(case["target"], case["stored_target"]), "target not published")
    wrong_if(int(case["online_sum"]) != int(case["stored_sum"]), "some weights")


def synced(judge: Judge, case: Case) -> None:
    """The policy acts with the version that is due, whole."""
    version = int(case["version"])
    if judge.steady and judge.lag is not None and version != max(0, case.epoch - judge.lag):
        raise Wrong("version", found=version, due=max(0, case.epoch - judge.lag))
    acted = vector_sum(case["weights"])
    wrong_if(acted != int(case["stored_sum"]), "other weights", version=version)
    wrong_if(acted != int(case["sum_later"]), "other weights later", version=version)


def _along(found: Floats, due: Floats) -> float:
    """By what the vector due must be multiplied to come closest; 0 if it is 0, or not finite."""
    length = float(due @ due)
    return float(found @ due) / length if 0 < length < np.inf else 0.0


def _layers(case: Case) -> dict[str, NDArray[np.bool_]]:
    """Which of the sampled places belong to each parameter."""
    inside = np.searchsorted(_layout(case).offsets, case["places"], "right") - 1
    return {name: inside == at for at, name in enumerate(_layout(case).names)}


def _worst_layer(case: Case, difference: Floats) -> tuple[str, NDArray[np.bool_]]:
    """The parameter with the largest difference, and which of the sampled places are its."""
    return max(_layers(case).items(), key=lambda each: float(np.abs(difference[each[1]]).max(initial=0)))
