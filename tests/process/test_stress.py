"""No torn snapshot and no torn row, with a writer at full speed; and without the second look there are some."""

import contextlib

import numpy as np
import pytest

from tests import batches
from tests.blocks import block_of
from tests.process import stress
from workbench.core.shared.replay import Batch, Replay, ReplayError
from workbench.core.shared.sampling import UniformSampler
from workbench.core.shared.weight_store import WeightStore, checksum
from workbench.runs.fork_server import new_process

WEIGHT_STORE_READS = 200_000
REPLAY_ROWS = 2_000_000
BATCH = 512
TRIES = 200_000


@contextlib.contextmanager
def writer(target, layout):
    """A block and a process that writes to it without pause."""
    block = block_of(layout)
    process = new_process("auto", "writer", target, block)
    process.start()
    try:
        yield block
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


@pytest.fixture
def store():
    with writer(stress.publish_for_ever, WeightStore.layout(stress.VECTOR, 1, 2)) as block:
        store = WeightStore(block.open())
        while store.newest < 0:
            pass
        yield store


@pytest.fixture
def replay():
    config = stress.replay_config()
    with writer(stress.write_for_ever, Replay.layout(config, config.spec.agents[0])) as block:
        replay = Replay(config, config.spec.agents[0], block.open())
        while replay.count < 1000:
            pass
        yield replay


def torn(store, out) -> bool:
    """Whether a read gave a mixture of two versions, or one version under the header of another."""
    snapshot = store.read(out)
    return bool((out != np.float32(snapshot.version)).any()) or checksum(out) != snapshot.checksum


def test_no_snapshot_is_torn_in_200_000_reads(store):
    out = np.empty(stress.VECTOR, np.float32)
    assert sum(torn(store, out) for _ in range(WEIGHT_STORE_READS)) == 0


def test_without_the_second_look_snapshots_are_torn(store, monkeypatch):
    monkeypatch.setattr(WeightStore, "_overwritten", lambda self, version: False)
    out = np.empty(stress.VECTOR, np.float32)
    assert any(torn(store, out) for _ in range(WEIGHT_STORE_READS))


def broken(batch: Batch) -> int:
    """Rows that do not hold their number in every field."""
    mark = (batch.number % stress.PATTERN).astype(np.uint8)
    wrong = (batch.s_tm1 != mark[:, None, None]).any((1, 2)) | (batch.a_tm1 != mark) | (batch.r_t != mark)
    following = ((batch.number + 1) % stress.PATTERN).astype(np.uint8)
    return int((wrong | (batch.policy_version != mark) | (batch.s_t != following[:, None, None]).any((1, 2))).sum())


def test_no_row_is_torn_in_two_million(replay):
    sampler, rows, bad, refused = UniformSampler(np.random.default_rng(0)), 0, 0, 0
    out = batches.zeros(BATCH, 1, stress.replay_config().spec.agents[0])
    while rows < REPLAY_ROWS:
        try:
            replay.sample(sampler, out)
        except ReplayError:  # the writer went round the whole ring in one copy, and the replay said so
            refused += 1
            assert refused < TRIES
            continue
        rows, bad = rows + BATCH, bad + broken(out)
    assert bad == 0


def test_without_the_second_look_rows_are_torn(replay):
    rng, out = np.random.default_rng(0), batches.zeros(BATCH, 1, stress.replay_config().spec.agents[0])

    def bad() -> int:
        count = replay.count
        out.number[:] = rng.integers(count - replay.window, count, BATCH)
        replay.read(out)
        return broken(out)

    assert any(bad() for _ in range(TRIES))
