"""Environments of Gymnasium and PettingZoo as worlds: how they are named, refused, played and learned from."""

import dataclasses
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")
pytest.importorskip("pettingzoo")

import workbench as wb
from tests import batches
from tests.unit import inprocess, own_environments
from workbench.runs.rows import rows_of as window_of
from workbench.zoo import environment, gymnasium
from workbench.zoo.environment import EnvironmentConfig

OWN = "tests.unit.own_environments"
SMALL = {
    "epochs": 4, "device": "cpu", "world.max_turns": 20, "world.num_worlds": 2, "replay.learning_starts": 40,
    "agent.width": 8, "evaluation.interval": 0, "evaluation.final_worlds": 2,
}  # fmt: skip
TINY = wb.preset("tiny")


def of(world, **arguments):
    """A configuration of a world."""
    return TINY.replace(world=world, **SMALL, **{f"world.{name}": value for name, value in arguments.items()})


def rows_of(config, agent=0):
    """Every valid row of a run, stacked, with its columns."""
    parts = inprocess.run(config, 0)
    contents = window_of(parts.replays[agent])
    rows = {name: array[contents["valid"]] for name, array in contents.items()}
    batch = batches.zeros(len(rows["number"]), config.agent.num_frames, config.spec.agents[agent])
    batch.number[:] = rows["number"]
    parts.replays[agent].read(batch)
    return batch, rows


# Names


@pytest.mark.parametrize(
    ("world", "agents"),
    [
        ("gymnasium:CartPole-v1", [((4,), "float32", 2)]),
        ("gymnasium:FrozenLake-v1", [((16,), "int8", 4)]),
        (f"gymnasium:{OWN}:Walk", [((2,), "float32", 3)]),
        ("pettingzoo:classic/rps-v2", [((4,), "int8", 3)] * 2),
        ("pettingzoo:pettingzoo.classic.rps_v2", [((4,), "int8", 3)] * 2),
        ("pettingzoo:mpe2.simple_speaker_listener_v4", [((3,), "float32", 3), ((11,), "float32", 5)]),
        (f"pettingzoo:{OWN}", [((2,), "float32", 2), ((50,), "int8", 3), ((2, 1), "uint8", 4)]),
        (f"pettingzoo:{OWN}:Leaving", [((2,), "float32", 2), ((50,), "int8", 3), ((2, 1), "uint8", 4)]),
    ],
)
def test_a_world_is_named_by_its_library_and_its_id_and_read_back(world, agents):
    config = of(world)
    assert [(agent.shape, agent.dtype, agent.num_actions) for agent in config.spec.agents] == agents
    assert config.world.title == world and config.world.unseeded() == ""
    assert wb.Config.from_dict(config.to_dict()) == config
    assert hash(config) == hash(of(world))
    assert config.replace(**{"world.num_worlds": 3}).world.env_id == config.world.env_id


def test_arguments_of_the_environment_are_a_mapping_of_plain_values():
    config = of(f"gymnasium:{OWN}:Walk", env_args={"length": 3, "cut_off": True})
    assert wb.Config.from_dict(config.to_dict()) == config != of(f"gymnasium:{OWN}:Walk")
    assert config.replace(**{"world.env_args.length": 5}).world.env_args == {"length": 5, "cut_off": True}
    with pytest.raises(wb.ConfigError, match=r"world.env_args is .*; it must hold what JSON can hold"):
        of(f"gymnasium:{OWN}:Walk", env_args={"length": {1}})


@pytest.mark.parametrize(
    ("world", "why"),
    [
        ("gymnasium:Pendulum-v1", r"acts in Box\(.*choose one of .*make its actions Discrete|wrapper"),
        (f"gymnasium:{OWN}:Steering", "acts in Box"),
        (f"gymnasium:{OWN}:Talking", "sees told: Text.*leave it out with world.observation_keys"),
        ("gymnasium:CartPole-v7", "cannot be made: VersionNotFound"),
        ("gymnasium:nowhere.at_all:X-v0", "nowhere.at_all cannot be imported"),
        (
            "pettingzoo:spread_v3",
            "'pettingzoo:spread_v3'.* cannot be imported.*Write its whole name.*mpe2.simple_spread_v3",
        ),
        ("pettingzoo:classic/connect_four-v3", "one after the other.*Adding a world"),
        ("pettingzoo:classic/nothing-v0", "cannot be made: NameNotFound"),
        (f"gymnasium:{OWN}:parallel_env", "is a class of an environment, or an id .*, never a function"),
        (f"pettingzoo:{OWN}:nothing", "is a class of an environment, or an id .*, never a function"),
        ("treasurehunt:CartPole-v1", "cannot be imported"),
        ("gymnasium:", "world is 'gymnasium:', which cannot be imported"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(world, why):
    with pytest.raises(wb.ConfigError, match=why):
        of(world)


def test_entries_of_an_observation_can_be_left_out():
    both = of(f"gymnasium:{OWN}:Talking", observation_keys=("place", "kind"))
    assert both.spec.agents[0].shape == (5,) and both.spec.agents[0].dtype == "float32"
    one = of(f"gymnasium:{OWN}:Talking", observation_keys=("place",))
    batch, rows = rows_of(one)
    assert (batch.s_tm1[:, -1, 1] < 5).all() and len(rows["number"]) > 40
    with pytest.raises(wb.ConfigError, match="has no such keys"):
        of(f"gymnasium:{OWN}:Talking", observation_keys=("smell",))


@pytest.mark.parametrize(
    ("space", "shows", "told"),
    [
        ("bytes", "np.array([300, 0])", r"array\(\[300, +0\]\), which uint8 cannot hold"),
        ("bytes", "[256, 0]", r"\[256, 0\], which uint8 cannot hold"),
        ("bytes", "np.array([-1, 0])", "which uint8 cannot hold"),
        ("bytes", "np.array([0.5, 0])", "which uint8 cannot hold"),
        ("bytes", "np.array([np.nan, 0])", "which uint8 cannot hold"),
        ("wide", "np.array([2.0**70, 0])", "which int64 cannot hold"),
        ("both", "{'bytes': np.array([300, 0]), 'choice': 1}", r"array\(\[300, +0\]\), which uint8 cannot hold"),
        ("both", "{'bytes': np.array([0.5, 0]), 'choice': 1}", "which uint8 cannot hold"),
        ("choice", "-2", r"sees -2, which is not in Discrete\(5, start=-1\)"),
        ("choice", "4", r"sees 4, which is not in Discrete"),
        ("choices", "(-1, np.array([0, 1]))", r"sees -1, which is not in Discrete\(3\)"),
        ("choices", "(0, np.array([0, 2]))", r"which is not in MultiDiscrete"),
    ],
)
def test_an_observation_that_its_space_does_not_hold_is_refused_by_value_and_never_changed(space, shows, told):
    config = of(f"gymnasium:{OWN}:Odd", env_args={"space": space, "shows": shows})
    world = config.world.make(np.random.default_rng(0))
    world.act(0, np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="return what the space says") as refused:
        world.end_turn()
    assert re.search(f"^gymnasium:{OWN}:Odd sees .*", str(refused.value)) and re.search(told, str(refused.value))


@pytest.mark.parametrize(
    ("space", "shows", "stored"),
    [
        ("bytes", "np.array([255, 0])", [255, 0]), ("bytes", "[7.0, 8.0]", [7, 8]), ("wide", "[2**62, 1]", [2**62, 1]),
        ("swapped", "np.array([7, -8], '>f4')", [7, -8]), ("flags", "np.array([1, 0], np.uint8)", [1, 0]),
        ("choice", "np.int64(-1)", [1, 0, 0, 0, 0]), ("choices", "(2, np.array([1, 0]))", [0, 0, 1, 0, 1, 1, 0]),
    ],
)  # fmt: skip
def test_an_observation_of_another_dtype_is_stored_exactly(space, shows, stored):
    world = of(f"gymnasium:{OWN}:Odd", env_args={"space": space, "shows": shows}).world.make(np.random.default_rng(0))
    world.act(0, np.zeros(2, np.int64))
    world.end_turn()
    assert world.observe(0).tolist() == [stored] * 2 and world.observe(0).dtype.isnative


@pytest.mark.parametrize(("space", "greatest"), [("flags", 1.0), ("bytes", 1 / 255)])
def test_bytes_are_scaled_as_pixels_only_where_their_space_reaches_to_255(space, greatest):
    config = of(f"gymnasium:{OWN}:Odd", env_args={"space": space, "shows": "np.array([1, 0], np.uint8)"})
    world = config.world.make(np.random.default_rng(0))
    world.act(0, np.zeros(2, np.int64))
    world.end_turn()
    network = config.replace(**{"agent.num_frames": 1}).agent.network(config.spec.agents[0])
    assert network.encode(torch.from_numpy(world.observe(0)[:, None])).max() == pytest.approx(greatest)


@pytest.mark.parametrize(
    ("space", "numbers"), [("nothing", "0"), ("empty", "0"), ("endless", "1,099,511,627,776")]
)  # fmt: skip
def test_an_observation_of_no_numbers_or_of_too_many_is_refused(space, numbers):
    with pytest.raises(wb.ConfigError, match=rf"which is {numbers} numbers; agents here see 1 to 16,777,216: register"):
        of(f"gymnasium:{OWN}:Odd", env_args={"space": space})


@pytest.mark.parametrize(
    ("does", "told"),
    [("no pair", "ValueError"), ("exit", r"SystemExit\(3\)"), ("four", r"ValueError\('.*expected 5, got 4")],
)
def test_a_world_that_cannot_be_played_is_refused_before_there_is_a_folder(does, told, tmp_path):
    config = of(f"gymnasium:{OWN}:Odd", env_args={"does": does})
    with pytest.raises(wb.ConfigError, match=f"Odd', which cannot be played: {told}"):
        wb.launch(config, "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("world", "arguments", "has", "due"),
    [
        ("gymnasium:{}:Odd", {"shows": "np.zeros(3)"}, r"\(3,\)", r"\(2,\)"),
        ("gymnasium:{}:Odd", {"shows": "7.0"}, r"\(1,\)", r"\(2,\)"),
        ("gymnasium:{}:Odd", {"shows": "np.zeros((3, 2))"}, r"\(3, 2\)", r"\(2,\)"),
        ("pettingzoo:{}:Leaving", {"short": True}, r"\(1, 1\)", r"\(2, 1\)"),
    ],
)
def test_an_observation_of_another_shape_is_refused_before_there_is_a_folder(world, arguments, has, due, tmp_path):
    config = of(world.format(OWN), env_args=arguments)
    words = f"cannot be played: .* sees an observation of shape {has}, and its space has shape {due}; return what"
    with pytest.raises(wb.ConfigError, match=words):
        wb.launch(config, "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_is_none_of_the_possible_ones_is_refused(monkeypatch, tmp_path):
    step = own_environments.Leaving.step

    def grown(environment, actions):
        """What a step gives, after which one more agent is there."""
        environment.agents = [agent for agent in environment.agents if agent != "stranger"]
        told = step(environment, actions)
        environment.agents.append("stranger")
        return told

    monkeypatch.setattr(own_environments.Leaving, "step", grown)
    with pytest.raises(wb.ConfigError, match="has agent 'stranger' take part, and does not list it in possible_agents"):
        wb.launch(of(f"pettingzoo:{OWN}:Leaving"), "sequential", 0, out=tmp_path)


@pytest.mark.parametrize("part", [0, 1], ids=["observation", "reward"])
def test_an_agent_that_acted_and_is_told_nothing_is_refused_before_there_is_a_folder(part, monkeypatch, tmp_path):
    step = own_environments.Leaving.step

    def misspelt(environment, actions):
        """What a step gives, with agent b under another name."""
        told = step(environment, actions)
        told[part]["B"] = told[part].pop("b", None)
        return told

    monkeypatch.setattr(own_environments.Leaving, "step", misspelt)
    told = "has agent 'b' take part, and .* gives it no observation or no reward; .*api_test"
    with pytest.raises(wb.ConfigError, match=told):
        wb.launch(of(f"pettingzoo:{OWN}:Leaving"), "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_a_reset_forgets_is_refused_before_there_is_a_folder(monkeypatch, tmp_path):
    reset = own_environments.Leaving.reset

    def forgetful(environment, **given):
        """What a reset gives, without agent b."""
        seen, about = reset(environment, **given)
        return {agent: each for agent, each in seen.items() if agent != "b"}, about

    monkeypatch.setattr(own_environments.Leaving, "reset", forgetful)
    with pytest.raises(
        wb.ConfigError, match=r"has agent 'b' take part, and .*; reset must give the one, and step both"
    ):
        wb.launch(of(f"pettingzoo:{OWN}:Leaving"), "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "gives", "told"),
    [
        (1, "1.5", "'1.5' as a reward; step must give each agent one number"), (1, None, "None as a reward"),
        (1, [1.0, 2.0], r"\[1.0, 2.0\] as a reward"), (1, np.ones(3), r"array\(.* as a reward"),
        (2, "False", "'False' as terminated; step must give each agent one value, True or False"),
        (2, np.array([False, False]), "as terminated"), (2, None, "None as terminated"), (2, 2, "2 as terminated"),
        (3, "False", "'False' as truncated"), (3, [False, True], "as truncated"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("library", ["gymnasium", "pettingzoo"])
def test_a_reward_that_is_no_number_and_an_end_that_is_not_true_or_false_are_refused(
    library, part, gives, told, monkeypatch, tmp_path
):
    played = own_environments.Walk if library == "gymnasium" else own_environments.Leaving
    step = played.step

    def mistaken(environment, actions):
        """What a step gives, with that in the place of a part."""
        given = list(step(environment, actions))
        given[part] = gives if library == "gymnasium" else dict.fromkeys(given[part], gives)
        return tuple(given)

    monkeypatch.setattr(played, "step", mistaken)
    with pytest.raises(wb.ConfigError, match=f"cannot be played: .*{played.__name__} gives .*{told}"):
        wb.launch(of(f"{library}:{OWN}:{played.__name__}"), "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [int, np.int64, np.float32, np.array, lambda value: np.array([value])])
def test_rewards_and_ends_may_be_numbers_of_any_kind(kind, monkeypatch):
    config, step = of(f"gymnasium:{OWN}:Walk").world, own_environments.Walk.step
    plain = [config.make(np.random.default_rng(0))]

    def other(environment, actions):
        """What a step gives, in another kind of number."""
        seen, *given, about = step(environment, actions)
        return seen, *map(kind, given), about

    monkeypatch.setattr(own_environments.Walk, "step", other)
    plain.append(config.make(np.random.default_rng(0)))
    for _ in range(7):
        turns = []
        for world in plain:
            world.act(0, np.array([0, 2]))
            turns.append([part.tolist() for part in world.end_turn()])
        assert turns[0] == turns[1]


def test_a_child_calls_a_world_by_the_name_that_its_configuration_gave_it(monkeypatch):
    config = of(f"pettingzoo:{OWN}:Leaving", env_args={"short": True}).world
    sent = pickle.dumps(config)
    monkeypatch.setattr(environment, "_FOUND", {})
    monkeypatch.setattr("workbench.core.registry._REGISTERED", {})
    world = pickle.loads(sent).make(np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"^pettingzoo:{OWN}:Leaving sees an observation of shape"):
        for _ in range(4):
            world.end_turn()


def test_a_file_has_nothing_imported_that_the_caller_does_not_name(monkeypatch, tmp_path):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for library in ("gymnasium", "pettingzoo"):
        written = of(f"{library}:{OWN}:{'Walk' if library == 'gymnasium' else 'Leaving'}").to_dict()
        written["world"]["env_id"] = "planted:Walk"
        with pytest.raises(wb.ConfigError, match="a file may not have imported; import planted first"):
            wb.Config.from_dict(written)
        written["world"]["env_id"] = "os:system"  # imported, but no environment
        written["world"]["env_args"] = {"command": "touch planted"}
        with pytest.raises(wb.ConfigError, match="cannot be made: NameNotFound"):
            wb.Config.from_dict(written)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.setattr("workbench.zoo.environment._FOUND", {})
    with pytest.raises(wb.ConfigError, match=r'cannot be imported: .*pip install -e "\.\[worlds\]"'):
        of("gymnasium:CartPole-v1")


def test_nothing_of_the_libraries_is_imported_before_one_of_their_worlds_is_named():
    script = (
        "import sys, workbench as wb; wb.preset('tiny'); wb.launch; print({'gymnasium', 'pettingzoo'} & {*sys.modules})"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )


# Turns


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_row_ends_with_its_episode_and_a_truncated_one_bootstraps_from_the_true_last_observation(cut_off):
    batch, rows = rows_of(of(f"gymnasium:{OWN}:Walk", env_args={"cut_off": cut_off}))
    luck, step = batch.s_tm1[:, -1].T
    assert set(step) == {0, 1, 2, 3, 4}
    assert (batch.s_t[:, -1, 0] == luck).all() and (batch.s_t[:, -1, 1] == step + rows["span"]).all()
    ends = step == 4
    np.testing.assert_array_equal(rows["truncated" if cut_off else "terminated"], ends)
    assert not rows["terminated" if cut_off else "truncated"].any()
    assert (batch.discount_t[ends] == (np.float32(0.99) if cut_off else 0)).all()
    assert (rows["reward"] == rows["action"] + 1).all()  # actions of the environment begin at 1
    assert len(set(luck)) > 10


def test_agents_leave_one_after_the_other_and_the_next_episode_begins_when_all_have_left():
    config = of(f"pettingzoo:{OWN}")
    for agent, (length, steps) in enumerate(((2, "s_tm1"), (4, "s_tm1"), (6, "s_tm1"))):
        batch, rows = rows_of(config, agent)
        seen = getattr(batch, steps)[:, -1]
        step = seen.argmax(1) if agent == 1 else seen.reshape(len(seen), 2)[:, 1].astype(int)
        assert set(step) == set(range(length))
        ends = rows["truncated"] if agent == 2 else rows["terminated"]
        np.testing.assert_array_equal(ends, step == length - 1)
        assert (rows["reward"] == 10 + rows["action"]).all()
        # episodes of six steps and a reset turn in epochs of twenty turns
        turn = rows["number"] // config.num_worlds % config.max_turns
        np.testing.assert_array_equal(turn % 7, step)


def test_an_epoch_is_decided_by_the_generator_alone():
    config = of(f"pettingzoo:{OWN}").world
    worlds = [config.make(np.random.default_rng(seed)) for seed in (0, 1)]
    worlds[0].reset()
    worlds[1].set_state(worlds[0].get_state())
    told = []
    for world in worlds:
        world.reset()
        told.append([])
        for turn in range(15):
            for agent in range(3):
                told[-1].append(world.observe(agent))
                world.act(agent, np.full(2, turn % 2))
            told[-1] += [array.copy() for array in world.end_turn()]
    for one, other in zip(*told, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="there must be 2, from 0 to 1"):
        worlds[0].act(0, np.array([0, 2]))


def test_an_environment_that_its_seed_does_not_decide_says_so():
    world = of(f"gymnasium:{OWN}:Walk", env_args={"luck": False}).world
    assert "not decided by its seed" in world.unseeded() and isinstance(world, EnvironmentConfig)


@pytest.mark.parametrize("every", [2, 3, 5, 20])
def test_a_count_that_outlives_an_episode_is_noticed_whatever_it_counts_to(every):
    assert "not decided by its seed" in of(f"gymnasium:{OWN}:Counting", env_args={"every": every}).world.unseeded()


class OneOfMany(gymnasium.Alone):
    """An environment of Gymnasium with the calls of many agents, of which there is one."""

    def reset(self, seed):
        seen, about = self.environment.reset(seed=seed)
        self.agents = self.possible_agents
        return {"agent": seen}, about

    def step(self, actions):
        told = self.environment.step(actions["agent"])
        self.agents = () if told[2] or told[3] else self.possible_agents
        return tuple({"agent": part} for part in told)


@pytest.mark.parametrize(("world", "arguments"), [
    ("CartPole-v1", {}), (f"{OWN}:Walk", {"env_args": {"length": 3}}),
    (f"{OWN}:Walk", {"env_args": {"length": 4, "cut_off": True}}), ("FrozenLake-v1", {}),
])  # fmt: skip
@pytest.mark.parametrize("copies", [1, 3])
def test_one_agent_alone_is_told_what_the_way_of_many_agents_tells(world, arguments, copies, monkeypatch):
    monkeypatch.setattr(gymnasium, "Alone", OneOfMany)
    config = of(f"gymnasium:{world}", **arguments).world
    config = dataclasses.replace(config, num_worlds=copies)
    rng, alone = np.random.default_rng(3), config.make(np.random.default_rng(5))
    together = environment.Episodes(config, np.random.default_rng(5))
    for turn in range(60):
        if turn % 25 == 0:
            alone.reset()
            together.reset()
        actions = rng.integers(config.found.agents[0].num_actions, size=copies)
        seen = []
        for each in (alone, together):
            each.begin_turn()
            seen.append(each.observe(0))
            each.act(0, actions)
        assert (seen[0].shape, seen[0].dtype) == (seen[1].shape, seen[1].dtype)
        np.testing.assert_array_equal(*seen)
        for one, other in zip(alone.end_turn(), together.end_turn(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert alone.get_state() == together.get_state()


# The other way round


@pytest.mark.filterwarnings("ignore:The old environment creation API")  # which PettingZoo's own tests import
def test_treasurehunt_passes_the_tests_of_pettingzoo_and_can_be_drawn():
    from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
    from pettingzoo.utils import parallel_to_aec

    from workbench.zoo import treasurehunt_env

    parallel_api_test(treasurehunt_env(max_turns=20), num_cycles=50)
    parallel_seed_test(lambda: treasurehunt_env(max_turns=20), num_cycles=20)
    api_test(parallel_to_aec(treasurehunt_env(max_turns=20)), num_cycles=50)
    for mode in ("ansi", "rgb_array"):
        env = treasurehunt_env(mode, height=6, width=8, num_agents=2)
        env.reset(seed=1)
        drawn = env.render()
        if mode == "ansi":
            assert drawn.count("@") == 2 and drawn.splitlines()[0] == "#" * 8 and len(drawn.splitlines()) == 6
        else:
            assert drawn.shape == (96, 128, 3) and drawn.dtype == np.uint8
    with pytest.raises(wb.ConfigError, match="render_mode is 'human'"):
        treasurehunt_env("human")
    with pytest.raises(wb.ConfigError, match="num_agents"):
        treasurehunt_env(num_agent=3)


def test_a_child_can_play_what_only_its_parent_has_registered(monkeypatch):
    import gymnasium

    gymnasium.register("OnlyHere-v0", f"{OWN}:Walk")
    world = of("gymnasium:OnlyHere-v0").world
    sent = pickle.dumps(world.spec() and world)
    monkeypatch.delitem(gymnasium.registry, "OnlyHere-v0")
    monkeypatch.setattr(environment, "_FOUND", {})
    child = pickle.loads(sent)
    evaluated = dataclasses.replace(child, num_worlds=2)  # as an evaluation does
    assert evaluated.make(np.random.default_rng(0)).observe(0).shape == (2, 2)


def test_an_environment_that_is_registered_anew_under_its_id_is_the_new_one(monkeypatch):
    import gymnasium

    for steps in (3, 5):
        monkeypatch.setitem(gymnasium.registry, "Again-v0", gymnasium.envs.registration.EnvSpec(
            "Again-v0", f"{OWN}:Walk", max_episode_steps=steps))  # fmt: skip
        batch, rows = rows_of(of("gymnasium:Again-v0", env_args={"length": 100}))
        assert batch.s_tm1[rows["truncated"]][:, -1, 1].max() == steps - 1


def test_an_environment_whose_class_has_changed_is_refused_until_it_is_named_again(monkeypatch, tmp_path):
    title = f"gymnasium:{OWN}:Walk"
    config = of(title)
    monkeypatch.setattr(own_environments, "Walk", own_environments.Jumping)  # as reloading an edited module does
    with pytest.raises(wb.ConfigError, match=rf"whose spaces are not .* config.replace\(world='{title}'\)"):
        wb.launch(config.replace(seed=3), "sequential", 0, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    again = config.replace(world=title)
    assert again.spec.agents[0].num_actions == 40 and again.world.unseeded() == ""


def test_treasurehunt_as_an_environment_is_a_world_again():
    config = of("pettingzoo:workbench.zoo.treasurehunt:TreasurehuntEnv", env_args={"num_agents": 2, "max_turns": 9})
    assert config.num_agents == 2 and config.world.unseeded() == ""
    assert rows_of(config)[1]["truncated"].sum() == 4 * 2 * 2
