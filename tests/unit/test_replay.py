"""The ring against a slow, obvious list of transitions: the same rows, whole, or an error."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import batches
from tests.soundness import check_replay
from tests.unit.interleaving import Interleaving, Watched
from tests.unit.worlds import Bare
from workbench.core.config import Config
from workbench.core.shared.replay import Replay, ReplayError, n_step_returns
from workbench.core.shared.sampling import UniformSampler
from workbench.runs.rows import broken_rows, rows_of

CELLS = 9  # in a view of radius 1


def make_config(turns=3, worlds=1, frames=2, n_step=1, gamma=0.5, scale=1.0, window=3, capacity=None, **world):
    return Config().replace(
        epochs=10**6,
        world=Bare(max_turns=turns, num_worlds=worlds, **{"shape": (CELLS,)} | world),
        agent={"num_frames": frames},
        replay={"window": window, "capacity": capacity or window, "learning_starts": 1},
        learning={"batch_size": 1, "n_step": n_step, "gamma": gamma, "reward_scale": scale},
    )


def arrays_of(config):
    return Replay.layout(config, config.spec.agents[0]).allocate()


def over(config, arrays):
    return Replay(config, config.spec.agents[0], arrays)


def draw(replay, seed, rows, end=None):
    batch = batches.zeros(rows, replay.num_frames, replay.spec)
    return replay.sample(UniformSampler(np.random.default_rng(seed)), batch, end)


def make(config):
    return over(config, arrays_of(config))


SPACES = [{}, {"shape": (3,), "dtype": "float32"}, {"shape": (2, 3, 1)}, {"shape": (), "dtype": "int64"}]
"""Codes, a vector, a picture, a number."""


@st.composite
def configs(draw):
    turns, worlds = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    window = draw(st.integers(1, 3 * turns * worlds))
    return make_config(
        turns, worlds,
        frames=draw(st.integers(1, 4)),
        n_step=draw(st.integers(1, 8)),
        gamma=draw(st.sampled_from([0.0, 0.5, 0.9, 1.0])),
        scale=draw(st.sampled_from([1.0, 0.1])),
        window=window,
        capacity=draw(st.integers(window, 2 * window + 2 * turns * worlds)),
        **draw(st.sampled_from(SPACES)),
    )  # fmt: skip


class Transitions:
    """What was written, as plain lists of epochs; every question is answered by a loop."""

    def __init__(self, config):
        self.turns, self.worlds = config.max_turns, config.num_worlds
        self.num_frames, self.learning, self.spec = config.agent.num_frames, config.learning, config.spec.agents[0]
        self.epochs = []

    def __len__(self):
        return len(self.epochs) * self.turns * self.worlds

    def stack(self, epoch, turn, start, world):
        frames = self.epochs[epoch]["frames"]
        blank = np.zeros(self.spec.shape, self.spec.dtype)
        turns = range(turn - self.num_frames + 1, turn + 1)
        return np.array([frames[t][world] if t >= start else blank for t in turns])

    def start(self, epoch, turn, world):
        """First turn of the episode that a turn belongs to; while the agent waits for one, the turn itself."""
        data, start, waiting = self.epochs[epoch], 0, False
        for t in range(turn):
            ended = data["terminated"][t][world] or data["truncated"][t][world]
            waiting = ended or (waiting and not data["valid"][t][world])
            start = t + 1 if waiting else start
        return start

    def valid(self, number):
        rest, world = divmod(number, self.worlds)
        return bool(self.epochs[rest // self.turns]["valid"][rest % self.turns][world])

    def row(self, number):
        rest, world = divmod(number, self.worlds)
        epoch, turn = divmod(rest, self.turns)
        data, start = self.epochs[epoch], self.start(epoch, turn, world)
        r_t, discount_t, reached = 0.0, 1.0, turn
        for t in range(turn, min(turn + self.learning.n_step, self.turns)):
            r_t += discount_t * self.learning.reward_scale * data["rewards"][t][world]
            discount_t *= 0.0 if data["terminated"][t][world] else self.learning.gamma
            reached = t + 1
            if data["terminated"][t][world] or data["truncated"][t][world]:
                break
        return {
            "s_tm1": self.stack(epoch, turn, start, world),
            "a_tm1": data["actions"][turn][world],
            "r_t": r_t,
            "discount_t": discount_t,
            "s_t": self.stack(epoch, reached, start, world) if discount_t else None,  # nothing to bootstrap from
            "policy_version": epoch,
        }


def random_epoch(config, rng, terminating=0.3):
    turns, worlds, spec = config.max_turns, config.num_worlds, config.spec.agents[0]
    terminated = rng.random((turns, worlds)) < terminating
    return {
        "frames": rng.integers(1, 6, (turns + 1, worlds, *spec.shape)).astype(spec.dtype),
        "actions": rng.integers(0, 4, (turns, worlds)),
        "rewards": rng.normal(size=(turns, worlds)).astype(np.float32),
        "terminated": terminated,
        "truncated": ~terminated & (rng.random((turns, worlds)) < terminating),
        "valid": rng.random((turns, worlds)) < 0.8,
    }


def write(replay, epoch, version, look=lambda turn: None):
    """One epoch of data, the way the loop writes it."""
    replay.begin_epoch()
    for turn, frame in enumerate(epoch["frames"][:-1]):
        replay.write_frame(turn, frame)
        look(turn)
        chances = np.full(len(frame), 0.5, np.float32)
        replay.write_step(turn, epoch["actions"][turn], version, 0.1, chances)
        replay.write_outcome(turn, *(epoch[name][turn] for name in ("rewards", "terminated", "truncated", "valid")))
    replay.write_frame(len(epoch["actions"]), epoch["frames"][-1])
    replay.commit_epoch()


def filled(config, num_epochs, seed=0):
    replay, model, rng = make(config), Transitions(config), np.random.default_rng(seed)
    for version in range(num_epochs):
        model.epochs.append(random_epoch(config, rng))
        write(replay, model.epochs[-1], version)
    return replay, model


def assert_rows(batch, model):
    for index, number in enumerate(batch.number.tolist()):
        for name, wanted in model.row(number).items():
            if wanted is not None:
                found = getattr(batch, name)[index]
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=f"{name} of row {number}")


# Rows


@given(config=configs(), num_epochs=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_every_row_that_is_left_equals_the_transition_that_was_written(config, num_epochs, seed):
    replay, model = filled(config, num_epochs, seed)
    assert replay.count == len(model)
    kept = -(-config.replay.capacity // replay.steps_per_epoch) * replay.steps_per_epoch
    assert replay.oldest_intact == max(0, len(model) - kept)
    numbers = np.arange(replay.oldest_intact, replay.count)
    batch = batches.zeros(len(numbers), config.agent.num_frames, config.spec.agents[0])
    batch.number[:] = numbers
    replay.read(batch)
    assert_rows(batch, model)


@given(config=configs(), num_epochs=st.integers(1, 6), seed=st.integers(0, 2**32), data=st.data())
def test_sampling_stays_in_the_window_below_the_end_and_returns_whole_rows(config, num_epochs, seed, data):
    replay, model = filled(config, num_epochs, seed)
    end = data.draw(st.none() | st.integers(replay.oldest_intact + 1, replay.count), "end")
    high = replay.count if end is None else end
    if not any(map(model.valid, range(max(0, high - config.replay.window, replay.oldest_intact), high))):
        with pytest.raises(ReplayError, match="in whose turn the agent took part"):
            draw(replay, seed, 40, end)
        return
    batch = draw(replay, seed, 40, end)
    assert all(map(model.valid, batch.number.tolist()))
    assert batch.number.max() < high
    assert batch.number.min() >= max(0, high - config.replay.window, replay.oldest_intact)
    assert replay.fill(end) == min(high, config.replay.window)
    assert_rows(batch, model)


@given(config=configs(), num_epochs=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_the_state_acted_in_is_the_state_learnt_from(config, num_epochs, seed):
    replay, rng = make(config), np.random.default_rng(seed)
    for version in range(num_epochs):
        acted_in = []
        write(
            replay,
            random_epoch(config, rng),
            version,
            lambda turn, seen=acted_in: seen.append(replay.newest_stack(turn)),
        )
        batch = batches.zeros(replay.steps_per_epoch, config.agent.num_frames, config.spec.agents[0])
        batch.number[:] = np.arange(replay.count - replay.steps_per_epoch, replay.count)
        replay.read(batch)
        np.testing.assert_array_equal(batch.s_tm1, np.concatenate(acted_in))


@given(config=configs(), seed=st.integers(0, 2**32))
def test_the_same_stream_draws_the_same_rows_into_any_batch(config, seed):
    replay, model = filled(config, 3, seed)
    assume(any(map(model.valid, range(len(model) - 1, max(0, len(model) - config.replay.window) - 1, -1))))
    out = batches.zeros(7, config.agent.num_frames, config.spec.agents[0])
    for array in batches.arrays_of(out).values():
        array.fill(77)
    new = draw(replay, seed, 7)
    assert replay.sample(UniformSampler(np.random.default_rng(seed)), out) is out
    for name, array in batches.arrays_of(new).items():
        np.testing.assert_array_equal(array, getattr(out, name), err_msg=name)
        assert array.dtype == getattr(out, name).dtype


def test_every_row_of_the_window_is_drawn_equally_often():
    config = make_config(turns=5, worlds=2, window=20, capacity=30)
    replay, model = filled(config, 4)
    valid = list(filter(model.valid, range(10, 30)))
    numbers = Counter(draw(replay, 0, 1000 * len(valid), 30).number.tolist())
    assert sorted(numbers) == valid and 10 < len(valid) < 20
    assert all(abs(count - 1000) < 5 * np.sqrt(1000) for count in numbers.values())


@settings(max_examples=50)
@given(
    turns=st.integers(1, 9), worlds=st.integers(1, 3), n_step=st.integers(1, 12), gamma=st.floats(0.1, 1.0),
    terminating=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_returns_discounts_and_spans_equal_a_loop(turns, worlds, n_step, gamma, terminating, seed):
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=(turns, worlds)).astype(np.float32)
    terminated, truncated = rng.random((2, turns, worlds)) < terminating
    r_t, discount_t, span = n_step_returns(reward, terminated, truncated, gamma, n_step)
    assert (r_t.dtype, discount_t.dtype, span.dtype) == (np.float32, np.float32, np.int16)
    for turn in range(turns):
        for world in range(worlds):
            wanted_return, wanted_discount, wanted_span = 0.0, 1.0, 0
            while wanted_span < n_step and turn + wanted_span < turns and wanted_discount:
                here = turn + wanted_span, world
                wanted_return += wanted_discount * reward[here]
                wanted_discount *= 0.0 if terminated[here] else gamma
                wanted_span += 1
                if truncated[here]:
                    break
            np.testing.assert_allclose(r_t[turn, world], wanted_return, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(discount_t[turn, world], wanted_discount, rtol=1e-5)
            assert span[turn, world] == wanted_span


def test_an_epochs_end_bootstraps_and_a_termination_does_not():
    reward = np.ones((3, 2), np.float32)
    terminated = np.array([[False, False], [False, True], [False, False]])
    r_t, discount_t, span = n_step_returns(reward, terminated, np.zeros_like(terminated), 0.5, 3)
    np.testing.assert_allclose(r_t, [[1.75, 1.5], [1.5, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(discount_t, [[0.125, 0.0], [0.25, 0.0], [0.5, 0.5]])
    np.testing.assert_array_equal(span, [[3, 2], [2, 1], [1, 1]])


@given(config=configs(), num_epochs=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_a_window_holds_the_turns_that_its_row_spans_one_by_one(config, num_epochs, seed):
    replay, model = filled(config, num_epochs, seed)
    n_step, numbers = config.learning.n_step, np.arange(replay.oldest_intact, replay.count)
    batch = batches.zeros(len(numbers), config.agent.num_frames, config.spec.agents[0], n_step=n_step)
    batch.number[:] = numbers
    replay.read(batch)
    assert_rows(batch, model)
    window, gamma = batch, np.float32(config.learning.gamma)
    for index, number in enumerate(numbers.tolist()):
        rest, world = divmod(number, config.num_worlds)
        epoch, turn = divmod(rest, config.max_turns)
        data, start, span = model.epochs[epoch], model.start(epoch, turn, world), window.span[index]
        for step in range(n_step):
            inside, t = step < span, turn + step
            assert window.actions[index, step] == (data["actions"][t][world] if inside else 0)
            reward = data["rewards"][t][world] * np.float32(config.learning.reward_scale) if inside else 0
            np.testing.assert_allclose(window.rewards[index, step], reward)
            assert window.probabilities[index, step] == (0.5 if inside else 0)
            goes_on = inside and not data["terminated"][t][world]
            assert window.discounts[index, step] == (gamma if goes_on else 0)
        for step in range(n_step + 1):
            wanted = model.stack(epoch, turn + min(step, span), start, world)
            np.testing.assert_array_equal(window.states[index, step], wanted)
        total, product = 0.0, 1.0
        for step in range(span):
            total, product = total + product * window.rewards[index, step], product * window.discounts[index, step]
        np.testing.assert_allclose((total, product), (batch.r_t[index], batch.discount_t[index]), rtol=1e-4, atol=1e-5)


class Overtaken(UniformSampler):
    """Its process sleeps between a draw and the copy of the rows, once, while the writer comes round."""

    def __init__(self, come_round):
        super().__init__(np.random.default_rng(0))
        self.draws, self.come_round = 0, come_round

    def draw(self, low, high, count):
        found = super().draw(low, high, count)
        self.draws += 1
        if self.draws == 1:
            self.come_round()
        return found


def test_a_reader_that_sleeps_while_the_writer_comes_round_draws_from_the_newest_rows():
    config, rng = make_config(turns=3, window=6, capacity=9, whole_epochs=True), np.random.default_rng(0)
    replay, _ = filled(config, 3)
    sampler = Overtaken(lambda: [write(replay, random_epoch(config, rng), version) for version in range(3, 9)])
    batch = batches.zeros(20, replay.num_frames, replay.spec)
    numbers = replay.sample(sampler, batch).number
    assert sampler.draws == 2 and numbers.min() >= 21 and numbers.max() < replay.count == 27
    assert broken_rows(replay, numbers) == 0
    assert set(batch.policy_version) <= {7, 8}


@pytest.mark.parametrize("whole_epochs", [True, False])
def test_rows_are_found_however_often_the_ring_has_come_round(whole_epochs):
    """A number is taken modulo the ring's length at once: round by round, this would not end in years."""
    config = make_config(turns=2, window=4, capacity=6, whole_epochs=whole_epochs)
    replay, rng, rounds = make(config), np.random.default_rng(0), 10**15
    for name in ("begun", "committed"):
        replay.arrays[name][0] = 3 * rounds
    for version in range(3):
        write(replay, random_epoch(config, rng) | {"valid": np.full((2, 1), version != 1)}, version)
    replay.oldest_version = 1
    assert replay.fill() == 4 and replay.usable() == (4 if whole_epochs else 2)
    assert set(draw(replay, 0, 50).number - 6 * rounds) == ({2, 3, 4, 5} if whole_epochs else {4, 5})


# Refusals


def test_an_empty_replay_and_rows_of_the_future_are_refused():
    replay = make(make_config())
    for end in (None, 0, 1):
        with pytest.raises(ReplayError, match="0 are committed"):
            draw(replay, 0, 1, end)
    replay, _ = filled(make_config(), 2)
    for end in (7, 0, -1):
        with pytest.raises(ReplayError, match=f"rows below {end} were asked for; 6 are committed"):
            draw(replay, 0, 1, end)
    replay.begin_epoch()
    with pytest.raises(ReplayError, match="rows below 9"):
        draw(replay, 0, 1, 9)


def test_rows_that_are_all_given_to_the_writer_are_refused():
    replay, _ = filled(make_config(turns=3, window=3, capacity=6), 5)
    with pytest.raises(ReplayError, match=r"raise replay\.capacity or lower replay\.window"):
        draw(replay, 0, 4, 9)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((1, CELLS), np.uint8), np.zeros(CELLS, np.uint8), np.zeros((2, 1), np.uint8),
        np.zeros((2, 3, 3), np.uint8), np.zeros((2, CELLS), np.int64), np.zeros((2, CELLS), np.float32),
        np.zeros((2, CELLS), bool),
    ],
)  # fmt: skip
def test_a_frame_of_another_shape_or_dtype_is_refused_and_not_broadcast(frame):
    replay = make(make_config(worlds=2))
    replay.begin_epoch()
    with pytest.raises(ReplayError, match=r"this replay holds \(2, 9\) of uint8"):
        replay.write_frame(0, frame)


# Whole rows


FULL = make_config(turns=3, worlds=2, frames=2, window=12)
FIELDS = [name for name in arrays_of(FULL) if name not in ("begun", "committed")]


@pytest.mark.parametrize("name", FIELDS)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(name, data):
    arrays = arrays_of(FULL)
    replay = over(FULL, arrays)
    for version in range(3):
        write(replay, random_epoch(FULL, np.random.default_rng(version)), version)
    numbers = np.arange(6, 18)
    before = rows_of(replay)
    assert check_replay(replay) == (True, "") and broken_rows(replay, numbers) == 0
    bit = data.draw(st.integers(0, 8 * arrays[name].nbytes - 1))
    arrays[name].reshape(-1).view(np.uint8)[bit // 8] ^= 1 << bit % 8
    valid, why = check_replay(replay)
    broken = broken_rows(replay, numbers)
    assert not valid and 1 <= broken <= 2 and why == f"{broken} of 12 rows do not match their stamp"
    assert any(array.tobytes() != before[field].tobytes() for field, array in rows_of(replay).items())


def test_a_row_in_the_place_of_another_is_noticed():
    config = make_config(turns=2, window=2, capacity=4)
    replay, _ = filled(config, 5)
    assert broken_rows(replay, np.arange(6, 10)) == 0
    assert broken_rows(replay, np.arange(2, 6)) == 4  # overwritten by the rows 6 to 9


def test_an_epoch_begun_and_never_committed_is_valid_and_two_are_not():
    arrays = arrays_of(FULL)
    replay = over(FULL, arrays)
    assert check_replay(replay) == (True, "")
    replay.begin_epoch()
    assert check_replay(replay) == (True, "")
    arrays["begun"][0] += 1
    assert check_replay(replay) == (False, "2 epochs begun and 0 committed; they may differ by one at most")


@given(config=configs(), num_epochs=st.integers(0, 6), seed=st.integers(0, 2**32))
def test_contents_are_the_rows_of_the_window_oldest_first(config, num_epochs, seed):
    replay, model = filled(config, num_epochs, seed)
    contents = rows_of(replay)
    low = max(0, len(model) - config.replay.window, replay.oldest_intact)
    np.testing.assert_array_equal(contents["number"], np.arange(low, len(model)))
    for index, number in enumerate(range(low, len(model))):
        row = model.row(number)
        turn, world = divmod(number % replay.steps_per_epoch, config.num_worlds)
        frames = model.epochs[row["policy_version"]]["frames"]
        np.testing.assert_array_equal(contents["frame"][index], frames[turn, world])
        np.testing.assert_array_equal(contents["next_frame"][index], frames[turn + 1, world])
        assert contents["action"][index] == row["a_tm1"]


def test_contents_are_copies():
    replay, model = filled(FULL, 2)
    contents = rows_of(replay)
    kept = {name: array.copy() for name, array in contents.items()}
    write(replay, random_epoch(FULL, np.random.default_rng(9)), 9)
    for name, array in contents.items():
        np.testing.assert_array_equal(array, kept[name])
    assert len(model) == 12


# Interleavings


def telling_epoch(config, epoch):
    """An epoch of which every number tells the epoch that it belongs to."""
    turns, worlds = config.max_turns, config.num_worlds
    return {
        "frames": np.full((turns + 1, worlds, CELLS), epoch + 1, np.uint8),
        "actions": np.full((turns, worlds), epoch),
        "rewards": np.full((turns, worlds), epoch, np.float32),
        "terminated": np.zeros((turns, worlds), bool),
        "truncated": np.zeros((turns, worlds), bool),
        "valid": np.ones((turns, worlds), bool),
    }


@given(turns=st.lists(st.integers(0, 100), max_size=12), spare=st.integers(0, 2), free=st.booleans())
def test_however_the_two_sides_interleave_the_rows_drawn_are_whole(turns, spare, free):
    interleaving = Interleaving(turns)
    config = make_config(turns=2, frames=1, gamma=1.0, window=4, capacity=4 + 2 * spare)
    arrays = arrays_of(config)
    for epoch in range(2):
        write(over(config, arrays), telling_epoch(config, epoch), epoch)
    watched = {name: Watched.of(array, interleaving.switch) for name, array in arrays.items()}
    writer, reader = (over(config, watched) for _ in range(2))

    def act():
        for epoch in range(2, 6):
            write(writer, telling_epoch(config, epoch), epoch)

    def learn():
        found, sampler = [], UniformSampler(np.random.default_rng(0))
        for _ in range(3):
            try:
                found.append(reader.sample(sampler, batches.zeros(4, 1, reader.spec), None if free else 4))
            except ReplayError as error:
                assert not free and "were overwritten before" in str(error)
        return found

    _, drawn = interleaving.run(act, learn)
    for batch in drawn:
        epoch = batch.number // 2
        np.testing.assert_array_equal(batch.a_tm1, epoch)
        np.testing.assert_array_equal(batch.r_t, epoch)
        np.testing.assert_array_equal(batch.policy_version, epoch)
        np.testing.assert_array_equal(batch.s_tm1[:, 0], np.broadcast_to(epoch[:, None] + 1, (4, CELLS)))
        np.testing.assert_array_equal(batch.s_t, batch.s_tm1)
