"""The audit names the stage of a mistake that nobody listed, and finds nothing in sound runs, however they are set."""

import dataclasses
import functools

import pytest

import workbench as wb
from tests.process.test_survival import wait_until
from tests.process.unlisted import CART_POLE, FIRST_CHANNELS, LARGE_PICTURES, MISTAKES, PICTURES
from tests.unit.own_agent import RecentErrors, WarmConfig
from tests.unit.own_policy import DiceConfig
from workbench.core.train.hooks import Hook
from workbench.diagnose.audit import pack, unpack
from workbench.diagnose.doctor import evidence_of, examine
from workbench.diagnose.faults.fault import override

CONFIG = wb.preset("tiny").replace(**{
    "device": "cpu", "epochs": 6, "evaluation.interval": 0, "evaluation.final_worlds": 2,
})  # fmt: skip
# Settings that a sound run may have and few runs do; "lag" is that of the launch.
UNUSUAL = {
    "one agent in 3 x 3 cells": {"world.num_agents": 1, "world.height": 3, "world.width": 3},
    "64 worlds": {"world.num_worlds": 64, "world.max_turns": 5, "replay.capacity": 3600, "replay.window": 3200},
    "gamma 0, epsilon 0": {"learning.gamma": 0.0, "exploration.epsilon_start": 0.0, "exploration.epsilon_end": 0.0},
    "10 steps, noisy": {"learning.n_step": 10, "agent.noisy": True, "learning.accumulate": 4},
    "one row, one step": {"learning.batch_size": 1, "learning.n_step": 1, "learning.target_interval": 100},
    "no gems": {"world.spawn_prob": 0.0, "learning.reward_scale": 0.1, "exploration.epsilon_end": 1.0},
    "shaped": {"world": "treasurehunt_sparse", "world.shaping": 2.5, "world.max_gems": 3, "world.num_worlds": 2,
               "replay.capacity": 800, "replay.window": 400, "replay.learning_starts": 80},
    "cart poles": {**CART_POLE, "world.num_worlds": 2, "replay.capacity": 800, "replay.window": 400,
                   "replay.learning_starts": 80, "replay.sampler": "prioritised", "learning.correction": "cut"},
    "three that spread": {"world": "pettingzoo:mpe2.simple_spread_v3", "world.max_turns": 30},
    "retrace": {"agent": "dqn", "learning.correction": "retrace", "agent.width": 32},
    "prioritised": {"replay.sampler": "prioritised", "world.spawn_prob": 1.0},
    "one row drawn again and again": {"replay.sampler": "prioritised", "replay.sampler.alpha": 1.0, "replay.window": 40,
                                      "world.gem_reward": 1e4, "learning.batch_size": 8},
    "many weights": {"agent": "dqn", "agent.width": 3000, "world.num_agents": 1, "pacing.updates_per_epoch": 2},
    "lag 5": {"lag": 5},
    "free": {"lag": None},
    "free, long": {"lag": None, "epochs": 60, "evaluation.interval": 5, "evaluation.worlds": 2},
}  # fmt: skip


def diagnosis(out, hooks=(), mode="sequential", lag=1, **changes):
    named = {name: changes[name] for name in ("agent", "world", "replay.sampler") if name in changes}
    with wb.launch(CONFIG.replace(**named).replace(**changes), mode, lag, out=out, hooks=hooks) as run:
        run.wait(120)
    return run.diagnose()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_that_stands_in_no_list_is_found_at_its_stage(name, tmp_path):
    mistake, stage = MISTAKES[name]
    found = diagnosis(tmp_path, [mistake()], **mistake.changes)
    wrong = [check for check in found.chain if check.verdict == "fail"]
    assert wrong and wrong[0].name == f"chain.{stage}", found.text
    assert found.exit_code == 1
    assert found.conclusion.startswith(f"The first stage that disagrees: {stage} (sequential, agent ")
    assert found.text.splitlines()[2].startswith("The first stage that disagrees: ")


@pytest.mark.parametrize(("mode", "device"), [("sequential", "cpu"), ("sequential", "auto"), ("multiprocess", "auto")])
def test_every_stage_of_a_sound_run_is_examined(mode, device, tmp_path):
    """On whatever device: by default it is chosen for the run, and what was kept names that one."""
    found = diagnosis(tmp_path, mode=mode, **{"replay.sampler": "prioritised", "device": device})
    assert {check.verdict for check in found.chain} == {"pass"}
    assert found.conclusion.endswith("records agree with the reference.")


@pytest.mark.parametrize("changes", [
    {**PICTURES, "agent.noisy": True, "replay.sampler": "prioritised"},
    {**LARGE_PICTURES, "learning.double": False},
    {**PICTURES, "agent": "dqn", "learning.correction": "cut"},
    {**FIRST_CHANNELS, "learning.correction": "retrace", "replay.sampler": "prioritised"},
])  # fmt: skip
def test_a_sound_network_of_images_is_examined_as_any_other(changes, tmp_path):
    """All but the draws of the environment, which are its own."""
    found = diagnosis(tmp_path, **changes)
    assert {check.verdict for check in found.chain if check.name != "chain.world's draws"} == {"pass"}, found.text
    assert found.failed == () and found.conclusion.endswith(" Not examined: world's draws.")


@pytest.mark.parametrize(("changes", "left_out"), [
    (PICTURES, ["world's draws", "forward", "values", "target", "loss", "gradient"]), ({}, []),
])  # fmt: skip
def test_on_a_card_only_the_products_of_convolutions_are_too_coarse_to_be_examined(changes, left_out, tmp_path):
    with wb.launch(CONFIG.replace(world=changes.get("world", CONFIG.world)).replace(**changes), out=tmp_path) as run:
        run.wait(120)
    for path in (run.folder.path / "audit").iterdir():
        if path.name.startswith(("turns", "update")):
            path.write_bytes(pack({**unpack(path.read_bytes()), "device": "cuda"}))
    chain = {check.name.partition(".")[2]: check.verdict for check in wb.load(run.folder.path).diagnose().chain}
    assert [name for name, verdict in chain.items() if verdict == "does not apply"] == left_out
    assert set(chain.values()) <= {"pass", "does not apply"}


@pytest.mark.parametrize("name", UNUSUAL)
def test_nothing_is_found_in_a_sound_run_with_unusual_settings(name, tmp_path):
    changes = dict(UNUSUAL[name])
    mode = "multiprocess" if "lag" in changes else "sequential"
    found = diagnosis(tmp_path, mode=mode, **changes)
    assert [(check.name, check.sentence) for check in found.failed] == []
    assert "All stages of" in found.conclusion


class SampleLate(Hook):
    """Lets the actor commit some epochs between the call of the first draws and their look at the replay."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_trainer(self, trainer, parts):
        for replay in trainer.replays.values():
            override(replay, "sample", functools.partial(self.late, replay, parts.config))

    def late(self, replay, config, sample, sampler, out, end=None):
        due = min(replay.count // config.steps_per_epoch + self.epochs, config.epochs) * config.steps_per_epoch
        wait_until(lambda: replay.count >= due)
        return sample(sampler, out, end)


@pytest.mark.parametrize(("epochs", "changes"), [(1, {}), (2, {"replay.capacity": 220, "epochs": 60})])
def test_rows_that_are_committed_or_overwritten_while_a_batch_is_drawn_are_no_mistake(epochs, changes, tmp_path):
    found = diagnosis(tmp_path, [SampleLate(epochs)], "multiprocess", None, **changes, **{"pacing.max_behind": 100.0})
    assert [(check.name, check.sentence) for check in found.failed] == []


def test_a_sampler_of_ones_own_needs_nothing_for_the_audit(tmp_path):
    """Neither a stream by the name of ours nor what it never does; the other stages are examined all the same."""
    found = diagnosis(tmp_path, **{"replay.sampler": RecentErrors})
    verdicts = {check.name: check.verdict for check in found.chain}
    assert set(verdicts.values()) == {"pass", "does not apply"} and verdicts["chain.target"] == "pass", found.text


def test_an_agent_that_makes_its_steps_smaller_itself_is_not_said_to_step_too_short(tmp_path):
    found = diagnosis(tmp_path, agent=WarmConfig)
    assert [(check.name, check.sentence) for check in found.failed] == []
    assert (found["chain.adam"].verdict, found["chain.clip"].verdict) == ("does not apply", "pass"), found.text


def test_a_resumed_and_changed_run_is_judged_by_what_it_was_made_with(tmp_path):
    with wb.launch(
        CONFIG.replace(**{"checkpoint.interval": 2, "learning.learning_rate_schedule": "constant"}),
        "multiprocess",
        1,
        out=tmp_path,
    ) as run:
        run.wait(120)
    with wb.resume(run.folder.path, epochs=10, **{"learning.learning_rate": 9.5e-4}) as later:
        later.wait(120)
    found = later.diagnose()
    assert [(check.name, check.sentence) for check in found.chain if check.verdict == "fail"] == []
    assert "All stages of" in found.conclusion


def test_a_run_that_starts_from_another_ones_weights_may_begin_with_another_target_network(tmp_path):
    with wb.launch(CONFIG, "sequential", 1, out=tmp_path) as earlier:
        earlier.wait(120)
    half = earlier.weights.shape[1] // 2
    assert (earlier.weights[:, :half] != earlier.weights[:, half:]).any()
    with wb.launch(CONFIG, "sequential", 1, weights=earlier, out=tmp_path) as run:
        run.wait(120)
    assert [(check.name, check.sentence) for check in run.diagnose().failed] == []


def test_evidence_that_is_damaged_is_left_out(tmp_path):
    with wb.launch(CONFIG, "sequential", 1, out=tmp_path) as run:
        run.wait(120)
    kept = sorted((run.folder.path / "audit").iterdir())
    kept[0].write_bytes(b"no evidence")
    kept[1].write_bytes(kept[1].read_bytes()[:300])
    kept[2].write_bytes(kept[2].read_bytes().replace(b"'<f4'", b"'|O8'"))
    for at, header in enumerate(
        (b"(" * 4000, b"-" * 5000 + b"1", b"{'descr': '<f8', 'fortran_order': False, 'shape'"), 3
    ):
        kept[at].write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n")
    kept[6].write_bytes(pack({**unpack(kept[6].read_bytes()), "settings": (1, 2)}))
    found = wb.load(run.folder.path).diagnose()
    assert found.failed == () and f"All stages of {len(kept) - 7} records" in found.conclusion


def test_a_unit_that_rounding_switches_is_no_mistake(tmp_path):
    """In this run a unit of the network is so close to 0 that float32 passes it on and float64 does not."""
    changes = {"learning.correction": "retrace", "agent.width": 32, "agent.dueling": True, "seed": 1, "epochs": 8}
    assert diagnosis(tmp_path, agent="dqn", **changes).failed == ()


DICE = {"agent": DiceConfig, "epochs": 10, "exploration.epsilon_end": 0.5, "world.num_worlds": 2,
        "replay.capacity": 800, "replay.window": 400, "replay.learning_starts": 80}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agent.times": 0.5}, "actions other than the greedy one, "),
        ({"agent.times": 1.5}, "actions other than the greedy one, "),
        ({"agent.kinds": 3}, "action 3 was never chosen in "),
    ],
)
def test_a_policy_whose_random_numbers_nobody_knows_must_explore_as_often_as_epsilon_says(changes, said, tmp_path):
    found = diagnosis(tmp_path, **DICE, **changes)
    assert found["chain.choice"].verdict == "fail" and said in found["chain.choice"].sentence, found.text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"exploration.epsilon_start": 0.0, "exploration.epsilon_end": 0.0},
        {"exploration.epsilon_end": 1.0},
        {"agent.times": 0.5, "agent.tells": "nothing"},
        {"agent.times": 0.5, "agent.noisy": True},
        {"agent.times": 0.9, "world.max_turns": 5, "world.num_worlds": 1, "replay.learning_starts": 20},
    ],
)
def test_nothing_is_said_of_its_exploration_where_it_is_sound_or_where_that_cannot_be_told(changes, tmp_path):
    """Where the policy does not tell what is greedy, where layer noise explores besides, and in too few turns."""
    found = diagnosis(tmp_path, **DICE | changes)
    assert [(check.name, check.sentence) for check in found.failed] == []
    told = found["chain.choice"].verdict
    assert told == ("does not apply" if "agent.tells" in changes or "agent.noisy" in changes else "pass")


@pytest.mark.parametrize("seed", range(3))
def test_the_rounding_of_small_errors_between_large_values_is_no_mistake(seed, tmp_path):
    """With one row and nothing to earn, errors are small beside the values that they are the difference of."""
    changes = {"learning.batch_size": 1, "learning.gamma": 0.0, "world.spawn_prob": 0.0, "world.wall_reward": 0.0}
    assert diagnosis(tmp_path, seed=100 + seed, epochs=12, **changes).failed == ()


def test_updates_that_a_lost_learner_had_not_kept_are_made_again_without_a_mistake(tmp_path):
    """Free-running, under a later epoch: with the same random numbers as before, as they are the same updates."""
    with wb.launch(CONFIG, "multiprocess", None, out=tmp_path) as run:
        run.wait(120)
    first, *_, last = sorted((run.folder.path / "audit").glob("update-0-*"))
    last.write_bytes(first.read_bytes())
    evidence, streams = evidence_of(run), {"chain.sampling stream", "chain.learning stream"}
    assert streams <= {check.name for check in examine(evidence).failed}
    assert not streams & {check.name for check in examine(dataclasses.replace(evidence, resumed=True)).failed}


def test_the_rounding_of_a_small_loss_is_no_mistake(tmp_path):
    """Nothing to earn, and no discount: values run after each other, and the errors between them are far smaller."""
    changes = {"learning.batch_size": 1, "learning.gamma": 1.0, "world.spawn_prob": 0.0, "world.wall_reward": 0.0}
    changes |= {"learning.tau": 1.0, "agent.width": 4, "agent.num_cosines": 1}
    assert diagnosis(tmp_path, epochs=30, **changes).failed == ()


@pytest.mark.parametrize(
    ("changes", "changed", "stage"),
    [
        ({"replay.sampler": "prioritised"}, {"pacing.updates_per_epoch": 16}, "priorities"),
        ({"agent": "dqn", "learning.correction": "retrace"}, {"exploration.epsilon_end": 0.6}, "target"),
    ],
)
def test_a_setting_changed_under_way_is_not_due_where_sampler_and_agent_keep_to_that_of_the_launch(
    changes, changed, stage, tmp_path
):
    """The exponent of the weights grows by the updates of the launch, and Retrace keeps to its last epsilon."""
    config = CONFIG.replace(agent=changes.get("agent", CONFIG.agent)).replace(**changes, epochs=40)
    with wb.launch(config, "sequential", 1, out=tmp_path) as run:
        run.pause()
        run.change(**changed)
        run.proceed()
        run.wait(120)
    found = run.diagnose()
    assert found[f"chain.{stage}"].verdict == "pass" and found.failed == (), found.text
