"""Episodes that end inside an epoch: no row crosses an end, and both modes play and learn the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests import batches
from tests.unit import inprocess
from tests.unit.worlds import Trial, TrialConfig
from workbench.core.envs.treasurehunt import Treasurehunt
from workbench.core.seeding import stream
from workbench.core.shared.replay import ReplayError
from workbench.core.shared.sampling import UniformSampler
from workbench.runs.loaded import unpadded
from workbench.runs.rows import rows_of

CONFIG = wb.preset("tiny").replace(
    **{"world": TrialConfig(num_worlds=2, alike=True), "epochs": 6, "device": "cpu", "replay.learning_starts": 24,
       "evaluation.interval": 3, "evaluation.worlds": 2, "evaluation.final_worlds": 2, "agent.width": 8}
)  # fmt: skip


def batch_of(parts, agent):
    """Every valid row of the window, stacked, with its columns."""
    replay, arrays = parts.replays[agent], rows_of(parts.replays[agent])
    rows = {name: array[arrays["valid"]] for name, array in arrays.items()}
    batch = batches.zeros(len(rows["number"]), CONFIG.agent.num_frames, CONFIG.spec.agents[agent])
    batch.number[:] = rows["number"]
    replay.read(batch)
    return batch, rows


def drawn_from(replay, rows):
    batch = batches.zeros(rows, CONFIG.agent.num_frames, replay.spec)
    return replay.sample(UniformSampler(np.random.default_rng(0)), batch)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), n_step=st.integers(1, 6), ending=st.sampled_from([0.05, 0.3, 0.9]))
def test_no_row_crosses_the_end_of_an_episode(seed, n_step, ending):
    config = CONFIG.replace(**{"seed": seed, "learning.n_step": n_step, "world.ending": ending, "epochs": 4})
    parts = inprocess.build(config, 0)
    parts.trainer.publish_initial()
    for epoch in range(4):
        parts.collector.epoch(epoch, 0)
    for agent in range(3):
        batch, rows = batch_of(parts, agent)
        assert 0 < len(rows["number"]) < 4 * config.steps_per_epoch
        episode, step = (batch.s_tm1[:, -1, place].astype(int) for place in (0, 1))
        assert (batch.s_t[:, -1, 0] == episode).all()  # the frame to bootstrap from is of the same episode
        assert ((batch.s_t[:, -1, 1] - step) % 8 == rows["span"] % 8).all()  # and as many steps on as the row spans
        older = batch.s_tm1[:, :-1]
        blank = (older == 0).all(-1) & (step[:, None] > 0)
        assert ((older[..., 0] == episode[:, None]) | (older == 0).all(-1)).all()  # nothing of an earlier one is seen
        assert not (blank[:, -1] & (step > 1)).any()  # and nothing of this one is missing
        ends = rows["terminated"] | rows["truncated"]
        assert (rows["span"][ends] == 1).all() and (rows["discount_t"][rows["terminated"]] == 0).all()
        assert (rows["discount_t"][rows["truncated"]] == np.float32(config.learning.gamma)).all()
        assert (rows["r_t"][ends] == 1 + rows["action"][ends]).all()


def test_turns_in_which_an_agent_takes_no_part_are_stored_and_never_drawn():
    parts = inprocess.run(CONFIG, 0)
    for agent in range(3):
        replay, contents = parts.replays[agent], rows_of(parts.replays[agent])
        idle = set(contents["number"][~contents["valid"]].tolist())
        drawn = drawn_from(replay, 2000).number.tolist()
        assert idle and not idle & set(drawn)
    with pytest.raises(ReplayError, match=r"in whose turn the agent took part; raise replay\.window and "):
        parts.replays[0].rows["valid"][:] = False
        drawn_from(parts.replays[0], 1)


def test_an_ended_copy_begins_again_in_the_turn_after_its_reset_turn():
    world = Trial(TrialConfig(ending=1.0, num_worlds=1), np.random.default_rng(0))
    told = []
    for _ in range(4):
        world.begin_turn()
        seen = world.observe(0)[0]
        turn = world.end_turn()
        told.append((round(10 * seen[0]), round(10 * seen[1]), bool(turn.terminated[0, 0]), bool(turn.valid[0, 0])))
    assert told == [(0, 0, True, True), (0, 1, False, False), (1, 0, True, True), (1, 1, False, False)]


def test_treasurehunt_answers_without_a_new_array():
    world = Treasurehunt(wb.Config().world, stream(0, "world"))
    first = world.end_turn()
    assert all(one is other for one, other in zip(first, world.end_turn(), strict=True))
    assert first.valid.all() and not first.terminated.any() and not first.truncated.any()
    assert not {"terminated", "truncated", "valid"} & set(rows_of(inprocess.build(wb.preset("tiny"), 0).replays[0]))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_world_whose_episodes_end_learns_the_same_however_late_its_learners_are(lag, alike):
    config = CONFIG.replace(**{"world.alike": alike})
    wanted = inprocess.digests(inprocess.run(config, lag))
    with inprocess.as_in_a_child():
        parts = inprocess.build(config, lag)
        parts.trainer.publish_initial()
        for epoch in range(config.epochs + lag):
            if epoch < config.epochs:
                parts.collector.epoch(epoch, max(0, epoch - lag))
                parts.collector.evaluator.after_epoch(epoch)
            if epoch >= lag:
                for agent in reversed(list(parts.trainer.agents)):
                    parts.trainer.epoch(agent, epoch - lag)
        parts.collector.finish()
    assert inprocess.digests(parts) == wanted
    assert all(np.isfinite(vector).all() for vector in unpadded(inprocess.weights(parts), config))
