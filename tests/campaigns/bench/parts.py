"""The parts by themselves: world, acting, update, replay, weight store, each beside what it is compared to."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests import batches
from workbench.core.agents.base import Policy
from workbench.core.agents.iqn_agent import IQNAgent, IQNConfig
from workbench.core.agents.products import linear
from workbench.core.config import Config
from workbench.core.envs.base import World
from workbench.core.envs.treasurehunt import NUM_ACTIONS, NUM_ENTITIES
from workbench.core.processes.spawn import KEEP_FREED
from workbench.core.seeding import stream
from workbench.core.shared.replay import Batch, Replay
from workbench.core.shared.sampling import UniformSampler
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.loop import collect
from workbench.runs.evaluation import evaluation_config
from workbench.runs.presets import preset
from workbench.zoo.environment import EnvironmentConfig
from workbench.zoo.gymnasium import Alone
from workbench.zoo.prioritised import PrioritisedConfig

# From an input, a weight and a bias, if there is one, to their product, as ``torch.nn.functional.linear``.
Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def as_a_child() -> None:
    """Compute as a child of a run does: with one thread, and without giving freed memory back after every update."""
    torch.set_num_threads(1)
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):  # of the GNU C library; the numbers are malloc.h's
        for number, name in ((-1, "MALLOC_TRIM_THRESHOLD_"), (-3, "MALLOC_MMAP_THRESHOLD_")):
            set_option(number, int(KEEP_FREED[name]))


def side_by_side(
    functions: Sequence[Callable[[], object]], repeats: int, synchronise: Callable[[], None], warm_up: int = 3
) -> list[float]:
    """Median seconds of each function, called in turn so that all of them meet the same disturbances."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + warm_up):
        for function, taken in zip(functions, times, strict=True):
            synchronise()
            start = time.perf_counter()
            function()
            synchronise()
            if repeat >= warm_up:
                taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in times]


def waiting(device: torch.device) -> Callable[[], None]:
    """What waits until a device has done all that it was asked for."""
    return torch.cuda.synchronize if device.type == "cuda" else _nothing


def world_speed(config: Config, quick: bool) -> dict[str, Any]:
    """Random agent steps per second, observations included, with 1 and with 64 worlds."""
    rates = {}
    for worlds in (1, 64):
        world = replace(config.world, num_worlds=worlds).make(stream(0, "world"))
        turns = 200 if quick else 4000 // (1 if worlds == 1 else 4)
        actions = stream(0, "reference").integers(NUM_ACTIONS, size=(turns, config.num_agents, worlds))

        def play(world: World = world, actions: Any = actions) -> None:
            """All turns, with a reset after each epoch."""
            for turn, chosen in enumerate(actions):
                if turn % config.max_turns == 0:
                    world.reset()
                world.begin_turn()
                for agent in range(config.num_agents):
                    world.observe(agent)
                    world.act(agent, chosen[agent])
                world.end_turn()

        (seconds,) = side_by_side([play], 3, _nothing)
        rates[f"{worlds} worlds"] = actions.size / seconds
    return {"unit": "random agent steps per s", **rates}


def adapter_speed(quick: bool) -> dict[str, Any]:
    """A turn of one copy of other libraries' environments beside the environment's own step, in microseconds.

    Both sides begin the next episode in the turn that follows an end, from a seed, and choose the same actions.
    """
    found: dict[str, Any] = {}
    for name, turns in (("gymnasium:CartPole-v1", 100), ("pettingzoo:mpe2.simple_spread_v3", 10)):
        config = preset("tiny").replace(world=name)
        specs, rng = config.spec.agents, stream(0, "reference")
        chosen = [[rng.integers(spec.num_actions, size=1) for spec in specs] for _ in range(turns)]
        world = config.world.make(stream(0, "world"))

        def play(world: World = world, chosen: list[Any] = chosen) -> None:
            """Some turns of ours."""
            for actions in chosen:
                world.begin_turn()
                for agent, action in enumerate(actions):
                    world.observe(agent)
                    world.act(agent, action)
                world.end_turn()

        assert isinstance(config.world, EnvironmentConfig)
        bare = _bare(config.world.open(config.world.found.recipe), [np.ravel(each).tolist() for each in chosen])
        own_s, ours_s = side_by_side([bare, play], 20 if quick else 300, _nothing)
        found[name] = {"own_us": 1e6 * own_s / turns, "ours_us": 1e6 * ours_s / turns, "ratio": ours_s / own_s}
    return found


def _bare(environment: Any, chosen: list[list[int]]) -> Callable[[], None]:
    """Some turns of an environment alone."""
    seeds = stream(0, "world").integers(2**31, size=100_000).tolist()
    over = True

    def step_alone() -> None:
        nonlocal over
        for (action,) in chosen:
            if over:
                environment.environment.reset(seed=seeds.pop())
                over = False
            else:
                _, _, terminated, truncated, _ = environment.environment.step(action)
                over = terminated or truncated

    named = [dict(zip(environment.possible_agents, actions, strict=True)) for actions in chosen]

    def step_together() -> None:
        nonlocal over
        for actions in named:
            if over:
                environment.reset(seed=seeds.pop())
                over = False
            else:
                environment.step(actions)
                over = not environment.agents

    return step_alone if isinstance(environment, Alone) else step_together


def acting_speed(config: Config, quick: bool) -> dict[str, Any]:
    """Agent steps per second of ``collect``, with every action computed by the network, with 1 and with 64 worlds."""
    rates = {}
    for worlds in (1, 64):
        task = evaluation_config(config, worlds)
        world, replays, policies = collecting_parts(task)
        versions = [0] * task.num_agents
        steps = task.num_agents * task.steps_per_epoch

        def play(
            world: Any = world, policies: Any = policies, replays: Any = replays, versions: Any = versions
        ) -> None:
            """One epoch."""
            collect(world, policies, replays, 0.1, versions)

        (seconds,) = side_by_side([play], 3 if quick else 40, _nothing)
        rates[f"{worlds} worlds"] = steps / seconds
    return {"unit": "agent steps per s with the network acting", **rates}


def collecting_parts(config: Config, device: torch.device | None = None) -> tuple[World, list[Replay], list[Policy]]:
    """A world, with an empty replay and a policy of fresh weights per agent, which acts on a device (or the CPU)."""
    cpu, agents = torch.device("cpu"), range(config.num_agents)
    world = config.world.make(stream(config.seed, "world"))
    replays = [Replay(config, spec, Replay.layout(config, spec).allocate()) for spec in config.spec.agents]
    policies = []
    for index in agents:
        exploration, values = (stream(config.seed, role, index) for role in ("exploration", "acting_quantiles"))
        policy = config.agent.policy_class(config, index, device or cpu, exploration, values)
        vector = np.empty(policy.vector_size, np.float32)
        config.agent.agent_class(config, index, cpu).snapshot(vector)
        policy.load(vector)
        policies.append(policy)
    return world, replays, policies


def update_speed(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """One update beside the bare matrix products of the same shapes, in milliseconds.

    Those are torch's own; ``own`` are the same products as an update makes them, by the faster library.
    """
    agent = IQNAgent(config, 0, device)
    fill(agent.batch, stream(0, "sampling"))
    both = matrix_products(config, device), matrix_products(config, device, linear)
    update, bare, own = side_by_side([lambda: agent.update(1e-4), *both], 30 if quick else 300, waiting(device))
    times = {"update_ms": 1e3 * update, "matrix_products_ms": 1e3 * bare, "ratio": update / bare}
    return times | {"own_products_ms": 1e3 * own, "own_ratio": update / own}


def fill(batch: Batch, rng: np.random.Generator) -> None:
    """Random rows of the right kind."""
    for state in (batch.s_tm1, batch.s_t):
        state[...] = rng.integers(1, 1 + NUM_ENTITIES, state.shape)
    batch.a_tm1[...] = rng.integers(NUM_ACTIONS, size=batch.a_tm1.shape)
    batch.r_t[...] = rng.normal(size=batch.r_t.shape)
    batch.discount_t[...] = 0.97


def matrix_products(config: Config, device: torch.device, product: Product | None = None) -> Callable[[], None]:
    """Every matrix product that one update needs, and nothing else, as one function; torch's into memory that is there.

    Three passes forward (online at s_tm1; online at s_t to choose, whose head works on the mean over fractions; target
    at s_t), and for the first of them the gradients of all weights and of the inputs of head, hidden and embedding.
    """
    agent, learning = config.agent, config.learning
    assert isinstance(agent, IQNConfig)
    rows, width = learning.batch_size, agent.width
    inputs = agent.num_frames * math.prod(config.spec.agents[0].shape) * NUM_ENTITIES
    heads = 1 + NUM_ACTIONS
    shapes: list[tuple[int, int, int]] = []
    fractions = (
        (agent.num_quantiles, True),
        (agent.num_policy_quantiles, False),
        (agent.num_target_quantiles, True),
    )
    for count, head_per_fraction in fractions:
        pairs = rows * count
        shapes += [(rows, inputs, width), (pairs, agent.num_cosines, width), (pairs, width, width)]
        shapes += [(pairs if head_per_fraction else rows, width, heads)]
    pairs = rows * agent.num_quantiles
    forward = [_linear(product, *_random(device, (m, k), (n, k), (n,), (m, n))) for m, k, n in shapes]
    weights = [(rows, inputs, width), (pairs, agent.num_cosines, width), (pairs, width, width), (pairs, width, heads)]
    backward = [_weight_gradient(product, *_random(device, (m, k), (m, n), (n, k))) for m, k, n in weights]
    before = (pairs, width, heads), (pairs, width, width)
    backward += [_input_gradient(product, *_random(device, (m, n), (n, k), (m, k))) for m, k, n in before]

    def products() -> None:
        for product in (*forward, *backward):
            product()

    return products


def _linear(product: Product | None, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Callable[[], Tensor]:
    if product:
        return lambda: product(x, weight, bias)
    return lambda: torch.addmm(bias, x, weight.t(), out=out)


def _weight_gradient(product: Product | None, x: Tensor, gradient: Tensor, out: Tensor) -> Callable[[], Tensor]:
    if product:
        return lambda: product(gradient.t(), x.t(), None)
    return lambda: torch.mm(gradient.t(), x, out=out)


def _input_gradient(product: Product | None, gradient: Tensor, weight: Tensor, out: Tensor) -> Callable[[], Tensor]:
    if product:
        return lambda: product(gradient, weight.t(), None)
    return lambda: torch.mm(gradient, weight, out=out)


def _random(device: torch.device, *shapes: tuple[int, ...]) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.random(shape, dtype=np.float32)).to(device) for shape in shapes]


def replay_speed(config: Config, quick: bool) -> dict[str, Any]:
    """``sample`` of a batch of stacked states beside a plain copy of the same bytes."""
    world, replays, policies = collecting_parts(config)
    for _ in range(2 if quick else 20):
        collect(world, policies, replays, 1.0, [0] * len(policies))
    replay, sampler = replays[0], UniformSampler(stream(0, "sampling"))
    spec = config.spec.agents[0]
    out = batches.zeros(config.learning.batch_size, config.agent.num_frames, spec)
    source = batches.zeros(config.learning.batch_size, config.agent.num_frames, spec)

    def copy() -> None:
        for name, array in batches.arrays_of(source).items():
            np.copyto(getattr(out, name), array)

    size = config.learning.batch_size
    sample_s, copy_s = side_by_side([lambda: replay.sample(sampler, out), copy], 200, _nothing)
    ring = Replay.layout(config, spec)
    rows = sum(np.prod(field.shape) * np.dtype(field.dtype).itemsize for field in ring.fields)
    return {
        "rows": size, "sample_us": 1e6 * sample_s, "copy_us": 1e6 * copy_s, "ratio": sample_s / copy_s,
        "bytes_per_row_stored": float(rows / np.prod(ring.fields[3].shape)),
        "bytes_per_row_stacked": sum(array.nbytes for array in batches.arrays_of(out).values()) / size,
    }  # fmt: skip


def prioritised_speed(config: Config, quick: bool) -> dict[str, Any]:
    """``sample`` of 64 out of 100,000 rows by their priorities, with and without the write-back, beside uniformly."""
    rows, size = 2_000 if quick else 100_000, 64
    changes = {"replay.capacity": rows, "replay.window": rows, "learning.batch_size": size}
    config = config.replace(**changes, **{"replay.learning_starts": size})
    spec, frames = config.spec.agents[0], config.agent.num_frames
    replay = Replay(config, spec, Replay.layout(config, spec).allocate())
    replay.rows["episode_start"][:] = 0
    for _ in range(-(-rows // config.steps_per_epoch)):  # what the rows hold makes no difference
        replay.begin_epoch()
        replay.commit_epoch()
    uniform, prioritised = (
        UniformSampler(stream(0, "sampling")),
        PrioritisedConfig().make(config, stream(1, "sampling")),
    )
    plain, weighted = batches.zeros(size, frames, spec), batches.zeros(size, frames, spec, weighted=True)
    errors = stream(2, "sampling").exponential(size=(rows, 1)).astype(np.float32)

    def draw_and_write_back() -> None:
        replay.sample(prioritised, weighted)
        prioritised.update(weighted.number, errors[weighted.number % rows, 0])

    functions = (
        lambda: replay.sample(uniform, plain),
        lambda: replay.sample(prioritised, weighted),
        draw_and_write_back,
    )
    uniform_s, draw_s, both_s = side_by_side(functions, 200 if quick else 1000, _nothing)
    return {
        "rows": rows, "uniform_us": 1e6 * uniform_s, "draw_us": 1e6 * draw_s, "draw_and_write_back_us": 1e6 * both_s,
        "draw_ratio": draw_s / uniform_s, "write_back_ratio": both_s / uniform_s,
    }  # fmt: skip


def weight_store_speed(config: Config, device: torch.device, quick: bool) -> dict[str, Any]:
    """Publish and sync of one agent's two networks beside ``load_state_dict`` of the same two networks."""
    agent = IQNAgent(config, 0, device)
    size = agent.parameters.vector.numel()
    store = WeightStore(WeightStore.layout(size, agent.parameters.layout.fingerprint, 2).allocate())
    policy = config.agent.policy_class(
        config, 0, torch.device("cpu"), stream(0, "exploration"), stream(0, "acting_quantiles")
    )
    vector = np.empty(size, np.float32)
    shared = [agent.arguments.network(config.spec.agents[0]) for _ in "ot"]

    def publish() -> None:
        store.publish(agent.snapshot, 0, 0.0)

    def sync() -> None:
        store.read(vector)
        policy.load(vector)

    def load_state_dicts() -> None:
        for source, goal in zip((agent.online, agent.target), shared, strict=True):
            goal.load_state_dict(source.state_dict())

    publish()
    published, synced, loaded = side_by_side([publish, sync, load_state_dicts], 50 if quick else 300, _nothing)
    return {
        "parameters": size, "publish_us": 1e6 * published, "sync_us": 1e6 * synced,
        "load_state_dict_us": 1e6 * loaded, "ratio": (published + synced) / (2 * loaded),
        "note": "the ratio sets publish + sync against load_state_dict into the shared model and out of it again",
    }  # fmt: skip


def _nothing() -> None:
    return None
