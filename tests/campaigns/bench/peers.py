"""Our Double DQN on cart pole beside stable-baselines3's DQN: the same network, batch, replay ratio and targets."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from workbench.api import launch
from workbench.core.config import Config, Mode

TURNS = 500  # of an epoch
STARTS = 500  # steps before the first update
SETTINGS = {
    "device": "cpu", "agent.num_frames": 1, "agent.width": 64, "world.max_turns": TURNS, "replay.capacity": 50_000,
    "replay.window": 45_000, "replay.learning_starts": STARTS, "learning.double": False, "learning.n_step": 1,
    "learning.learning_rate_schedule": "constant", "learning.grad_clip": 10.0, "evaluation.interval": 0,
    "evaluation.final_worlds": 1, "checkpoint.interval": 0, "processes.threads": 1,
}  # fmt: skip
EVERY = 2  # steps to an update


def beside_peers(quick: bool) -> dict[str, Any]:
    """Training steps per second of both, in turns; {} where stable-baselines3 is not installed.

    The time of ours is from the moment when every process is ready to the last update, that of theirs is their
    ``learn``.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        return {}
    epochs, repeats = (4, 1) if quick else (24, 5)
    config = Config().replace(world="gymnasium:CartPole-v1", agent="dqn", epochs=epochs).replace(**SETTINGS, **{
        "pacing.updates_per_epoch": TURNS // EVERY, "exploration.decay_epochs": epochs,
    })  # fmt: skip
    ways: dict[str, Callable[[], float]] = {
        "stable-baselines3, DQN": lambda: _theirs(config),
        "ours, sequential, lag 0": lambda: _ours(config, "sequential", 0),
        "ours, two processes, lag 1": lambda: _ours(config, "multiprocess", 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, measure in ways.items():
            rates[name].append(epochs * TURNS / measure())
    theirs, *ours = ways
    ratios = {name: [one / other for one, other in zip(rates[name], rates[theirs], strict=True)] for name in ours}
    return {
        "world": "CartPole-v1", "steps": epochs * TURNS, "updates": config.total_updates, "batch": 64, "width": 64,
        "steps_per_s": rates, "of_theirs": {name: median(several) for name, several in ratios.items()},
        "held": {ours[0]: median(ratios[ours[0]]) >= 1, ours[1]: median(ratios[ours[1]]) > median(ratios[ours[0]])},
    }  # fmt: skip


def _ours(config: Config, mode: Mode, lag: int) -> float:
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        return launch(config, mode, lag, out=folder, probes=False).wait().wall_s


def _theirs(config: Config) -> float:
    from stable_baselines3 import DQN  # only where it is installed

    torch.set_num_threads(1)
    learning, steps = config.learning, config.epochs * config.steps_per_epoch
    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=learning.learning_rate, buffer_size=config.replay.capacity,
        learning_starts=STARTS, batch_size=learning.batch_size, tau=learning.tau, gamma=learning.gamma,
        train_freq=EVERY, gradient_steps=1, target_update_interval=EVERY, exploration_fraction=1.0,
        exploration_final_eps=config.exploration.epsilon_end, max_grad_norm=learning.grad_clip,
        policy_kwargs={"net_arch": [64, 64]}, device="cpu", seed=0,
    )  # fmt: skip
    start = time.perf_counter()
    model.learn(steps)
    return time.perf_counter() - start
