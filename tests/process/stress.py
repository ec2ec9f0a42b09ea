"""Writers at full speed for the stress test, in a module that a child process can import."""

import numpy as np

from workbench.core.config import Config
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.runs.presets import preset

VECTOR = 65_536
PATTERN = 251
"""Every frame of a row is filled with its number modulo this prime, and so are action, reward and version."""


def replay_config() -> Config:
    """A small ring that a fast writer goes round in no time; one-step rows, so that a row shows only itself."""
    return preset("tiny").replace(**{
        "world.max_turns": 20, "agent.num_frames": 1, "learning.n_step": 1, "learning.gamma": 0.5,
        "replay.capacity": 240, "replay.window": 200, "replay.learning_starts": 40,
    })  # fmt: skip


def publish_for_ever(block):
    """Publish vectors that hold their version in every place, as fast as it goes."""
    store = WeightStore(block.open())
    while True:
        version = store.newest + 1
        store.publish(lambda vector, version=version: vector.fill(version), version, 0.0)


def write_for_ever(block):
    """Write epochs whose rows hold their number in every field, as fast as it goes."""
    config = replay_config()
    replay = Replay(config, config.spec.agents[0], block.open())
    turns, size = config.max_turns, config.spec.agents[0].shape[0]
    never = np.zeros(1, np.bool_)
    epoch = 0
    while True:
        replay.begin_epoch()
        for turn in range(turns + 1):
            mark = (epoch * turns + turn) % PATTERN
            replay.write_frame(turn, np.full((1, size), mark, np.uint8))
            if turn < turns:
                row = np.full(1, mark)
                replay.write_step(turn, row, mark, 0.0, row.astype(np.float32))
                replay.write_outcome(turn, row.astype(np.float32), never, never, ~never)
        replay.commit_epoch()
        epoch += 1
