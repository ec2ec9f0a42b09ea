"""The whole chain once more, slow and obvious, in float64 NumPy: what *should* happen, stage by stage.

A stage is a pure function of its inputs. Nothing of the package is imported here, so no mistake of the fast code can be
shared; a test holds that. :mod:`workbench.diagnose.second_opinion` compares each stage to what a run recorded of it,
and a record of one stage is enough for that stage. Shapes: B rows or worlds, F frames, C channels, A actions, N
fractions, T turns.
"""

import math
from collections.abc import Iterator, Mapping
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
    state = {"state": high * 2**64 + low, "inc": increment(words)}
    made: Any = np.random.PCG64(0)
    made.state = {"bit_generator": "PCG64", "state": state, "has_uint32": has_uint32, "uinteger": uinteger}
    return np.random.Generator(made)


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
    around = np.pad(cells, radius, constant_values=WALL)
    return around[row : row + 2 * radius + 1, column : column + 2 * radius + 1].reshape(-1)


def stack(frames: NDArray[Any], turn: int, start: int, num_frames: int) -> NDArray[Any]:
    """The newest frames up to a turn, oldest first, blank before the episode (Mnih et al. 2015): (F, *shape)."""
    blank = np.zeros(frames.shape[1:], frames.dtype)
    return np.stack([frames[at] if at >= start else blank for at in range(turn - num_frames + 1, turn + 1)])


def encode(state: NDArray[Any], num_codes: int | None) -> Floats:
    """(B, F, *shape) as a network's input: codes one-hot and code 0 all zeros; other bytes over 255; floats as are."""
    if num_codes:
        return np.asarray(state[..., None] == np.arange(1, num_codes + 1), np.float64)
    return state.astype(np.float64) / (255.0 if state.dtype == np.uint8 else 1.0)


def channels(x: Floats) -> Floats:
    """Images as channels (Mnih et al. 2015, Methods), those of the oldest frame first: (B, F, *image) to (B, C, H, W).

    An image of two axes is one channel. Of three the first holds channels if it has at most 4 and both others more,
    else the last does.
    """
    if x.ndim == 5 and not x.shape[2] <= 4 < min(x.shape[3:]):
        x = np.moveaxis(x, -1, 2)
    return x.reshape(len(x), -1, *x.shape[-2:])


# --- forward, backward ------------------------------------------------------------------------------------------------


class Layer:
    """y = x W^T + b, with W + sigma noise_out noise_in^T for W, and b alike, where there is noise (Fortunato 2018).

    Behind it stands relu, max(0, y), unless it is the last layer.
    """

    def __init__(self, parameters: Parameters, name: str, noise: Floats | None = None, last: bool = False) -> None:
        self.name, self.last, self.factors = name, last, dict[str, Floats]()
        self.weight, self.bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        if noise is not None:
            noise_in, noise_out = np.split(noise, [self.weight.shape[1]])
            self.factors = {"weight": np.outer(noise_out, noise_in), "bias": noise_out}
            self.weight = self.weight + parameters[f"{name}.weight_sigma"] * self.factors["weight"]
            self.bias = self.bias + parameters[f"{name}.bias_sigma"] * self.factors["bias"]

    def __call__(self, x: Floats) -> Floats:
        """(B, ...) to (B, outputs)."""
        self.y = self.forward(x)
        return self.y if self.last else np.maximum(self.y, 0)

    def back(self, slope: Floats, gradient: dict[str, Floats], edge: float) -> Floats:
        """From the slope of the loss along the result to that along x; those along the parameters are put down.

        Relu passes on what is above ``edge``, a share of the largest; float32 may take 0 for either side.
        """
        slope = slope.reshape(self.y.shape) * (self.last | (self.y > edge * np.abs(self.y).max()))
        along_x, *found = self.backward(slope)
        gradient |= {f"{self.name}.{part}": each for part, each in zip(("weight", "bias"), found, strict=True)}
        for part, factor in self.factors.items():
            gradient[f"{self.name}.{part}_sigma"] = gradient[f"{self.name}.{part}"] * factor
        return along_x

    def forward(self, x: Floats) -> Floats:
        """y."""
        self.x = x.reshape(len(x), -1)
        return self.x @ self.weight.T + self.bias

    def backward(self, slope: Floats) -> tuple[Floats, Floats, Floats]:
        """From the slope of the loss along y to those along x, the weight and the bias."""
        return slope @ self.weight, slope.T @ self.x, slope.sum(0)


class Convolution(Layer):
    """y[o, r, c] = b[o] + sum_ipq W[o, i, p, q] x[i, s r + p, s c + q], with relu (Mnih et al. 2015, Methods).

    The stride s is half of the kernel, rounded down: kernels of 8, 4 and 3 go by 4, 2 and 1; in images with a side
    below 36 pixels there is one of 3 (Young and Tian 2019).
    """

    def forward(self, x: Floats) -> Floats:
        """y, (B, outputs, rows, columns): one row of the kernel after the other."""
        self.x = channels(x)
        seen, kernel = self._windows(self.x), range(self.weight.shape[2])
        y = sum(np.tensordot(seen[..., p, :], self.weight[:, :, p], ((1, 4), (1, 2))) for p in kernel) + self.bias
        return np.moveaxis(y, 3, 1)

    def backward(self, slope: Floats) -> tuple[Floats, Floats, Floats]:
        """See :meth:`Layer.backward`."""
        x, weight = np.zeros(self.x.shape), np.zeros(self.weight.shape)
        seen, along = self._windows(self.x), self._windows(x)
        for p, q in np.ndindex(*self.weight.shape[2:]):
            weight[:, :, p, q] = np.tensordot(slope, seen[..., p, q], ((0, 2, 3), (0, 2, 3)))
            along[..., p, q] += np.tensordot(self.weight[:, :, p, q], slope, (0, 1)).swapaxes(0, 1)
        return x, weight, slope.sum((0, 2, 3))

    def _windows(self, x: Floats) -> Floats:
        """What the kernel covers at each of its places, as a view: (B, C, H, W) to (B, C, rows, columns, p, q)."""
        kernel = self.weight.shape[2:]
        view = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3), writeable=True)
        return view[:, :, :: kernel[0] // 2, :: kernel[1] // 2]


class Dueling:
    """V + A - mean A (Wang et al. 2016): (..., 1 + A) to (..., A)."""

    def __call__(self, heads: Floats) -> Floats:
        """The actions' values."""
        value, advantage = heads[..., :1], heads[..., 1:]
        return np.asarray(value + advantage - advantage.mean(-1, keepdims=True))

    def back(self, slope: Floats, gradient: dict[str, Floats], edge: float) -> Floats:
        """See :meth:`Layer.back`."""
        return np.concatenate([slope.sum(-1, keepdims=True), slope - slope.mean(-1, keepdims=True)], -1)


class Chain:
    """Layers, each given what comes out of the one before."""

    def __init__(self, *layers: Layer | Dueling) -> None:
        self.layers = layers

    def __call__(self, x: Floats) -> Floats:
        """(B, ...) to (B, outputs)."""
        for layer in self.layers:
            x = layer(x)
        return x

    def back(self, slope: Floats, gradient: dict[str, Floats], edge: float) -> Floats:
        """See :meth:`Layer.back`."""
        for layer in reversed(self.layers):
            slope = layer.back(slope, gradient, edge)
        return slope


def _torso(parameters: Parameters, name: str) -> Iterator[Layer]:
    """What takes a state in: a layer, or convolutions and a layer where it is of images."""
    for each in dict.fromkeys(key.rpartition(".")[0] for key in parameters if key.startswith(f"{name}.")):
        yield (Layer if parameters[f"{each}.weight"].ndim == 2 else Convolution)(parameters, each)


def _heads(parameters: Parameters, noise: Floats | None, dueling: bool) -> list[Layer | Dueling]:
    """The two layers that may be noisy, which share a draw of noise in their order; and what is made of their end."""
    size = sum(parameters["hidden.weight"].shape)
    hidden, head = (None, None) if noise is None or not len(noise) else np.split(noise, [size])
    return [Layer(parameters, "hidden", hidden), Layer(parameters, "head", head, last=True), *[Dueling()] * dueling]


class ImplicitQuantiles:
    """Z_tau(s, .) of the implicit quantile network (Dabney et al. 2018, section 3) with dueling heads (Wang 2016).

    psi = torso(x), phi(tau) = relu(W_phi cos(pi i tau) + b), i = 0, 1, ...
    Z_tau = head(relu(hidden(psi * phi(tau)))), head = V + A - mean A
    """

    def __init__(self, parameters: Parameters, noise: Floats | None, tau: NDArray[Any]) -> None:
        self.psi, self.phi, self.tau = Chain(*_torso(parameters, "psi")), Layer(parameters, "phi"), tau
        self.heads = Chain(*_heads(parameters, noise, dueling=True))

    def __call__(self, x: Floats) -> Floats:
        """(B, F, *shape), at fractions (B, N), to (B, N, A)."""
        shape, angles = self.tau.shape, math.pi * self.tau.astype(np.float64).reshape(-1, 1)
        cosines = np.cos(np.arange(self.phi.weight.shape[1]) * angles)
        self.psi_out, self.phi_out = self.psi(x)[:, None], self.phi(cosines).reshape(*shape, -1)
        return self.heads((self.psi_out * self.phi_out).reshape(self.tau.size, -1)).reshape(*shape, -1)

    def gradient(self, slope: Floats, edge: float = 0.0) -> dict[str, Floats]:
        """From the slope of the loss along Z, (B, N, A), to its gradient by parameter; see :meth:`Layer.back`."""
        found: dict[str, Floats] = {}
        along = self.heads.back(slope.reshape(-1, slope.shape[-1]), found, edge).reshape(self.phi_out.shape)
        self.phi.back(along * self.psi_out, found, edge)
        self.psi.back((along * self.phi_out).sum(1), found, edge)
        return found


class ActionValues(Chain):
    """Q(s, .) = head(relu(hidden(torso(x)))) (Mnih et al. 2015), with dueling heads if wanted (Wang 2016)."""

    def __init__(self, parameters: Parameters, noise: Floats | None = None, dueling: bool = False) -> None:
        super().__init__(*_torso(parameters, "first"), *_heads(parameters, noise, dueling))

    def gradient(self, slope: Floats, edge: float = 0.0) -> dict[str, Floats]:
        """From the slope of the loss along Q, (B, A), to its gradient by parameter; see :meth:`Layer.back`."""
        found: dict[str, Floats] = {}
        self.back(slope, found, edge)
        return found


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
    return np.asarray((priorities / priorities.min()) ** -beta)


# --- update -----------------------------------------------------------------------------------------------------------


def quantile_huber(value: Floats, tau: NDArray[Any], target: Floats, kappa: float) -> tuple[Floats, Floats, Floats]:
    """Loss, its slope along the values, and mean |delta|, of every row (Dabney et al. 2018, equation 3).

    delta_ij = target_j - value_i, loss = sum_i mean_j |tau_i - [delta_ij < 0]| L_kappa(delta_ij) / kappa
    """
    delta = target[:, None, :] - value[:, :, None]
    weight = np.abs(tau.astype(np.float64)[:, :, None] - (delta < 0)) / kappa
    loss, slope, error = huber(value[:, :, None], target[:, None, :], kappa)
    return (weight * loss).mean(2).sum(1), (weight * slope).mean(2), error.mean((1, 2))


def huber(value: Floats, target: Floats, kappa: float) -> tuple[Floats, Floats, Floats]:
    """delta^2 / 2 up to kappa, kappa (|delta| - kappa / 2) beyond (Huber 1964); its slope along the value; |delta|."""
    delta = target - value
    size = np.abs(delta)
    loss = np.where(size <= kappa, delta * delta / 2, kappa * (size - kappa / 2))
    return loss, -np.clip(delta, -kappa, kappa), size


def corrected(
    epsilon: float, trace: float, q: Floats, greedy: NDArray[np.int64], actions: NDArray[Any], rewards: Floats,
    discounts: Floats, probabilities: Floats, span: int,
) -> float:  # fmt: skip
    """One row's target of Retrace (Munos et al. 2016, equation 4); with epsilon 0 and trace 1 Watkins's cut (1989)."""
    total, decay = float(q[0, actions[0]]), 1.0
    for turn in range(span):
        if turn:
            likely = epsilon / q.shape[1] + (1 - epsilon) * (actions[turn] == greedy[turn])
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
