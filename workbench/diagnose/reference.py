"""The whole chain once more, slow and obvious, in float64 NumPy: what *should* happen, stage by stage.

A stage is a pure function of its inputs. Nothing of the package is imported here, so no mistake of the fast code can be
shared; a test holds that. :mod:`workbench.diagnose.second_opinion` compares each stage to what a run recorded of it,
and a record of one stage is enough for that stage. Shapes: B rows or worlds, F frames, A actions, N fractions, T turns.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Parameters = Mapping[str, Floats]
# The rate of decay of Adam's moments (Kingma and Ba 2015, algorithm 1).
BETA1, BETA2 = 0.9, 0.999
# What a cell of Treasurehunt holds, and how far an action moves: up, down, left, right.
EMPTY, WALL, GEM, AGENT = 1, 2, 4, 5
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
# Addresses of random streams: ``SeedSequence(seed, spawn_key=(role, agent))``.
ROLES = ("world", "exploration", "acting_quantiles", "sampling", "learning_quantiles")


# --- random streams ---------------------------------------------------------------------------------------------------


def stream_increment(seed: int, role: str, agent: int) -> int:
    """The increment of the PCG64 generator that a role of an agent is due, which tells streams apart (O'Neill 2014)."""
    sequence = np.random.SeedSequence(seed, spawn_key=(ROLES.index(role), agent))
    return int(np.random.PCG64(sequence).state["state"]["inc"])


def generator(words: NDArray[np.uint64]) -> np.random.Generator:
    """The generator in a state of (6,) words: state, increment, each in two halves, and what is left of a draw."""
    high, low, *_, has_uint32, uinteger = (int(word) for word in words)
    made = np.random.Generator(np.random.PCG64(0))
    state = {"state": high * 2**64 + low, "inc": increment(words)}
    about = {"bit_generator": "PCG64", "state": state, "has_uint32": has_uint32, "uinteger": uinteger}
    made.bit_generator.state = about
    return made


def increment(words: NDArray[np.uint64]) -> int:
    """The increment in a state of words."""
    return int(words[2]) * 2**64 + int(words[3])


def layer_noise(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Factors of noise, sgn(x) sqrt(|x|) of a normal x (Fortunato et al. 2018, section 3): (size,)."""
    drawn = rng.standard_normal(size, dtype=np.float32)
    return np.sign(drawn) * np.sqrt(np.abs(drawn))


# --- observe, stack ---------------------------------------------------------------------------------------------------


def observe(cells: NDArray[np.uint8], row: int, column: int, radius: int) -> NDArray[np.uint8]:
    """What an agent of Treasurehunt sees: the cells around it, row by row, walls beyond the edge."""
    around = [
        cells[y, x] if 0 <= y < cells.shape[0] and 0 <= x < cells.shape[1] else WALL
        for y in range(row - radius, row + radius + 1)
        for x in range(column - radius, column + radius + 1)
    ]
    return np.array(around, np.uint8)


def stack(frames: NDArray[Any], turn: int, start: int, num_frames: int) -> NDArray[Any]:
    """The newest frames up to a turn, oldest first, blank before the episode (Mnih et al. 2015): (F, *shape)."""
    blank = np.zeros(frames.shape[1:], frames.dtype)
    return np.stack([frames[at] if at >= start else blank for at in range(turn - num_frames + 1, turn + 1)])


def encode(state: NDArray[Any], num_codes: int | None) -> Floats:
    """(B, F, *shape) as a network's input: codes one-hot and code 0 all zeros; other bytes over 255; floats as are."""
    flat = state.reshape(len(state), -1)
    if num_codes:
        one_hot: Floats = (flat[:, :, None] == np.arange(1, num_codes + 1)).astype(np.float64)
        return one_hot.reshape(len(state), -1)
    return flat.astype(np.float64) / (255.0 if flat.dtype == np.uint8 else 1.0)


# --- forward, backward ------------------------------------------------------------------------------------------------


class Layer:
    """y = x W^T + b, with W + sigma noise_out noise_in^T for W, and b alike, where there is noise (Fortunato 2018)."""

    def __init__(self, parameters: Parameters, name: str, noise: Floats | None) -> None:
        self.name, self.weight, self.bias = name, parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        self.noise_in = self.noise_out = None
        if noise is not None and f"{name}.weight_sigma" in parameters:
            inputs = self.weight.shape[1]
            self.noise_in, self.noise_out = noise[:inputs], noise[inputs:]
            self.weight = self.weight + parameters[f"{name}.weight_sigma"] * np.outer(self.noise_out, self.noise_in)
            self.bias = self.bias + parameters[f"{name}.bias_sigma"] * self.noise_out

    def __call__(self, x: Floats) -> Floats:
        """(B, inputs) to (B, outputs)."""
        self.x = x
        return x @ self.weight.T + self.bias

    def back(self, slope: Floats, gradient: dict[str, Floats]) -> Floats:
        """From the slope of the loss along y to that along x; those along the parameters are put down."""
        weight, bias = slope.T @ self.x, slope.sum(0)
        gradient[f"{self.name}.weight"], gradient[f"{self.name}.bias"] = weight, bias
        if self.noise_in is not None and self.noise_out is not None:
            gradient[f"{self.name}.weight_sigma"] = weight * np.outer(self.noise_out, self.noise_in)
            gradient[f"{self.name}.bias_sigma"] = bias * self.noise_out
        return slope @ self.weight


def _shares(parameters: Parameters, noise: Floats | None) -> dict[str, Floats]:
    """A draw of noise, shared out to the noisy layers in their order: (inputs + outputs,) each."""
    shares: dict[str, Floats] = {}
    for name in ("hidden", "head"):
        if noise is not None and len(noise) and f"{name}.weight_sigma" in parameters:
            size = sum(parameters[f"{name}.weight"].shape)
            shares[name], noise = noise[:size].astype(np.float64), noise[size:]
    return shares


class ImplicitQuantiles:
    """Z_tau(s, .) of the implicit quantile network (Dabney et al. 2018, section 3) with dueling heads (Wang 2016).

    psi = relu(W_psi x + b), phi(tau) = relu(W_phi cos(pi i tau) + b), i = 0, 1, ...
    Z_tau = head(relu(hidden(psi * phi(tau)))), head = V + A - mean A
    """

    def __init__(self, parameters: Parameters, noise: Floats | None = None) -> None:
        shares = _shares(parameters, noise)
        self.psi, self.phi, self.hidden, self.head = (
            Layer(parameters, name, shares.get(name)) for name in ("psi", "phi", "hidden", "head")
        )

    def __call__(self, x: Floats, tau: NDArray[Any]) -> Floats:
        """(B, inputs) and (B, N) to (B, N, A)."""
        self.shape = tau.shape
        cosines = np.cos(math.pi * np.arange(self.phi.weight.shape[1]) * tau.astype(np.float64).reshape(-1, 1))
        self.psi_in, self.phi_in = self.psi(x), self.phi(cosines)
        self.psi_out, self.phi_out = np.maximum(self.psi_in, 0), np.maximum(self.phi_in, 0)
        mixed = self.psi_out[:, None] * self.phi_out.reshape(*self.shape, -1)
        self.hidden_in = self.hidden(mixed.reshape(len(self.phi_out), -1))
        return duel(self.head(np.maximum(self.hidden_in, 0))).reshape(*self.shape, -1)

    def gradient(self, slope: Floats, edge: float = 0.0) -> dict[str, Floats]:
        """From the slope of the loss along Z, (B, N, A), to its gradient by parameter; see :func:`_open`."""
        found: dict[str, Floats] = {}
        along_hidden = self.head.back(_duel_back(slope.reshape(-1, slope.shape[-1])), found) * _open(
            self.hidden_in, edge
        )
        along_mixed = self.hidden.back(along_hidden, found).reshape(*self.shape, -1)
        along_phi = (along_mixed * self.psi_out[:, None]).reshape(self.phi_out.shape) * _open(self.phi_in, edge)
        along_psi = (along_mixed * self.phi_out.reshape(*self.shape, -1)).sum(1) * _open(self.psi_in, edge)
        self.phi.back(along_phi, found)
        self.psi.back(along_psi, found)
        return found


class ActionValues:
    """Q(s, .) = head(relu(hidden(relu(first(x))))) (Mnih et al. 2015), with dueling heads if wanted (Wang 2016)."""

    def __init__(self, parameters: Parameters, noise: Floats | None = None, dueling: bool = False) -> None:
        shares, self.dueling = _shares(parameters, noise), dueling
        self.first, self.hidden, self.head = (
            Layer(parameters, name, shares.get(name)) for name in ("first", "hidden", "head")
        )

    def __call__(self, x: Floats) -> Floats:
        """(B, inputs) to (B, A)."""
        self.first_in = self.first(x)
        self.hidden_in = self.hidden(np.maximum(self.first_in, 0))
        heads = self.head(np.maximum(self.hidden_in, 0))
        return duel(heads) if self.dueling else heads

    def gradient(self, slope: Floats, edge: float = 0.0) -> dict[str, Floats]:
        """From the slope of the loss along Q, (B, A), to its gradient by parameter; see :func:`_open`."""
        found: dict[str, Floats] = {}
        along_head = self.head.back(_duel_back(slope) if self.dueling else slope, found)
        along_hidden = self.hidden.back(along_head * _open(self.hidden_in, edge), found)
        self.first.back(along_hidden * _open(self.first_in, edge), found)
        return found


def _open(before: Floats, edge: float) -> NDArray[np.bool_]:
    """Which units relu passes on: those above ``edge``, a share of the largest; float32 may take 0 for either side."""
    passed: NDArray[np.bool_] = before > edge * np.abs(before).max()
    return passed


def duel(heads: Floats) -> Floats:
    """V + A - mean A: (..., 1 + A) to (..., A)."""
    value, advantage = heads[..., :1], heads[..., 1:]
    dueling: Floats = value + advantage - advantage.mean(-1, keepdims=True)
    return dueling


def _duel_back(slope: Floats) -> Floats:
    return np.concatenate([slope.sum(-1, keepdims=True), slope - slope.mean(-1, keepdims=True)], -1)


# --- act --------------------------------------------------------------------------------------------------------------


def choose(q: NDArray[Any], epsilon: float, chance: Floats, choice: Floats) -> dict[str, NDArray[Any]]:
    """A random action where chance is below epsilon, the best one elsewhere (Sutton and Barto 2018, section 2.2).

    Returns:
        In B worlds the action, the greedy one, and how likely the action was: (B,) each.
    """
    actions, greedy = q.shape[1], q.argmax(1)
    action = np.where(chance < epsilon, np.floor(choice * actions).astype(np.int64), greedy)
    return {"action": action, "greedy": greedy, "probability": epsilon / actions + (1 - epsilon) * (action == greedy)}


def tails(chances: Floats, count: int) -> tuple[float, float]:
    """How likely at most ``count`` of independent events are, each of its own chance, and how likely at least as many.

    The distribution is built up event by event (Poisson 1837; Wang 1993, section 2), so both are exact.
    """
    likely = np.ones(1)
    for chance in chances.tolist():
        likely = np.convolve(likely, (1 - chance, chance))
    return float(likely[: count + 1].sum()), float(likely[count:].sum())


def epsilon_due(epoch: int, start: float, end: float, decay_epochs: int) -> float:
    """Epsilon falls linearly over ``decay_epochs`` epochs, then stays."""
    return start + (end - start) * min(epoch / decay_epochs, 1.0)


def treasurehunt(
    cells: NDArray[np.uint8], row: int, column: int, action: int, gem: float, wall: float
) -> tuple[float, int, int]:
    """Reward of a move, and where it leads: paid by the cell aimed at, moved unless a wall or an agent is there."""
    to_row, to_column = row + MOVES[action][0], column + MOVES[action][1]
    aim = cells[to_row, to_column]
    moves = aim in (EMPTY, GEM)
    reward = gem if aim == GEM else wall if aim == WALL else 0.0
    return reward, to_row if moves else row, to_column if moves else column


def first_cells(draws: Floats, agents: int) -> NDArray[np.uint8]:
    """The inner cells of a new map of Treasurehunt, row by row: no gems, and agents in those of the smallest draws."""
    cells = np.full(len(draws), EMPTY, np.uint8)
    cells[np.argsort(draws)[:agents]] = AGENT
    return cells


def spawned(cells: NDArray[np.uint8], draws: NDArray[np.float32], probability: float, most: int) -> NDArray[np.uint8]:
    """A map after gems have come into empty inner cells of draws below the probability.

    At most ``most`` gems lie on it then, unless that is 0: those of the smallest draws come.
    """
    found = cells.copy()
    inside = found[1:-1, 1:-1]
    come = np.argwhere((inside == EMPTY) & (draws < np.float32(probability))).tolist()
    room = max(most - int((inside == GEM).sum()), 0) if most else len(come)
    for place in sorted(come, key=lambda place: float(draws[tuple(place)]))[:room]:
        inside[tuple(place)] = GEM
    return found


def potential(cells: NDArray[np.uint8], row: int, column: int) -> float:
    """What shaping (Ng, Harada and Russell 1999) is made of: minus the steps to the nearest gem, 0 without one."""
    gems = np.argwhere(cells == GEM)
    return -float(np.abs(gems - (row, column)).sum(1).min()) if len(gems) else 0.0


# --- replay -----------------------------------------------------------------------------------------------------------


def n_step(
    rewards: Floats, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], gamma: float, n: int, scale: float
) -> tuple[float, float, int]:
    """Return, discount and span of a row from the turns that follow it in its epoch (Sutton and Barto 2018, 7.1).

    r = sum_{k < m} gamma^k R_k scale, discount = gamma^m, m = min(n, turns left). A termination ends the sum with a
    discount of 0, a truncation with the discount so far. Behind a discount of 0 nothing counts.
    """
    total, discount, span = 0.0, 1.0, 0
    for reward, ends, cut in zip(rewards[:n].tolist(), terminated[:n].tolist(), truncated[:n].tolist(), strict=True):
        total += discount * reward * scale
        discount *= 0.0 if ends else gamma
        span += 1
        if ends or cut or discount == 0:
            break
    return total, discount, span


def episode_starts(over: NDArray[np.bool_], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First turn of each turn's episode, (T, W): the first valid one after an end; a turn spent waiting is its own."""
    starts, between = np.zeros(over.shape, np.int64), np.zeros(over.shape[1], np.bool_)
    for turn in range(1, len(over)):
        between = over[turn - 1] | (between & ~valid[turn - 1])
        starts[turn] = np.where(between, turn, starts[turn - 1])
    return starts


def beta_due(update: int, total: int, first: float) -> float:
    """Exponent of the importance weights at an update, counted from 0: it grows linearly to 1 at the last one."""
    return min(1.0, first + (1 - first) * update / max(1, total - 1))


def stratified(points: Floats) -> Floats:
    """Each point from 0 to 1 in its own equal part of the line (Schaul et al. 2016, section 3.3)."""
    return (np.arange(len(points)) + points) / len(points)


def importance(priorities: Floats, beta: float) -> Floats:
    """Weights of rows drawn in proportion to their priorities, the greatest 1 (Schaul et al. 2016, section 3.4)."""
    weights: Floats = priorities**-beta
    return np.asarray(weights / weights.max())


# --- update -----------------------------------------------------------------------------------------------------------


def quantile_huber(value: Floats, tau: NDArray[Any], target: Floats, kappa: float) -> tuple[Floats, Floats, Floats]:
    """Loss, its slope along the values, and mean |delta|, of every row (Dabney et al. 2018, equation 3).

    delta_ij = target_j - value_i, loss = sum_i mean_j |tau_i - [delta_ij < 0]| L_kappa(delta_ij) / kappa
    """
    delta = target[:, None, :] - value[:, :, None]
    weight = np.abs(tau.astype(np.float64)[:, :, None] - (delta < 0)) / kappa
    loss = (weight * huber(delta, kappa)).mean(2).sum(1)
    slope = -(weight * np.clip(delta, -kappa, kappa)).mean(2)
    return loss, slope, np.abs(delta).mean((1, 2))


def huber(delta: Floats, kappa: float) -> Floats:
    """delta^2 / 2 up to kappa, kappa (|delta| - kappa / 2) beyond (Huber 1964)."""
    size = np.abs(delta)
    return np.where(size <= kappa, delta * delta / 2, kappa * (size - kappa / 2))


def corrected(
    q: Floats, greedy: NDArray[np.int64], actions: NDArray[Any], rewards: Floats, discounts: Floats,
    probabilities: Floats, span: int, epsilon: float, trace: float,
) -> float:  # fmt: skip
    """One row's target of Retrace (Munos et al. 2016, equation 4); with epsilon 0 and trace 1 Watkins's cut (1989)."""
    count = q.shape[1]
    total, decay = float(q[0, actions[0]]), 1.0
    for turn in range(span):
        if turn:
            likely = epsilon / count + (1 - epsilon) * (actions[turn] == greedy[turn])
            decay *= discounts[turn - 1] * trace * min(1.0, likely / probabilities[turn])
        value = epsilon * q[turn + 1].mean() + (1 - epsilon) * q[turn + 1, greedy[turn + 1]]
        total += decay * (rewards[turn] + discounts[turn] * value - q[turn, actions[turn]])
    return float(total)


def clipped(norm: float, limit: float) -> float:
    """What a gradient of that norm is multiplied by: min(1, limit / norm) (Pascanu et al. 2013)."""
    return min(1.0, limit / norm) if norm else 1.0


class Moments(NamedTuple):
    """Weights and Adam's state at some places of a vector."""

    weights: Floats
    first: Floats
    second: Floats


def adam(before: Moments, gradient: Floats, step: int, rate: float, eps: float) -> Moments:
    """One step, the ``step`` th from 1 (Kingma and Ba 2015, algorithm 1).

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w = w - rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    """
    first = BETA1 * before.first + (1 - BETA1) * gradient
    second = BETA2 * before.second + (1 - BETA2) * gradient**2
    way = first / (1 - BETA1**step) / (np.sqrt(second / (1 - BETA2**step)) + eps)
    return Moments(before.weights - rate * way, first, second)


def rate_due(update: float, total: int, first: float, last: float, schedule: str) -> float:
    """Step size of an update, counted from 0: ``first`` at the first of ``total``, ``last`` at the last."""
    progress = min(update / max(total - 1, 1), 1.0)
    share = {"constant": 0.0, "linear": progress, "cosine": (1 - math.cos(math.pi * progress)) / 2}[schedule]
    return first + (last - first) * share


def soft_update(target: Floats, online: Floats, tau: float) -> Floats:
    """target + tau (online - target) (Lillicrap et al. 2016)."""
    return target + tau * (online - target)
