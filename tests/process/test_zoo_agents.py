"""The zoo's agents and samplers in the same plumbing as the core's: both modes give the same bits, resumed or not."""

import functools

import numpy as np
import pytest

import workbench as wb
from tests.process.test_survival import reached, wait_until
from tests.unit import inprocess
from workbench.core.records import EventKind

TINY = wb.preset("tiny").replace(device="cpu")
DQN = TINY.replace(agent={"name": "dqn", "width": 32, "num_frames": 3})
DUELING = DQN.replace(
    agent={"dueling": True, "noisy": True}, learning={"accumulate": 2, "double": False, "n_step": 5},
    world={"num_worlds": 2}, replay={"capacity": 640, "window": 400, "learning_starts": 100},
)  # fmt: skip


PRIORITISED = DQN.replace(**{"replay.sampler": "prioritised", "learning.accumulate": 2})

RETRACE = DUELING.replace(**{"learning.correction": "retrace", "replay.max_age": 6})


@functools.cache
def reference(config, lag):
    return inprocess.digests(inprocess.run(config, lag))


def test_two_agents_are_compared_beside_each_other(tmp_path):
    pair = wb.compare(TINY, lag=1, beside=DQN, out=tmp_path)
    pair.wait()
    assert [run.mode for run in pair.runs] == ["multiprocess"] * 2
    assert pair.identical is None and pair.why_not_identical == "the configurations differ"
    assert pair.table.text.splitlines()[0].split() == ["iqn", "dqn"], "each is called by what it is"
    shown = wb.Panel(pair).figure().alt
    assert "Runs: iqn; dqn." in shown and "s iqn" in shown
    with pytest.raises(wb.ConfigError, match=r"wb\.sweep runs configurations over seeds"):
        wb.compare(TINY, beside=DQN, seeds=[1])
    with pytest.raises(wb.ConfigError, match="without beside both modes are run"):
        wb.compare(TINY, mode="sequential")


@pytest.mark.parametrize(
    ("config", "lag"),
    [(DQN, 0), (DUELING, 1), (PRIORITISED, 1), (RETRACE, 1)],
    ids=["dqn", "dueling", "prioritised", "retrace"],
)
def test_both_modes_agree_to_the_last_bit(config, lag, tmp_path):
    with wb.launch(config, lag=lag, out=tmp_path) as run:
        result = run.wait(300)
        diagnosis = run.diagnose()
    assert result.digest == reference(config, lag)
    assert result.updates == config.total_updates * config.num_agents
    assert [check.name for check in diagnosis.failed] == []
    assert run.history["losses/loss"].min() > 0
    assert wb.load(run.folder.path).config == config


def test_a_stopped_run_is_resumed_with_priorities_and_ends_with_the_same_bits(tmp_path):
    config = PRIORITISED.replace(epochs=60)
    run = wb.launch(config, lag=1, out=tmp_path)
    wait_until(lambda: reached(run, 13))
    run.stop()
    assert run.status == "stopped"
    assert wb.resume(run.folder.path).wait(300).digest == reference(config, 1)


@pytest.mark.parametrize("lag", [1, None])
def test_a_learner_without_young_rows_skips_its_updates_and_the_run_ends(lag, tmp_path):
    starved = {"replay.max_age": 2, "learning.batch_size": 48, "replay.learning_starts": 60}
    config = DQN.replace(**starved)
    with wb.launch(config, lag=lag, out=tmp_path) as run:
        result = run.wait(300)
        skipped = run.history["replay/skipped_updates"].max() * config.num_agents
        assert [check.name for check in run.diagnose().failed] == []
    assert result.status == "finished" and result.updates <= config.total_updates * config.num_agents
    if lag is not None:
        assert result.digest == reference(config, lag)
        assert result.updates + skipped == config.total_updates * config.num_agents and skipped > 0


@pytest.mark.parametrize(("mode", "lag"), [("sequential", 3), ("multiprocess", None)])
def test_the_sync_lag_is_split_into_the_wait_of_weights_and_the_wait_of_rows(mode, lag, tmp_path):
    config = DQN.replace(**{"replay.max_age": 9})
    with wb.launch(config, mode, lag, out=tmp_path) as run:
        run.wait(300)
    taken, drawn, events, epochs = (
        run.history.table(name) for name in ("taken_over", "off_policy", "events", "epochs")
    )
    published = {
        (event["agent"], event["version"]): event["time"] for event in events if event["kind"] == EventKind.PUBLISH
    }
    syncs = {(event["agent"], event["version"]) for event in events
             if event["kind"] == EventKind.SYNC and event["version"] > 0}  # fmt: skip
    assert {(record["agent"], record["number"]) for record in taken} == syncs != set()
    for record in taken:
        waited = record["time"] - published[record["agent"], record["number"]]
        assert waited >= 0 and record["in_flight"] == pytest.approx(1000 * waited, abs=1)
    assert len(drawn) and (drawn["in_queue"] >= 0).all()
    collected = {(record["agent"], record["epoch"]): record["time"] for record in epochs}
    for record in drawn[drawn["epoch"] < config.epochs]:
        assert record["in_queue"] <= 1000 * (record["time"] - collected[record["agent"], record["epoch"]]) + 1
    if mode == "sequential":  # weights wait for three epochs, rows for nothing
        assert np.nanmedian(run.history["sync/in_queue_ms"]) < np.nanmedian(run.history["sync/in_flight_ms"])
