"""Probes measure what lies in shared memory, and a run with them is the run without them, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.unit.worlds import Bare
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.diagnose.cases import Case, Judge, Wrong
from workbench.diagnose.clean import SCAN, CleanReplay, CleanWeightStore, distance, sampled_places
from workbench.diagnose.measurements import MEASUREMENTS, measurement_number, measurements_of, probes_of
from workbench.diagnose.probes import ALWAYS_BELOW, EVERY, measured_in_full
from workbench.diagnose.stages import rows_drawn
from workbench.runs.live_settings import SettingsTimeline
from workbench.runs.presets import preset

CONFIG = preset("tiny").replace(device="cpu", epochs=8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run without and one with probes, of the same seed."""
    folder = tmp_path_factory.mktemp("runs")
    both = [wb.launch(CONFIG, "sequential", 1, out=folder, probes=each) for each in (False, True)]
    for run in both:
        run.wait()
    return both


def test_the_digests_are_the_same_with_and_without_probes(runs):
    without, with_probes = runs
    assert with_probes.result.digest == without.result.digest
    assert len(probes_of(without.history)) == 0


def test_every_measurement_is_made_in_a_sound_run(runs):
    counts = {name: len(measurements_of(runs[1].history, name)) for name in MEASUREMENTS}
    assert [name for name, count in counts.items() if not count] == []


def test_few_numbers_are_recorded_for_each_epoch_and_agent(runs):
    rounds = CONFIG.epochs * CONFIG.num_agents
    assert len(probes_of(runs[1].history)) < 15 * rounds


def test_weights_differ_before_a_sync_and_not_after(runs):
    history = runs[1].history
    assert (measurements_of(history, "sync/online_before")["value"][-4:] > 1e-4).all()
    assert (measurements_of(history, "sync/online_after")["value"] == 0).all()


def test_an_unknown_measurement_is_refused_with_the_nearest():
    with pytest.raises(KeyError, match=r"sync/online_aftr.*did you mean sync/online_after"):
        measurement_number("sync/online_aftr")


def test_everything_is_measured_at_first_and_then_now_and_again():
    rounds = [round_ for round_ in range(100) if measured_in_full(round_)]
    assert rounds[:ALWAYS_BELOW] == list(range(ALWAYS_BELOW))
    assert set(np.diff(rounds[ALWAYS_BELOW:])) == {EVERY}


def test_the_sample_of_weights_holds_numbers_of_every_parameter():
    layout = CONFIG.agent.layout(CONFIG.spec.agents[0])
    index = set(sampled_places(layout, 512).tolist())
    for name, offset, shape in zip(layout.names, layout.offsets, layout.shapes, strict=True):
        own = set(range(offset, offset + int(np.prod(shape))))
        assert len(own & index) == min(len(own), 512), name


def test_a_clean_weight_store_reads_a_version_while_it_is_there_and_says_when_it_is_not():
    layout = CONFIG.agent.layout(CONFIG.spec.agents[0])
    arrays = WeightStore.layout(2 * layout.size, layout.fingerprint, 2).allocate()
    store, clean = WeightStore(arrays), CleanWeightStore(arrays)

    def sample(version):
        return clean.look(version, lambda *halves: [half.copy() for half in halves])

    assert sample(0) is None
    for version in range(3):
        store.publish(lambda out, value=version: out.fill(value), version, 0.5)
    assert sample(0) is None
    online, target = sample(1)
    assert (online == 1).all()
    assert (target == 1).all()
    assert distance(online, sample(2)[1]) == 1.0
    assert np.isnan(distance(online, np.full_like(online, np.nan)))


@st.composite
def episodes(draw):
    """A replay of some epochs with terminations anywhere, and its clean reader."""
    turns, worlds = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    config = CONFIG.replace(**{
        "world": Bare(max_turns=turns, num_worlds=worlds, shape=(25,)), "agent.num_frames": draw(st.integers(1, 4)),
        "learning.n_step": draw(st.integers(1, 5)), "learning.reward_scale": draw(st.sampled_from([0.1, 1.0])),
        "learning.gamma": draw(st.sampled_from([0.0, 0.5, 0.99])),
        "replay.capacity": 4 * turns * worlds, "replay.window": 3 * turns * worlds, "replay.learning_starts": 1,
        "learning.batch_size": 1, "learning.accumulate": 1,
    })  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = Replay.layout(config, config.spec.agents[0]).allocate()
    replay = Replay(config, config.spec.agents[0], arrays)
    for _ in range(draw(st.integers(1, 6))):
        replay.begin_epoch()
        for turn in range(turns):
            replay.write_frame(turn, rng.integers(1, 6, (worlds, 25)).astype(np.uint8))
            ended = rng.random(worlds) < 0.3
            reward = rng.normal(size=worlds).astype(np.float32)
            replay.write_step(turn, rng.integers(0, 4, worlds), 3, 0.5, np.ones(worlds, np.float32))
            replay.write_outcome(turn, reward, ended, ~ended & (rng.random(worlds) < 0.2), np.ones(worlds, np.bool_))
        replay.write_frame(turns, rng.integers(1, 6, (worlds, 25)).astype(np.uint8))
        replay.commit_epoch()
    return config, arrays, replay


@settings(max_examples=60, deadline=None)
@given(episodes(), st.data())
def test_a_clean_reader_counts_a_row_that_does_not_match_its_stamp(made, data):
    config, arrays, replay = made
    clean = CleanReplay(config, config.spec.agents[0], arrays)
    numbers = np.arange(max(replay.oldest_intact, replay.count - replay.window), replay.count)
    assert (clean.broken(numbers), clean.scan()) == (0, 0)
    number = data.draw(st.sampled_from(numbers.tolist()))
    slot = number // config.steps_per_epoch % len(arrays["action"])
    arrays["probability"].reshape(len(arrays["action"]), -1)[slot, number % config.steps_per_epoch] = 7
    assert clean.broken(numbers) == CleanReplay(config, config.spec.agents[0], arrays).scan() == 1


def test_rows_that_the_writer_was_given_meanwhile_are_not_judged():
    config, arrays = CONFIG, Replay.layout(CONFIG, CONFIG.spec.agents[0]).allocate()
    replay, clean = (made(config, config.spec.agents[0], arrays) for made in (Replay, CleanReplay))
    frame, one = np.ones((1, 25), np.uint8), np.ones(1, np.float32)
    for _ in range(20):  # the ring holds as many epochs
        replay.begin_epoch()
        for turn in range(config.max_turns):
            replay.write_frame(turn, frame)
            replay.write_step(turn, np.zeros(1, np.int64), 0, 0.0, one)
            replay.write_outcome(turn, one, one < 0, one < 0, one > 0)
        replay.write_frame(config.max_turns, frame)
        replay.commit_epoch()
    arrays["probability"].flat[:5] = 7
    assert clean.broken(np.arange(5)) == 5
    replay.begin_epoch()
    replay.write_frame(0, frame + 1)
    assert clean.broken(np.arange(5)) == 0


def test_a_phase_scans_as_many_rows_as_an_epoch_has_so_that_none_is_left_out():
    config = CONFIG.replace(**{"world.num_worlds": 64, "replay.capacity": 2560, "replay.window": 1280})
    spec, last = config.spec.agents[0], config.steps_per_epoch - 1
    assert last >= SCAN
    arrays = Replay.layout(config, spec).allocate()
    replay, one = Replay(config, spec, arrays), np.ones(64, np.float32)
    replay.begin_epoch()
    for turn in range(config.max_turns):
        replay.write_frame(turn, np.ones((64, 25), np.uint8))
        replay.write_step(turn, np.zeros(64, np.int64), 0, 0.0, one)
        replay.write_outcome(turn, one, one < 0, one < 0, one > 0)
    replay.write_frame(config.max_turns, np.ones((64, 25), np.uint8))
    replay.commit_epoch()
    assert CleanReplay(config, spec, arrays).scan() == 0
    arrays["probability"].reshape(-1)[last] = 7
    assert CleanReplay(config, spec, arrays).scan() == 1


@pytest.mark.parametrize(("bounds", "said"), [
    ((40, 40, 0), None), ((40, 40, 20), "row 5 drawn, 20 to 39 are due"),
    ((30, 40, 0), "row 30 drawn, 0 to 29 are due"),
])  # fmt: skip
def test_a_row_that_was_given_up_for_writing_before_it_was_drawn_is_not_due(bounds, said):
    judge = Judge(1, SettingsTimeline(CONFIG), True)
    case = Case("update", 0, 1, CONFIG, {"drawn": np.array([[5, 30]]), "bounds": np.array([bounds])})
    with pytest.raises(KeyError if said is None else Wrong) as caught:  # what else is looked at was not kept
        rows_drawn(judge, case)
    assert said is None or str(caught.value) == said
