"""Every setting refuses, by name, what it cannot be, before a process starts; what it can be survives JSON."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import workbench.api  # noqa: F401  # brings the learners that configurations may name
from workbench.core.agents.staging import resolve_device
from workbench.core.config import (
    Config,
    ConfigError,
    differences,
)
from workbench.core.envs.treasurehunt import TreasurehuntConfig
from workbench.core.settings import field_names
from workbench.runs.launch_rules import check_launch
from workbench.runs.presets import preset, presets
from workbench.runs.recovery.resume import safe_to_change

FIELDS = tuple(field_names(Config()))

# Lowest and highest accepted value of each number; None where there is no bound that a user could meet.
RANGES = {
    "seed": (0, 2**63 - 1),
    "epochs": (1, None),
    "world.height": (3, 1000),
    "world.width": (3, 1000),
    "world.num_agents": (1, None),
    "world.vision_radius": (1, 50),
    "world.max_turns": (1, 1_000_000),
    "world.spawn_prob": (0.0, 1.0),
    "world.gem_reward": (-1e6, 1e6),
    "world.wall_reward": (-1e6, 1e6),
    "world.num_worlds": (1, 65536),
    "agent.num_frames": (1, 65536),
    "agent.width": (1, 65536),
    "agent.num_cosines": (1, 65536),
    "replay.capacity": (1, None),
    "replay.window": (1, None),
    "replay.learning_starts": (1, None),
    "learning.batch_size": (1, 1_000_000),
    "learning.accumulate": (1, 1_000_000),
    "learning.target_interval": (1, 1_000_000),
    "learning.n_step": (1, 10_000),
    "agent.num_quantiles": (1, 4096),
    "agent.num_target_quantiles": (1, 4096),
    "agent.num_policy_quantiles": (1, 4096),
    "learning.learning_rate_end": (0.0, None),
    "learning.gamma": (0.0, 1.0),
    "learning.trace": (0.0, 1.0),
    "exploration.epsilon_start": (0.0, 1.0),
    "exploration.epsilon_end": (0.0, 1.0),
    "exploration.decay_epochs": (1, None),
    "pacing.updates_per_epoch": (1, 1_000_000),
    "pacing.publish_interval": (1, 1_000_000),
    "pacing.sync_interval": (1, 1_000_000),
    "pacing.max_ahead": (0.0, 1e6),
    "pacing.max_behind": (1.0, 1e6),
    "replay.max_age": (0, None),
    "evaluation.interval": (0, None),
    "evaluation.worlds": (1, 65536),
    "evaluation.final_worlds": (1, 65536),
    "processes.learners": (1, None),
    "processes.max_restarts": (0, 1000),
    "checkpoint.interval": (0, None),
    "checkpoint.keep": (0, 1000),
    "processes.threads": (1, 1024),
    "processes.time_slice_ms": (0.0, 100.0),
}
ABOVE_ZERO = {
    "learning.learning_rate": None,
    "learning.adam_eps": None,
    "agent.huber_kappa": None,
    "learning.grad_clip": None,
    "learning.reward_scale": None,
    "learning.tau": 1.0,
    "processes.start_timeout_s": None,
    "processes.stop_timeout_s": None,
    "processes.hang_timeout_s": None,
    "processes.restart_window_s": None,
}
TEXTS = {
    "device", "processes.acting_device", "processes.actor_death", "processes.learner_death",
    "learning.learning_rate_schedule", "learning.correction", "processes.start_method",
    "learning.precision", "learning.capture", "processes.matmul_precision",
}  # fmt: skip
SWITCHES = {"learning.double", "agent.noisy"}


def default(name):
    value = Config()
    for part in name.split("."):
        value = getattr(value, part)
    return value


def refusal(call):
    """The message of the ConfigError that a call ends in."""
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def replaced(name, value):
    return lambda: Config().replace(**{name: value})


# Single values


def test_every_field_has_its_rule_here():
    assert set(FIELDS) == set(RANGES) | set(ABOVE_ZERO) | TEXTS | SWITCHES


nothing_of_a_kind = st.one_of(
    st.none(), st.binary(max_size=3), st.lists(st.integers(), max_size=2), st.just({}), st.just(()), st.just(1j),
    st.just(object), st.builds(lambda: np.zeros(3)),
)  # fmt: skip
numbers_that_are_none = st.sampled_from([float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)])


def wrong_types(name):
    value = default(name)
    if name in SWITCHES:
        return st.one_of(nothing_of_a_kind, st.integers(), st.floats(), st.text())
    if name in TEXTS:
        return st.one_of(nothing_of_a_kind, st.booleans(), st.integers(), numbers_that_are_none)
    strange = st.one_of(nothing_of_a_kind, st.booleans(), st.text(max_size=3), numbers_that_are_none)
    return strange if isinstance(value, float) else st.one_of(strange, st.floats().filter(lambda x: x != x // 1))


@pytest.mark.parametrize("name", FIELDS)
@settings(max_examples=20)
@given(data=st.data())
def test_a_value_of_another_type_is_refused_by_field_and_value(name, data):
    value = data.draw(wrong_types(name))
    message = refusal(replaced(name, value))
    assert message.startswith(f"{name} is ")
    assert repr(value)[:200] in message
    assert "; it must be " in message


@pytest.mark.parametrize("name", FIELDS)
def test_a_number_too_long_to_print_is_refused_by_field(name):
    assert refusal(replaced(name, 10**5000)).startswith(f"{name} is an int too long to print; it must be ")


@pytest.mark.parametrize("name", RANGES)
@settings(max_examples=20)
@given(data=st.data())
def test_a_number_outside_its_range_is_refused_by_field_and_value(name, data):
    low, high = RANGES[name]
    if isinstance(low, int):
        outside = st.integers(-(2**62), low - 1)
        outside = outside if high is None else outside | st.integers(high + 1, 2**64)
    else:
        outside = st.floats(max_value=low, exclude_max=True, allow_infinity=False)
        outside = outside if high is None else outside | st.floats(high, exclude_min=True, allow_infinity=False)
    value = data.draw(outside)
    message = refusal(replaced(name, value))
    assert message.startswith(f"{name} is {value!r}; ")


@pytest.mark.parametrize("name", ABOVE_ZERO)
@settings(max_examples=20)
@given(data=st.data())
def test_a_number_that_must_be_above_zero_is_refused_at_zero_and_below(name, data):
    high = ABOVE_ZERO[name]
    outside = st.floats(max_value=0.0, allow_infinity=False)
    outside = outside if high is None else outside | st.floats(high, exclude_min=True, allow_infinity=False)
    value = data.draw(outside)
    assert refusal(replaced(name, value)).startswith(f"{name} is {value!r}; ")


LARGE = Config().replace(
    epochs=2**40,
    world={"height": 20, "width": 20},
    replay={"capacity": 2**62, "window": 2**61, "learning_starts": 1_000_000},
    learning={"batch_size": 1_000_000},
)
BOUND_TO_OTHERS = {
    "epochs",
    "world.height",
    "world.width",
    "replay.capacity",
    "replay.window",
    "replay.learning_starts",
}


@pytest.mark.parametrize("name", sorted(RANGES.keys() - BOUND_TO_OTHERS))
def test_both_ends_of_a_range_are_accepted(name):
    for value in RANGES[name]:
        assert value is None or Config.from_dict(LARGE.replace(**{name: value}).to_dict())


@pytest.mark.parametrize("name", ["device", "processes.acting_device"])
@given(
    text=st.text(max_size=8)
    | st.sampled_from(["gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cpu:0", "mps:0", "cpu\n"])
)
def test_a_device_that_no_machine_has_is_refused(name, text):
    assume(text not in ("auto", "cpu", "mps") and not re.fullmatch(r"cuda(:[0-9]+)?", text))
    assert refusal(replaced(name, text)).startswith(f"{name} is {text!r}; it must be ")


def test_a_device_that_this_machine_does_not_have_is_refused_with_what_it_has():
    message = refusal(lambda: resolve_device("cuda:999"))
    assert "cuda:999" in message and "cpu" in message


def test_whole_numbers_pass_as_floats_and_become_floats():
    config = Config().replace(**{"learning.gamma": 1})
    assert config.learning.gamma == 1.0 and isinstance(config.learning.gamma, float)


# Anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | numbers_that_are_none,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
GROUPS = tuple(name for name in Config().to_dict() if isinstance(Config().to_dict()[name], dict))


@given(changes=st.dictionaries(st.sampled_from(FIELDS + GROUPS) | st.text(max_size=8), json_values, max_size=4))
def test_whatever_is_asked_for_is_a_configuration_or_a_config_error(changes):
    try:
        config = Config().replace(**changes)
    except ConfigError:
        return
    assert Config.from_dict(json.loads(config.to_json())) == config


@given(data=json_values)
def test_whatever_is_loaded_is_a_configuration_or_a_config_error(data):
    try:
        config = Config.from_dict(data)
    except ConfigError:
        return
    assert isinstance(config, Config)


# JSON


@st.composite
def configs(draw):
    """Valid configurations that differ from the default in most fields."""
    turns, worlds = draw(st.integers(1, 200)), draw(st.integers(1, 50))
    batch = draw(st.integers(1, 64)) * 4
    starts = draw(st.integers(batch, 4 * batch))
    window = draw(st.integers(starts, 10 * starts))
    capacity = draw(st.integers(window, 3 * window))
    agents = draw(st.integers(1, 9))
    return Config().replace(
        **{
            "seed": draw(st.integers(0, 2**63 - 1)),
            "epochs": draw(st.integers(-(-starts // (turns * worlds)), 5000)),
            "device": draw(st.sampled_from(["auto", "cpu", "cuda", "cuda:3", "mps"])),
            "world.num_agents": agents, "world.max_turns": turns, "world.num_worlds": worlds,
            "world.spawn_prob": draw(st.floats(0, 1)), "world.wall_reward": draw(st.floats(-100, 100)),
            "agent.noisy": draw(st.booleans()),
            "replay.capacity": capacity, "replay.window": window, "replay.learning_starts": starts,
            "learning.batch_size": batch, "learning.accumulate": draw(st.sampled_from([1, 2, 4])),
            "learning.learning_rate_schedule": draw(st.sampled_from(["constant", "linear", "cosine"])),
            "learning.adam_eps": draw(st.floats(1e-12, 1)), "learning.gamma": draw(st.floats(0, 1)),
            "pacing.max_ahead": draw(st.floats(0, 100)),
            "processes.learners": draw(st.sampled_from(["auto", "per_agent"]) | st.integers(1, agents)),
        }
    )  # fmt: skip


@given(config=configs())
def test_a_configuration_survives_json(config):
    again = Config.from_dict(json.loads(config.to_json()))
    assert again == config and again.to_json() == config.to_json()
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(config=configs())
def test_counts_of_a_run_agree_with_counting_it_out(config):
    steps, learning = config.max_turns * config.num_worlds, 0
    for epoch in range(min(config.epochs, 300)):
        learning += (epoch + 1) * steps >= config.replay.learning_starts
    if config.epochs <= 300:
        assert config.learning_epochs == learning
        assert config.total_updates == learning * config.pacing.updates_per_epoch
    assert config.replay_ratio * steps == pytest.approx(config.pacing.updates_per_epoch)


def test_strings_of_numpy_are_strings():
    schedule, learners = np.array(["cosine", "auto"])
    config = Config().replace(**{"learning.learning_rate_schedule": schedule, "processes.learners": learners})
    assert config.learning.learning_rate_schedule == "cosine" and type(config.processes.learners) is str


@pytest.mark.parametrize("name", [5, None, 1.5, []])
def test_a_name_that_is_none_is_refused(name):
    assert refusal(replaced("agent.name", name)).startswith(f"agent is {name!r}; it must be a AgentConfig, the name of")


def test_missing_fields_take_their_defaults():
    assert Config.from_dict({"world": {"num_agents": 2}}) == Config().replace(**{"world.num_agents": 2})


@pytest.mark.parametrize("data", [[], 3, None, "x"])
def test_what_is_no_object_of_fields_is_refused(data):
    assert refusal(lambda: Config.from_dict(data)).startswith("the configuration is ")


# Names


@pytest.mark.parametrize("name", FIELDS)
def test_a_misspelt_name_is_refused_with_the_nearest_ones(name):
    for misspelt in (name[:-1], name[:-2] + name[-1], name.replace("_", "-") + "s"):
        for make in (replaced(misspelt, 1), lambda misspelt=misspelt: Config.from_dict(nested(misspelt, 1))):
            message = refusal(make)
            assert f"{misspelt!r}; did you mean " in message and name in message.partition("did you mean")[2]


def test_a_setting_that_another_world_has_is_not_named_as_its_own_remedy():
    message = refusal(lambda: Config().replace(world="gymnasium:CartPole-v1", **{"world.num_agents": 3}))
    assert "no setting 'world.num_agents'; did you mean world.num_worlds" in message


@pytest.mark.parametrize("name", GROUPS)
def test_a_misspelt_group_is_refused_with_the_nearest_one(name):
    for misspelt in (name[:2] + name[3:], f"{name}_config"):
        assert f"did you mean {name}" in refusal(replaced(misspelt, {})).replace(" or ", ", did you mean ")


def nested(dotted, value):
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("name", ["world", "world.num_agents.x", "world.", ".world", "", "world..height", "seed.x"])
def test_a_name_that_leads_nowhere_is_refused(name):
    assert refusal(replaced(name, 3))


# Copies


def test_replace_leaves_the_original_alone_and_takes_every_form_of_a_name():
    config, wanted = Config(), TreasurehuntConfig(num_agents=3, max_turns=20)
    dotted = config.replace(**{"world.num_agents": 3, "world.max_turns": 20})
    assert dotted == config.replace(world=wanted) == config.replace(world={"num_agents": 3, "max_turns": 20})
    assert config.replace(**{"world.max_turns": 20, "world": TreasurehuntConfig(num_agents=3)}).world == wanted
    assert config == Config() and config.num_agents == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3


# Combinations

BASE = Config().replace(
    epochs=120,
    world={"num_agents": 5, "max_turns": 50},
    replay={"capacity": 7500, "window": 6000, "learning_starts": 500},
    learning={"batch_size": 64},
)


def changed(name, value):
    return lambda: BASE.replace(**{name: value})


def test_agents_must_fit_into_the_world():
    assert BASE.replace(**{"world.height": 3, "world.width": 4, "world.num_agents": 2})
    message = refusal(lambda: BASE.replace(**{"world.height": 3, "world.width": 4, "world.num_agents": 3}))
    assert message.startswith("world.num_agents is 3; the 3 x 4 world has 2 inner cells")


def test_there_must_be_agents():
    assert refusal(changed("world.num_agents", 0)).startswith("world.num_agents is 0; it must be at least 1 agent")


def test_the_first_batch_must_be_there_when_learning_starts():
    assert BASE.replace(**{"learning.batch_size": 500})
    message = refusal(changed("learning.batch_size", 501))
    assert message.startswith("learning.batch_size is 501;") and "replay.learning_starts = 500" in message


def test_a_batch_is_made_of_whole_micro_batches():
    message = refusal(changed("learning.accumulate", 3))
    assert message.startswith("learning.accumulate is 3;") and "learning.batch_size = 64" in message


def test_the_window_must_fit_into_the_ring_and_learning_starts_into_the_window():
    assert "replay.capacity = 7500" in refusal(changed("replay.window", 7501))
    assert "replay.window = 6000" in refusal(changed("replay.learning_starts", 6001))


def test_a_run_that_never_learns_is_refused_with_the_rows_that_it_collects():
    assert BASE.replace(epochs=10).learning_epochs == 1
    message = refusal(changed("epochs", 9))
    assert message.startswith("replay.learning_starts is 500; the run collects only 450 rows")


def test_there_cannot_be_more_learners_than_agents():
    assert BASE.replace(**{"processes.learners": 5}).num_learners == 5
    message = refusal(changed("processes.learners", 6))
    assert message.startswith("processes.learners is 6;") and "the world has 5" in message


def test_learners_are_shared_out_by_name_or_number():
    config = BASE.replace(**{"world.num_agents": 3})
    assert config.num_learners == 3
    assert 1 <= config.replace(**{"processes.learners": "auto"}).num_learners <= 3
    assert config.replace(**{"processes.learners": 2}).num_learners == 2
    assert config.replace(**{"processes.learners": "fused"}).num_learners == 1
    assert config.replace(**{"processes.learners": "fused:2"}).num_learners == 2


@pytest.mark.parametrize(
    "learners", ["fused:", "fused:0", "fused:-1", "fused:two", "fused:1.5", "auto:2", "per_agent:2"]
)
def test_a_number_of_processes_stands_behind_a_learner_that_updates_at_once(learners):
    message = refusal(changed("processes.learners", learners))
    assert message.startswith(f"processes.learners is {learners!r}; it must be a number") and "fused:2" in message


def test_there_cannot_be_more_fused_processes_than_agents():
    message = refusal(changed("processes.learners", "fused:6"))
    assert message.startswith("processes.learners is 'fused:6';") and "the world has 5" in message


# Launches


@given(
    turns=st.integers(1, 40), worlds=st.integers(1, 5), window=st.integers(64, 2000), lag=st.none() | st.integers(0, 30)
)
def test_the_ring_must_hold_the_window_and_what_the_lag_lets_the_actor_write(turns, worlds, window, lag):
    steps, ahead = turns * worlds, 1 if lag is None else lag
    epochs = next(n for n in range(10**6) if keeps_its_window(n, steps, window, ahead))
    needed = epochs * steps
    config = Config().replace(
        epochs=10**6,
        world={"max_turns": turns, "num_worlds": worlds},
        replay={"learning_starts": 64, "window": window, "capacity": max(needed, window)},
        learning={"batch_size": 1},
    )
    check_launch(config, "multiprocess", lag)
    if needed - 1 >= window:
        short = config.replace(**{"replay.capacity": needed - 1})
        message = refusal(lambda: check_launch(short, "multiprocess", lag))
        assert message.startswith(f"replay.capacity is {needed - 1}; it must be at least {needed} ")
        assert "and 1 epoch of " in message if lag in (1, None) else f" and {lag} epochs of " in message


def keeps_its_window(epochs, steps, window, ahead):
    """Whether a ring of this many epochs still has the window of an epoch when ``ahead`` more have begun."""
    learnt = 1000  # any epoch late enough for a full window
    end, begun = (learnt + 1) * steps, learnt + 1 + ahead
    slots = {number // steps % epochs for number in range(end - window, end)} if epochs else set()
    overwritten = {epoch % epochs for epoch in range(learnt + 1, begun)} if epochs else {0}
    return epochs * steps >= window and not slots & overwritten and len(slots) >= -(-window // steps)


@pytest.mark.parametrize("lag", [-1, 0.5, True, "1", float("nan"), [1]])
def test_a_lag_that_is_no_number_of_epochs_is_refused(lag):
    assert refusal(lambda: check_launch(Config(), "multiprocess", lag)).startswith(f"lag is {lag!r}; ")


@pytest.mark.parametrize("mode", ["parallel", "", None, 1, ["sequential"]])
def test_an_unknown_mode_is_refused(mode):
    assert refusal(lambda: check_launch(Config(), mode, 1)).startswith(f"mode is {mode!r}; ")


def test_a_sequential_run_cannot_run_free():
    assert "multiprocess" in refusal(lambda: check_launch(Config(), "sequential", None))


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("lag", [0, 1, 3, None])
def test_every_preset_goes_with_every_lag_of_the_comparison(name, lag):
    check_launch(preset(name), "multiprocess", lag)


@pytest.mark.parametrize("name", ["fast", "", None, 3, ["quick"]])
def test_an_unknown_preset_is_refused_with_the_known_ones(name):
    assert refusal(lambda: preset(name)).endswith(", ".join(presets()))


# What a resumed run may change


@given(one=configs(), other=configs())
def test_differences_name_every_setting_that_differs_and_nothing_else(one, other):
    found = differences(one, other)
    assert differences(one, one) == {}
    assert {name: pair[::-1] for name, pair in found.items()} == differences(other, one)
    assert one.replace(**{name: pair[1] for name, pair in found.items()}) == other


def test_what_leaves_the_work_done_so_far_as_it_is_is_safe_to_change():
    safe = {name for name in FIELDS if safe_to_change(name)}
    assert {name.split(".")[0] for name in safe} == {
        "epochs", "device", "evaluation", "checkpoint", "processes", "pacing", "learning", "exploration",
    }  # fmt: skip
    assert "learning.learning_rate" in safe and "learning.gamma" not in safe and "seed" not in safe
    assert not safe_to_change("epochs_more") and not safe_to_change("evaluation") and not safe_to_change("")


@pytest.mark.parametrize("lag", [np.int64(1), np.float32(1), 1.0])
def test_a_lag_is_taken_as_the_whole_number_that_it_is(lag):
    taken = check_launch(preset("tiny"), "multiprocess", lag)
    assert taken == 1 and type(taken) is int
