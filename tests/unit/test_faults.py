"""Every fault changes what it says it changes and nothing else, in parts over shared memory, without a process."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench
from tests import batches
from tests.soundness import check_agent, check_replay, check_world
from tests.unit import inprocess
from workbench.api import preset
from workbench.core.agents.value_agent import initial_weights
from workbench.core.config import ConfigError
from workbench.core.envs.treasurehunt import GEM
from workbench.core.processes.blocks import Plan, allocate_shared
from workbench.core.processes.wakeup import Wakeup
from workbench.core.processes.worker import Job, Parts
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import LayoutMismatch
from workbench.core.shared.replay import ReplayError
from workbench.core.shared.sampling import UniformSampler
from workbench.core.shared.weight_store import checksum
from workbench.diagnose.faults import FAULTS, FaultError, make, prepare
from workbench.diagnose.faults import processes as processes_faults
from workbench.diagnose.faults import weights as weights_faults
from workbench.runs.evaluation import Evaluation
from workbench.runs.live_settings import LiveSettings
from workbench.runs.recovery import restarts
from workbench.runs.recovery.keepers import Recovery
from workbench.runs.rows import broken_rows, rows_of

CONFIG = preset("tiny").replace(**{
    "epochs": 8, "device": "cpu", "agent.width": 16, "pacing.updates_per_epoch": 2, "evaluation.final_worlds": 2,
})  # fmt: skip
FRAMES, TURNS, N_STEP = CONFIG.agent.num_frames, CONFIG.max_turns, CONFIG.learning.n_step
EVERY_NAME = """
replay_not_shared actor_history_cleared separate_history unflattened_observation spec_mismatch frames_mismatch
unvalidated_sampling wraparound_ignored episode_boundary_ignored truncation_as_terminal nstep_mismatch corrupt_rows
action_out_of_range stale_reset torn_weights_per_parameter torn_weights_state_dict sync_never sync_rarely publish_never
publish_rarely sync_noop sync_after_action stale_epsilon target_not_published optimizer_before_weights snapshot_on_gpu
double_target_update eval_mode_training device_mismatch no_gradient_clipping step_counter_stuck reward_scale_off
unpaced_learner kill_learner kill_actor hang_learner kill_while_writing
"""
NAMES = EVERY_NAME.split()
STRENGTHS = [name for name in NAMES if FAULTS[name].unit]


@pytest.fixture(autouse=True)
def one_thread():
    with inprocess.as_in_a_child():
        yield


def draw(replay, seed, rows, end):
    batch = batches.zeros(rows, FRAMES, CONFIG.spec.agents[0])
    return replay.sample(UniformSampler(np.random.default_rng(seed)), batch, end)


class Pair:
    """The actor's and the learner's parts of one run over the same memory; or one set of parts for both sides."""

    def __init__(self, *faults, config=CONFIG, mode="multiprocess", lag=1, publish=True):
        agents, wakeups = tuple(range(config.num_agents)), [Wakeup.create(index) for index in range(2)]
        made = tuple(pickle.loads(pickle.dumps(make(fault))) for fault in faults)
        hooks = (Evaluation(), Recovery(), LiveSettings(), *made)
        plan = Plan(config, mode, lag, hooks)
        shared = allocate_shared(plan, 2)

        def parts(role, index, owned):
            return Parts(Job(role, role, index, owned, plan, shared.blocks, wakeups, None))

        self.config, self.lag = config, lag
        if mode == "sequential":
            self.actor = self.learner = parts("sequential", 0, agents)
        else:
            self.actor, self.learner = parts("actor", 0, ()), parts("learner", 1, agents)
        self.trainer, self.collector = self.learner.trainer(), self.actor.collector()
        self.replays, self.stores = shared.replays, shared.stores  # no fault has touched these
        self.stacks, self.versions = [], []
        self._watch()
        if publish:
            self.trainer.publish_initial()

    def _watch(self):
        """Write down what agent 0's policy is shown, and with which version it acts."""
        policy, act = self.collector.policies[0], self.collector.policies[0].act

        def watched(stack, epsilon):
            self.stacks[-1].append(stack.copy())
            self.versions[-1] = self.collector.in_use[0].version
            return act(stack, epsilon)

        policy.act = watched

    def collect(self, epoch):
        self.stacks.append([])
        self.versions.append(None)
        self.collector.epoch(epoch, None if self.lag is None else max(0, epoch - self.lag))

    def run(self, epochs=6, first=0):
        for epoch in range(first, epochs):
            self.collect(epoch)
            for agent in self.trainer.agents:
                self.trainer.epoch(agent, epoch)
        return self


def rows(replay, numbers, config=CONFIG):
    """The given rows as a replay gives them out."""
    batch = batches.zeros(len(numbers), config.agent.num_frames, config.spec.agents[0])
    batch.number[:] = numbers
    replay.read(batch)
    return batch


def contents(replay, field):
    """A field of all rows: (epochs, turns, ...)."""
    found = rows_of(replay)[field]
    return found.reshape(-1, TURNS, *found.shape[1:])


def drawn(pair, agent=0):
    return pair.trainer.agents[agent].batch


both = pytest.mark.parametrize("mode", ["sequential", "multiprocess"])


# Names, strengths and refusals


def test_the_faults_are_those_of_the_catalogue():
    assert list(FAULTS) == sorted(FAULTS, key=NAMES.index) and set(FAULTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_says_what_it_is_and_can_be_sent_to_a_child(name):
    fault = FAULTS[name]
    assert fault.name == name and fault.__doc__
    sent = pickle.loads(pickle.dumps(make(name)))
    assert sent.text == make(name).text and sent.text.partition("=")[0] == name
    assert make(sent.text).strength == sent.strength


def test_the_text_holds_the_strength():
    assert make("sync_rarely").text == "sync_rarely=10"
    assert make("sync_rarely=7").text == make("sync_rarely", 7).text == "sync_rarely=7"
    assert make("torn_weights_per_parameter=12.5").text == "torn_weights_per_parameter=12.5"
    assert make("sync_never").text == "sync_never"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sync_nver", "there is no fault 'sync_nver'; did you mean sync_never"),
        ("torn_weights", "did you mean torn_weights_state_dict or torn_weights_per_parameter"),
        ("", "there is no fault ''; known: replay_not_shared, "),
        ("deaf", "give it itself, at launch as faults=[MyFault()], at resume as hooks=[MyFault()]"),
        ("sync_never=3", "sync_never was given the strength 3; it has none, so leave it out"),
        ("sync_rarely=1", "sync_rarely has the strength 1; it must be a whole number of 2 to 1e+06 (epochs from one"),
        ("sync_rarely=2.5", "sync_rarely has the strength 2.5; it must be a whole number"),
        ("sync_rarely=often", "sync_rarely has the strength 'often'; it must be a number, as in sync_rarely=10"),
        ("sync_rarely=", "sync_rarely has the strength ''; it must be a number"),
        ("torn_weights_per_parameter=-1", "it must be a number of 0 to"),
        ("reward_scale_off=nan", "reward_scale_off has the strength nan"),
        ("corrupt_rows=1e300", "corrupt_rows has the strength 1e+300"),
    ],
)
def test_what_cannot_be_switched_on_is_refused(text, message):
    with pytest.raises(FaultError) as caught:
        make(text)
    assert message in str(caught.value) and isinstance(caught.value, ConfigError)


@pytest.mark.parametrize("given", [b"x", [1], {}, 1j, len, "often", 10**400])
@pytest.mark.parametrize("name", ["sync_rarely", "reward_scale_off", "sync_never"])
def test_a_strength_that_is_no_number_is_refused_with_the_rule(name, given):
    message = f"{name} has the strength {given!r}; it must be a number, as in {name}=10"
    with pytest.raises(FaultError, match=re.escape(message)):
        make(name, given)


def test_a_strength_may_be_the_text_of_a_number():
    assert make("sync_rarely", "7").text == make("sync_rarely=7").text == make("sync_rarely", np.int64(7)).text


@pytest.mark.parametrize("given", [3, None, {"sync_rarely": 3}])
def test_faults_that_are_no_list_are_refused(given):
    with pytest.raises(FaultError, match="there is no fault"):
        prepare(given, CONFIG, "sequential", 1)


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_default_strength_is_one_that_may_be_given(name):
    fault = make(name)
    assert make(name, fault.strength).text == fault.text
    with pytest.raises(FaultError, match=fault.name):
        make(name, fault.least - 1)


SEQUENTIAL = {
    "replay_not_shared", "spec_mismatch", "frames_mismatch", "unvalidated_sampling", "torn_weights_per_parameter",
    "torn_weights_state_dict", "unpaced_learner", "kill_learner", "kill_actor", "hang_learner", "kill_while_writing",
}  # fmt: skip
RACE = {"unvalidated_sampling", "torn_weights_per_parameter", "torn_weights_state_dict"}
RING = CONFIG.replace(
    **{"replay.capacity": 120, "replay.window": 80, "pacing.publish_interval": 2}
)  # comes round after 6 epochs


@pytest.mark.parametrize(
    ("mode", "lag", "senseless"),
    [
        ("sequential", 0, SEQUENTIAL),
        ("sequential", 3, SEQUENTIAL),
        ("multiprocess", 0, RACE | {"unpaced_learner"}),
        ("multiprocess", 1, {"unpaced_learner"}),
        ("multiprocess", None, {"step_counter_stuck"}),
    ],
)  # fmt: skip
def test_a_fault_that_makes_no_sense_in_a_mode_is_refused_with_the_reason(mode, lag, senseless):
    for name in NAMES:
        if name in senseless:
            with pytest.raises(FaultError, match=f"{name} makes no sense here: .*; (use|give) "):
                prepare([name], RING, mode, lag)
        else:
            assert [fault.name for fault in prepare([name], RING, mode, lag)] == [name]


@pytest.mark.parametrize(
    ("fault", "changes", "message"),
    [
        ("wraparound_ignored", {}, "160 rows per agent into rings of replay.capacity = 400, which never come round"),
        ("nstep_mismatch", {"learning.n_step": 1}, "learning.n_step is 1 and gamma**1 is right; set learning.n_step"),
        ("stale_epsilon", {"exploration.epsilon_start": 0.02}, "epsilon is 0.02 from beginning to end"),
        ("kill_actor=8", {}, "it would happen at 8 and the run ends with 7; give a smaller strength"),
        ("kill_while_writing=9", {}, "it would happen at 9 and the run ends with 8; give a smaller strength"),
    ],
)  # fmt: skip
def test_a_fault_that_would_do_nothing_in_a_configuration_is_refused(fault, changes, message):
    with pytest.raises(FaultError) as caught:
        prepare([fault], CONFIG.replace(**changes), "multiprocess", 1)
    assert message in str(caught.value)


def test_faults_that_would_undo_each_other_are_refused():
    with pytest.raises(FaultError, match="sync_rarely is given twice"):
        prepare(["sync_rarely=2", make("sync_rarely", 3)], CONFIG, "multiprocess", 1)
    with pytest.raises(FaultError, match="actor_history_cleared and unvalidated_sampling both replace the learner's"):
        prepare(["actor_history_cleared", "unvalidated_sampling"], CONFIG, "multiprocess", 1)
    assert len(prepare(["sync_rarely", "corrupt_rows", "double_target_update"], CONFIG, "sequential", 1)) == 3


def test_one_fault_may_be_given_by_itself_and_what_is_none_is_refused_by_name():
    for alone in ("sync_never", make("sync_never")):
        assert [fault.name for fault in prepare(alone, CONFIG, "sequential", 1)] == ["sync_never"]
    with pytest.raises(FaultError, match="there is no fault '3'"):
        prepare([3], CONFIG, "sequential", 1)


def test_the_core_has_no_word_for_what_comes_in_through_its_hooks():
    core = Path(workbench.__file__).parent / "core"
    for path in set(core.rglob("*.py")) - {core / "train" / "hooks.py"}:
        text = path.read_text().lower().replace("default", "")
        for word in ("fault", "probe", "recover", "timeline") + ("checkpoint",) * (path.name != "config.py"):
            assert word not in text, f"{path} speaks of a {word}"


@both
def test_without_a_fault_both_sides_agree_on_everything(mode):
    """What the tests below look at is sound if nothing is switched on."""
    pair = Pair(mode=mode).run()
    assert pair.versions == [0, 0, 1, 2, 3, 4]
    for replay, store, agent in zip(pair.replays, pair.stores, pair.trainer.agents.values(), strict=True):
        assert check_replay(replay) == (True, "") and replay.count == 6 * TURNS
        assert check_agent(agent) == (True, "") and agent.updates == 10 == agent.target_updates
        clean = rows(replay, agent.batch.number)
        assert all(np.array_equal(getattr(agent.batch, name), array) for name, array in vars(clean).items())
        vector = np.empty(agent.parameters.vector.numel(), np.float32)
        assert store.read(vector).checksum == checksum(vector) and store.newest == 6
        assert torch.equal(agent.parameters.vector, torch.from_numpy(vector))
    numbers = np.arange(TURNS, 2 * TURNS)
    assert np.array_equal(np.concatenate(pair.stacks[1]), rows(pair.replays[0], numbers).s_tm1)


# Data


def test_replay_not_shared_trains_on_zeros():
    pair = Pair("replay_not_shared").run()
    assert pair.replays[0].count == 6 * TURNS and pair.trainer.replays[0].count == 0
    for name in ("s_tm1", "a_tm1", "r_t", "discount_t", "s_t"):
        assert not getattr(drawn(pair), name).any()


@both
def test_episode_boundary_ignored_adds_up_rewards_of_the_next_epoch_and_bootstraps_there(mode):
    pair = Pair("episode_boundary_ignored", mode=mode).run()
    replay, gamma = pair.trainer.replays[0], CONFIG.learning.gamma
    reward = pair.actor.replay_blocks[0].open()["reward"].reshape(-1)
    end = 4 * TURNS
    batch = draw(replay, 0, 400, end)
    assert any(number % TURNS == TURNS - 1 and number < end - 1 for number in batch.number)
    frames = pair.actor.replay_blocks[0].open()["frame"][:, :, 0]
    for number, r_t, discount_t, s_t in zip(batch.number, batch.r_t, batch.discount_t, batch.s_t, strict=True):
        steps = min(N_STEP, end - number)
        paid = sum(gamma**step * reward[number + step] for step in range(steps))
        assert r_t == pytest.approx(CONFIG.learning.reward_scale * paid, rel=1e-5, abs=1e-5)
        assert discount_t == pytest.approx(gamma**steps, rel=1e-5)
        epoch, turn = divmod(number + steps, TURNS)
        where = (epoch - 1, TURNS) if turn == 0 else (epoch, turn)  # the last frame of an epoch is its own
        assert np.array_equal(s_t[-1], frames[where])


@both
@pytest.mark.parametrize("fault", ["actor_history_cleared", "episode_boundary_ignored"])
def test_stacks_run_on_into_the_previous_epoch(fault, mode):
    pair = Pair(fault, mode=mode).run()
    frames = pair.actor.replay_blocks[0].open()["frame"][:, :, 0]  # (epochs, turns + 1, cells)
    begin = np.concatenate([frames[1, -FRAMES + 1 :], frames[2, :1]])  # epoch 2, turn 0
    assert np.array_equal(rows(pair.trainer.replays[0], [2 * TURNS]).s_tm1[0], begin)
    blank = np.concatenate([np.zeros_like(begin[1:]), frames[2, :1]])
    assert np.array_equal(rows(pair.replays[0], [2 * TURNS]).s_tm1[0], blank)
    assert np.array_equal(pair.stacks[2][0][0], begin if fault == "episode_boundary_ignored" else blank)
    inside = np.arange(2 * TURNS + FRAMES - 1, 3 * TURNS)
    assert np.array_equal(rows(pair.trainer.replays[0], inside).s_tm1, rows(pair.replays[0], inside).s_tm1)
    assert not rows(pair.trainer.replays[0], [0]).s_tm1[0, :-1].any()  # there was nothing before the first epoch


@both
@pytest.mark.parametrize("behind", [1, 4])
def test_separate_history_shows_the_actor_what_the_learner_saw_some_turns_ago(behind, mode):
    pair = Pair(f"separate_history={behind}", mode=mode).run(2)
    clean = rows(pair.trainer.replays[0], np.arange(TURNS, 2 * TURNS)).s_tm1
    shown = np.concatenate(pair.stacks[1])
    assert np.array_equal(shown[behind:], clean[:-behind]) and not shown[:behind].any()
    assert not np.array_equal(shown, clean)
    assert check_replay(pair.replays[0]) == (True, "")


def test_unvalidated_sampling_draws_rows_that_are_being_written():
    pair = Pair("unvalidated_sampling").run(4)
    pair.collector.replays[0].begin_epoch()
    pair.trainer.learn(0, 3, 20, 4 * TURNS)
    numbers, late = drawn(pair).number, 0
    for _ in range(20):
        late += int((draw(pair.trainer.replays[0], _, 64, 4 * TURNS).number >= 4 * TURNS).sum())
    assert late and numbers.max() < 5 * TURNS
    assert broken_rows(pair.replays[0], np.arange(4 * TURNS, 5 * TURNS)) == TURNS  # what it takes for rows


@both
def test_wraparound_ignored_draws_other_rows_than_it_believes(mode):
    pair = Pair("wraparound_ignored", config=RING.replace(epochs=12), mode=mode).run(9)
    numbers = np.concatenate([
        draw(pair.trainer.replays[0], seed, 64, 9 * TURNS).number for seed in range(9)
    ])  # fmt: skip
    assert numbers.max() < 6 * TURNS and (numbers < 3 * TURNS).any()  # the ring holds epochs 3 to 8
    assert broken_rows(pair.replays[0], numbers) == (numbers < 3 * TURNS).sum()


@both
def test_truncation_as_terminal_cuts_the_bootstrap(mode):
    pair, sound = Pair("truncation_as_terminal", mode=mode).run(3), Pair(mode=mode).run(3)
    discount, right = contents(pair.replays[0], "discount_t"), contents(sound.replays[0], "discount_t")
    assert not discount[:, -N_STEP:].any() and np.array_equal(discount[:, :-N_STEP], right[:, :-N_STEP])
    assert right.all() and np.array_equal(contents(pair.replays[0], "r_t"), contents(sound.replays[0], "r_t"))


@both
def test_nstep_mismatch_discounts_one_reward_by_n_steps(mode):
    pair = Pair("nstep_mismatch", mode=mode).run(3)
    replay = pair.replays[0]
    assert np.array_equal(contents(replay, "r_t"), contents(replay, "reward"))
    assert np.allclose(contents(replay, "discount_t"), CONFIG.learning.gamma**N_STEP)
    assert (contents(replay, "span") == 1).all()


@both
@pytest.mark.parametrize("strength", [1, 3, 1000])
def test_corrupt_rows_breaks_a_number_of_rows_of_every_epoch(strength, mode):
    pair = Pair(f"corrupt_rows={strength}", mode=mode).run(3)
    for replay in pair.replays:
        broken = [broken_rows(replay, np.arange(epoch * TURNS, (epoch + 1) * TURNS)) for epoch in range(3)]
        least = min(strength, TURNS)
        assert all(least <= count <= 2 * least for count in broken)  # a frame belongs to two rows
    assert not broken_rows(Pair(mode=mode).run(3).replays[0], np.arange(3 * TURNS))


@both
def test_reward_scale_off_multiplies_what_the_learner_is_paid(mode):
    pair, sound = Pair("reward_scale_off=50", mode=mode).run(2), Pair(mode=mode).run(2)
    assert np.allclose(contents(pair.replays[0], "r_t"), 50 * contents(sound.replays[0], "r_t"))
    assert np.array_equal(contents(pair.replays[0], "reward"), contents(sound.replays[0], "reward"))
    assert contents(sound.replays[0], "r_t").any()


@both
def test_stale_reset_leaves_gems_lying(mode):
    for fault, gems in ((), False), (("stale_reset",), True):
        pair = Pair(*fault, mode=mode).run(2)
        assert (pair.collector.world.cells == GEM).any()
        pair.collector.world.reset()
        assert (pair.collector.world.cells == GEM).any() == gems
        assert check_world(pair.collector.world) == (True, "")


# Weights and epsilon


@pytest.mark.parametrize("fault", ["torn_weights_per_parameter", "torn_weights_state_dict"])
def test_torn_weights_are_a_mixture_that_the_checksum_gives_away(fault, monkeypatch):
    pair = Pair(fault).run(4)
    collector, trainer, agent = pair.collector, pair.trainer, pair.trainer.agents[0]
    pauses = []

    def publish_meanwhile(seconds):
        assert seconds == 1e-3
        pauses.append(None)
        if len(pauses) == 3:  # in the middle of the actor's copy; its own pauses come after
            agent.parameters.vector.add_(1.0)
            trainer.publish(0, 4)

    before = agent.parameters.vector.numpy().copy()
    monkeypatch.setattr(weights_faults, "sleep", publish_meanwhile)
    collector.sync(4, 3)
    vector, size = collector.vectors[0], len(before) // 2
    old, new = vector == before, vector == before + 1.0
    assert old[:10].all() and new[size : size + 10].all()
    assert checksum(vector) != collector.in_use[0].checksum

    sound = np.empty_like(vector)
    assert pair.stores[0].read(sound).checksum == checksum(sound)


@pytest.mark.parametrize("fault", ["torn_weights_per_parameter=0", "torn_weights_state_dict=0"])
def test_a_copy_that_nobody_disturbs_is_whole(fault):
    pair = Pair(fault).run()
    for snapshot, vector in zip(pair.collector.in_use, pair.collector.vectors, strict=True):
        assert snapshot.checksum == checksum(vector)
    assert pair.versions == [0, 1, 2, 3, 4, 5]  # one model holds the newest version only


def float_config(world, **changes):
    """CONFIG in a world of another library, whose observations are floats."""
    changes = {"world.max_turns": TURNS, "replay.learning_starts": 2 * TURNS, **changes}
    return CONFIG.replace(world=world, **changes)


@pytest.mark.parametrize("fault", ["torn_weights_per_parameter=0", "torn_weights_state_dict=0"])
def test_a_copy_that_nobody_disturbs_is_whole_for_every_agent_also_where_agents_are_unequal(fault):
    pytest.importorskip("mpe2")
    pair = Pair(fault, config=float_config("pettingzoo:mpe2.simple_speaker_listener_v4")).run(4)
    assert len({len(vector) for vector in pair.collector.vectors}) == 2
    for snapshot, vector in zip(pair.collector.in_use, pair.collector.vectors, strict=True):
        assert snapshot.checksum == checksum(vector)


@pytest.mark.parametrize("fault", ["actor_history_cleared", "episode_boundary_ignored", "wraparound_ignored"])
def test_where_observations_are_floats_frames_that_were_never_written_are_blank_too(fault):
    pytest.importorskip("gymnasium")
    ring = {"replay.capacity": 4 * TURNS, "replay.window": 3 * TURNS}
    pair = Pair(fault, config=float_config("gymnasium:CartPole-v1", **ring)).run()
    assert np.isfinite(pair.trainer.agents[0].get_state()["vector"]).all()
    first = rows(pair.trainer.replays[0], np.arange(4 * TURNS), pair.config)
    assert np.isfinite(first.s_tm1).all()


@both
def test_syncs_are_left_out_until_the_run_is_over(mode):
    assert Pair("sync_rarely=3", mode=mode).run(7).versions == [0, 0, 0, 2, 2, 2, 5]
    pair = Pair("sync_never", mode=mode).run(7)
    assert pair.versions == [0] * 7 and pair.stores[0].newest == 7
    pair.collector.sync(CONFIG.epochs, None)
    assert pair.collector.in_use[0].version == 7


@both
@pytest.mark.parametrize(
    ("fault", "newest", "versions"),
    [("publish_never", 0, [0] * 7), ("publish_rarely=3", 2, [0, 0, 0, 1, 1, 1, 2])],
)
def test_publications_are_left_out_and_the_actor_takes_what_there_is(fault, newest, versions, mode):
    pair = Pair(fault, mode=mode).run(7)
    assert pair.stores[0].newest == pair.stores[1].newest == newest
    assert pair.versions == versions and pair.trainer.agents[0].updates == 12


def test_a_free_running_learner_continues_when_it_does_not_publish():
    config = CONFIG.replace(**{"pacing.publish_interval": 2})
    pair = Pair("publish_never", config=config, lag=None)
    for epoch in range(CONFIG.epochs):
        pair.collect(epoch)
    for _ in range(config.total_updates // 2):
        pair.trainer.updates(0, CONFIG.epochs - 1, 2)
    assert pair.trainer.agents[0].updates == config.total_updates and pair.stores[0].newest == 0
    pair.trainer.end(0)
    assert pair.learner.progress.epochs_learned(0) == CONFIG.epochs


@both
def test_sync_noop_says_that_it_synced_and_changes_nothing(mode):
    pair = Pair("sync_noop", mode=mode).run()
    first = pair.stores[0]
    assert pair.versions == [0, 0, 1, 2, 3, 4] and first.newest == 6
    initial = initial_weights(CONFIG, 0)
    held = torch.cat([p.flatten() for p in pair.collector.policies[0].network.parameters()]).numpy()
    expected = pair.collector.policies[0].layout.views(initial[: len(initial) // 2])
    assert np.array_equal(held, np.concatenate([view.ravel() for view in expected.values()]))
    assert not np.array_equal(pair.collector.vectors[0], initial)


@both
@pytest.mark.parametrize("lag", [0, 1])
def test_sync_after_action_acts_with_the_weights_of_the_round_before(lag, mode):
    late, sound = Pair("sync_after_action", mode=mode, lag=lag).run(), Pair(mode=mode, lag=lag).run()
    assert late.versions == [0, *sound.versions[:-1]] != sound.versions
    assert late.collector.in_use[0].version == sound.collector.in_use[0].version  # after the round


@both
def test_stale_epsilon_is_that_of_an_earlier_epoch(mode):
    pair, sound = Pair("stale_epsilon=3", mode=mode).run(), Pair(mode=mode).collector
    due = [sound.epsilon(epoch) for epoch in range(7)]
    assert [pair.collector.epsilon(epoch) for epoch in range(7)] == [due[epoch // 3 * 3] for epoch in range(7)]
    used = contents(pair.replays[0], "epsilon")[:, 0]
    assert np.allclose(used, [due[0]] * 3 + [due[3]] * 3)


@both
def test_target_not_published_keeps_the_first_target_network_in_every_snapshot(mode):
    pair = Pair("target_not_published", mode=mode).run()
    agent, size = pair.trainer.agents[0], pair.trainer.agents[0].parameters.layout.size
    vector = np.empty(2 * size, np.float32)
    assert pair.stores[0].read(vector).checksum == checksum(vector)
    assert np.array_equal(vector[size:], initial_weights(CONFIG, 0)[size:])
    assert np.array_equal(vector[:size], agent.parameters.online.detach().numpy())
    assert not np.array_equal(vector[size:], agent.parameters.target.numpy())


@both
def test_optimizer_before_weights_learns_nothing(mode):
    pair = Pair("optimizer_before_weights", mode=mode).run()
    agent = pair.trainer.agents[0]
    assert agent.updates == 10 and check_agent(agent) == (False, "the optimiser was made for other weights")
    initial = initial_weights(CONFIG, 0)
    assert np.array_equal(agent.parameters.online.detach(), initial[: len(initial) // 2])


# Learning


@both
def test_double_target_update_moves_the_target_network_twice(mode):
    agent = Pair("double_target_update", mode=mode).run().trainer.agents[0]
    assert agent.target_updates == 2 * agent.updates == 20


@both
def test_eval_mode_training_silences_the_noise(mode):
    config = CONFIG.replace(**{"agent.noisy": True})
    pair, sound = (Pair(*fault, config=config, mode=mode).run() for fault in [["eval_mode_training"], []])
    agent, right = pair.trainer.agents[0], sound.trainer.agents[0]
    assert not agent.online.training and agent.target.training and right.online.training
    sigma = agent.online.hidden.weight_sigma.detach()
    assert torch.equal(sigma, torch.full_like(sigma, float(sigma[0, 0])))  # without noise it has no gradient
    sigma = right.online.hidden.weight_sigma.detach()
    assert not torch.equal(sigma, torch.full_like(sigma, float(sigma[0, 0])))


@both
def test_no_gradient_clipping_follows_gradients_of_any_length(mode):
    config = CONFIG.replace(**{"learning.grad_clip": 0.001})
    for fault, clipped in ((), True), (("no_gradient_clipping",), False):
        agent = Pair(*fault, config=config, mode=mode).run().trainer.agents[0]
        assert (float(agent.parameters.gradient.norm()) < 0.0011) == clipped


@both
def test_step_counter_stuck_learns_without_counting(mode):
    pair = Pair("step_counter_stuck", mode=mode).run()
    agent = pair.trainer.agents[0]
    assert agent.updates == 0 == pair.learner.progress.updates(0) and agent.target_updates == 10
    assert not np.array_equal(agent.parameters.vector, initial_weights(CONFIG, 0))
    assert pair.stores[0].peek().updates == 0


def test_unpaced_learner_may_make_every_update_at_once():
    for fault, share in (("unpaced_learner",), 1), ((), 0.5):
        pair = Pair(*fault, lag=None)
        for epoch in range(3):
            pair.collect(epoch)
        allowed = pair.learner.pacing().updates_allowed(0)
        assert (allowed == CONFIG.total_updates) == (share == 1)
        assert pair.actor.config == CONFIG


# What a sound system refuses


REFUSALS = {
    "unflattened_observation": (
        ReplayError,
        "a frame of shape (1, 1, 25) and dtype uint8 was given; this replay holds (1, 25) of uint8 (copies of the "
        "world, then the observation); shape or cast it where it is made",
    ),
    "spec_mismatch": (
        LayoutMismatch,
        "'replay of 3 stacked frames': the block was made as 'frame' of shape (20, 21, 1, 25) and dtype uint8 and is "
        "opened as 'frame' of shape (20, 21, 1, 25, 2) and dtype uint8; use one configuration on both sides",
    ),
    "frames_mismatch": (
        LayoutMismatch,
        "'replay of 4 stacked frames': the block was made as 'replay of 3 stacked frames' and is opened as "
        "'replay of 4 stacked frames'; use one configuration on both sides",
    ),
    "action_out_of_range": (
        ValueError,
        "actions hold [4]; an action is 0 (up), 1 (down), 2 (left) or 3 (right), and there is one for each world: "
        "(1,). Give the policy as many actions as the world has: 4",
    ),
    "snapshot_on_gpu": (
        ValueError,
        "the snapshot is a Tensor on cpu; it must be a NumPy array, in host memory. Take it with Agent.snapshot, "
        "which copies it there",
    ),
    "device_mismatch": (
        ValueError,
        "the online network is on meta and the batch on cpu; both must be on one device. Choose it with the setting "
        "'device' and move no network afterwards",
    ),
}  # fmt: skip


def test_these_are_the_faults_that_a_sound_system_refuses():
    assert {name for name, fault in FAULTS.items() if fault.refuses} == set(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_value_rule_and_remedy(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    kind, message = REFUSALS[name]
    with pytest.raises(kind) as caught:
        Pair(name).run()
    assert message in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(REFUSALS) - {"spec_mismatch", "frames_mismatch"}))
def test_a_sequential_run_refuses_the_same(name):
    with pytest.raises(REFUSALS[name][0]):
        Pair(name, mode="sequential").run()


# Processes


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def no_death(monkeypatch):
    def killed():
        raise Killed

    monkeypatch.setattr(processes_faults, "_kill_this_process", killed)


@pytest.mark.usefixtures("no_death")
def test_the_actor_dies_in_the_middle_of_an_epoch():
    pair = Pair("kill_actor=4")
    with pytest.raises(Killed):
        pair.run()
    arrays = pair.actor.replay_blocks[0].open()
    assert (arrays["begun"][0], arrays["committed"][0]) == (5, 4)


@pytest.mark.usefixtures("no_death")
def test_one_learner_dies_before_its_updates_of_an_epoch():
    pair = Pair("kill_learner=4")
    with pytest.raises(Killed):
        pair.run()
    assert pair.trainer.agents[0].updates == 6 and pair.stores[0].newest == 4


@pytest.mark.usefixtures("no_death")
def test_a_learner_that_dies_while_writing_leaves_the_last_version_whole():
    pair = Pair("kill_while_writing=3")
    with pytest.raises(Killed):
        pair.run()
    vector = np.empty_like(pair.collector.vectors[0])
    assert pair.stores[0].read(vector).version == 2 and checksum(vector) == pair.stores[0].peek().checksum
    arrays = pair.learner.store_blocks[0].open()
    half = len(vector) // 2
    online = pair.trainer.agents[0].parameters.online.detach().numpy()
    assert arrays["writing"][0] == 3 and np.array_equal(arrays["vector"][0][:half], online)  # slot 3 % 3
    assert np.array_equal(arrays["vector"][0][half:], initial_weights(CONFIG, 0)[half:])


def test_silence_is_counted_while_the_parent_is_awake_itself(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(restarts.time, "monotonic", lambda: clock[0])
    silence = restarts.Silence(2)

    def look(after, *signs):
        clock[0] += after
        return silence.look(list(signs), [True, True])

    assert look(0.25, 0, 0) == [0.0, 0.0]  # first seen
    assert look(0.25, 1, 0) == [0.0, 0.25]
    assert look(0.5, 2, 0) == [0.0, 0.75]
    assert look(3600.0, 2, 0) == [1.0, 1.75]  # the machine was asleep
    assert look(0.5, 2, 1) == [1.5, 0.0]


def test_a_process_that_waits_sends_heartbeats_without_being_woken():
    progress = Progress(Progress.layout(1, 2).allocate())
    wakeup = Wakeup.create(owner=1, heartbeat_interval_s=0.001)
    looks = iter([False, False, False, True])
    wakeup.wait_until(lambda: next(looks), progress)
    assert progress.heartbeats() == [0, 4]
