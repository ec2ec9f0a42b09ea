"""Worlds and agents of the user's own: what they give wrongly is refused, or told."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import workbench as wb
from tests.unit.own_agent import LinearConfig, LinearNetwork
from tests.unit.worlds import Trial, TrialConfig
from workbench.core.envs.base import AgentSpec, EnvSpec, WorldConfig
from workbench.core.shared.sampling import SamplerConfig
from workbench.runs.folder import RecordError
from workbench.runs.own_classes import OwnClasses, look, state_of


@dataclass(frozen=True)
class LayerConfig(LinearConfig):
    """A linear layer behind another layer."""

    layer: ClassVar[type[nn.Module]]

    def network(self, spec):
        """Both."""
        network = LinearNetwork(spec, self.num_frames)
        network.layer = nn.Sequential(self.layer(network.num_inputs), network.layer)
        return network


class WithBatchNorm(LayerConfig):
    """Its statistics are no parameters."""

    layer = nn.BatchNorm1d


class WithLayerNorm(LayerConfig):
    """It has parameters alone."""

    layer = nn.LayerNorm


class WithDropout(LayerConfig):
    """It draws from torch's generator."""

    layer = type("Dropout", (nn.Dropout,), {"__init__": lambda self, inputs: nn.Dropout.__init__(self)})


@dataclass(frozen=True)
class WholeConfig(TrialConfig):
    """Says that no episode ends."""

    def spec(self):
        """All that the world is, and this."""
        return EnvSpec(super().spec().agents, self.max_turns, whole_epochs=True)


@dataclass(frozen=True)
class Said(WorldConfig):
    """A world that says what a test has it say."""

    spec: object = None


class Weighted(SamplerConfig):
    """Arguments of a sampler with weights."""

    weighted = True


class Drawing(Trial):
    """Asks NumPy's own generator in every turn."""

    def end_turn(self):
        """What it is, and luck."""
        turn = super().end_turn()
        return turn._replace(rewards=turn.rewards + np.random.random(turn.rewards.shape).astype(np.float32))


@dataclass(frozen=True)
class DrawingConfig(TrialConfig):
    """Luck that nobody has a seed for."""

    def make(self, rng):
        """The world."""
        return Drawing(self, rng)


class Seeding(Drawing):
    """Gives that generator a seed of its own stream at each reset."""

    def reset(self):
        """And then all else."""
        np.random.seed(self.rng.integers(2**31))
        super().reset()


@dataclass(frozen=True)
class SeedingConfig(TrialConfig):
    """Luck that the seed decides."""

    def make(self, rng):
        """The world."""
        return Seeding(self, rng)


TINY = wb.preset("tiny")


def first_turn(config, change=lambda turn: turn):
    """The first turn of a world whose turns are changed, as a run looks at it."""
    config = TINY.replace(world=config)
    world = Trial(config.world, np.random.default_rng(0))
    end_turn = world.end_turn
    world.end_turn = lambda: change(end_turn())
    OwnClasses().on_collector(
        SimpleNamespace(world=world, policies=[SimpleNamespace()] * 3), SimpleNamespace(config=config)
    )
    for agent in range(3):
        world.act(agent, np.zeros(world.num_worlds, np.int64))
    return world.end_turn()


def test_a_turn_as_it_must_be_is_passed_on():
    turn = first_turn(TrialConfig(num_worlds=2))
    assert turn.rewards.tolist() == [[1, 1]] * 3 and turn.valid.all()
    assert first_turn(TrialConfig(num_worlds=2), lambda turn: turn._replace(rewards=turn.rewards.astype(float)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda turn: turn._replace(rewards=turn.rewards[:, :1]),
            r"rewards as a ndarray of float32 and of shape \(3, 1\)",
        ),
        (lambda turn: turn._replace(rewards=turn.rewards.tolist()), "rewards as a list"),
        (lambda turn: turn._replace(rewards=turn.rewards.astype(int)), "rewards as a ndarray of int64"),
        (lambda turn: turn._replace(terminated=turn.terminated.astype(int)), "terminated as a ndarray of int64"),
        (lambda turn: turn._replace(valid=turn.valid[:, 0]), r"valid as a ndarray of bool and of shape \(3,\)"),
        (tuple, "rewards as a tuple"),
    ],
)
def test_a_turn_of_another_shape_or_kind_is_refused_with_what_it_must_be(change, told):
    with pytest.raises(ValueError, match=rf"{told}.*must be a NumPy array of .* and of shape \(3, 2\): agents, copies"):
        first_turn(TrialConfig(num_worlds=2), change)


class Gives:
    """A part whose methods all give the same."""

    def __init__(self, given):
        self.observe = self.q = self.row_losses = self.draw = self.weights = self.get_state = lambda *asked: given


def hooked(method, given):
    """What the core gets from a method of the user's own classes, with the run's hook in between."""
    kinds = {"agent": LinearConfig(), "replay.sampler": Weighted(), "world": TrialConfig(num_worlds=2)}
    config, part = TINY.replace(**kinds), Gives(given)
    parts, asked = SimpleNamespace(config=config), {"draw": (3, 9, 4), "weights": (np.zeros(4),), "observe": (0,)}
    if method == "observe":
        part.end_turn, part.num_worlds = None, 2
        OwnClasses().on_collector(SimpleNamespace(world=part, policies=[None] * 3), parts)
    elif method == "q":
        policy = config.agent.policy_class(config, 0, torch.device("cpu"), *[np.random.default_rng(0)] * 2)
        policy.q = part.q
        world = SimpleNamespace(end_turn=None, observe=None, num_worlds=2)
        OwnClasses().on_collector(SimpleNamespace(world=world, policies=[policy, None, None]), parts)
        return policy.q({"state": np.zeros(2)})
    elif method == "row_losses":
        agent = config.agent.agent_class(config, 0, torch.device("cpu"))
        agent.row_losses = part.row_losses
        OwnClasses().on_trainer(SimpleNamespace(agents={0: agent}, samplers={0: part}), parts)
        return agent.row_losses({}, slice(4, 8))
    else:
        OwnClasses().on_trainer(SimpleNamespace(agents={0: None}, samplers={0: part}), parts)
    return getattr(part, method)(*asked[method])


ONES, LOSS = np.ones(4, np.float32), torch.ones(4, requires_grad=True)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("observe", np.zeros((2, 3), np.float32)), ("q", torch.zeros(2, 2)), ("row_losses", (LOSS, LOSS, LOSS)),
        ("draw", np.arange(4) + 4), ("draw", [3, 4, 4, 8]), ("weights", ONES), ("weights", [1.0, 0.5, 0.0, 1.0]),
    ],
)  # fmt: skip
def test_what_is_as_it_must_be_reaches_the_core_unchanged(method, given):
    assert hooked(method, given) is given


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        ("observe", [[0, 0, 0]] * 2, r"observe\(0\) gives a list; .* NumPy array of float32 and of shape \(2, 3\)"),
        ("observe", None, "a NoneType"),
        ("observe", np.zeros((2, 1), np.float32), r"shape \(2, 1\)"),
        ("observe", np.zeros((2, 3)), "a ndarray of float64"),
        ("q", torch.zeros(2, 1), r"shape \(2, 1\) as values.* shape \(2, 2\): states, and num_actions"),
        ("q", torch.zeros(2, 4), r"shape \(2, 4\)"),
        ("q", np.zeros((2, 2)), "a ndarray"),
        ("row_losses", LOSS, "as value a NoneType.* it gives three"),
        ("row_losses", (LOSS.mean(), LOSS, LOSS), r"as loss a Tensor of torch.float32 and of shape \(\)"),
        ("row_losses", (ONES, ONES, ONES), "as loss a ndarray"),
        ("row_losses", (LOSS.detach(), LOSS, LOSS), "without a gradient.*from self.online"),
        ("draw", np.arange(4.0) + 4, "a ndarray of float64.*of integer"),
        ("draw", np.arange(3) + 4, r"shape \(3,\); .*shape \(4,\)"),
        ("draw", np.arange(4) + 8, "numbers from 8 to 11; .*numbers from 3 to 8"),
        ("weights", 0.5, r"shape \(\)"),
        ("weights", ONES[:1], r"shape \(1,\)"),
        ("weights", ONES[:, None], r"shape \(4, 1\)"),
        ("weights", -ONES, "numbers from -1.0 to -1.0; .*a number of 0 or more"),
    ],
)
def test_what_a_method_gives_wrongly_is_refused_at_the_first_look(method, given, told):
    with pytest.raises(ValueError, match=told):
        hooked(method, given)


@pytest.mark.parametrize("given", [{}, [1], None, {"rng": 1, "f": print}])
def test_a_state_that_cannot_be_kept_is_refused(given):
    with pytest.raises(wb.ConfigError, match=r"the state of .*TrialConfig is .*; its make must give a world"):
        state_of(TrialConfig(), Gives(given), "rng")


class WithoutNetwork(LinearConfig):
    """Forgets to return it."""

    def network(self, spec):
        """None."""


class WithOwnCount(LinearConfig):
    """Counts something under a name that the run has, too."""

    def example_state(self, config, index):
        """With the count."""
        return super().example_state(config, index) | {"learned": 0}


def test_an_agent_whose_state_has_a_name_of_the_runs_own_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(
        wb.ConfigError, match=r"(?s)the state of .*:WithOwnCount is .*other names than .*version, learned, "
    ):
        wb.launch(TINY.replace(agent=WithOwnCount), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_agent_without_a_network_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(wb.ConfigError, match=r"WithoutNetwork is None; network\(\) must give a ValueNetwork"):
        wb.launch(TINY.replace(agent=WithoutNetwork), out=tmp_path)
    assert not list(tmp_path.iterdir())


SPEC = AgentSpec((3,), "float32", 2)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (lambda: {"agents": 3}, "world is {'agents': 3}; spec.. of Said must give an EnvSpec"),
        (lambda: EnvSpec((), 10), r"EnvSpec.agents is \(\); it must be one AgentSpec or more"),
        (lambda: EnvSpec((SPEC,), 0), "EnvSpec.max_turns is 0; it must be at least 1 turn"),
        (lambda: AgentSpec((3,), "flaot32", 2), "AgentSpec.dtype is 'flaot32'; .* such as 'float32'"),
        (lambda: AgentSpec((3,), "float32", 0), "AgentSpec.num_actions is 0; it must be 1 to"),
        (lambda: AgentSpec(3, "float32", 2), "AgentSpec.shape is 3"),
        (lambda: AgentSpec((3, 0), "float32", 2), r"AgentSpec.shape is \(3, 0\); it must be whole numbers above 0"),
        (lambda: AgentSpec((3.0,), "float32", 2), r"AgentSpec.shape is \(3.0,\); it must be whole numbers above 0"),
        (lambda: AgentSpec((3,), "int16", 2, -1), "AgentSpec.num_codes is -1; it must be 0 to 4096 kinds, or None"),
    ],
)
def test_a_world_that_says_wrongly_what_it_is_is_refused_with_the_configuration(spec, told):
    with pytest.raises(wb.ConfigError, match=told):
        TINY.replace(world=Said(spec=spec))


def test_only_the_first_calls_are_looked_at_and_who_wraps_the_method_meanwhile_stays():
    part, looks = Gives(ONES), []
    plain = part.draw
    look(part, "draw", lambda found: looks.append(found), 2)
    assert [part.draw() is ONES for _ in range(3)] == [True] * 3 and len(looks) == 2 and part.draw is plain
    look(part, "draw", lambda found: None)
    wrapped, part.draw = part.draw, lambda: wrapped()
    outer = part.draw
    assert part.draw() is ONES and part.draw is outer


def test_lists_and_whole_floats_in_a_spec_are_taken_for_what_they_mean():
    assert EnvSpec([AgentSpec([3], "float32", 2.0)], 10) == EnvSpec((SPEC,), 10)


def test_an_end_in_a_world_that_says_there_are_none_is_refused():
    with pytest.raises(ValueError, match="whole_epochs=True"):
        first_turn(WholeConfig(num_worlds=2, ending=1.0))


def test_statistics_that_no_snapshot_has_are_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(wb.ConfigError, match=r"layer\.0\.running_mean.*the actor would never see them.*LayerNorm"):
        wb.launch(TINY.replace(agent=WithBatchNorm), out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("agent", "told"), [(WithDropout, "Dropout"), (WithLayerNorm, "")])
def test_layers_that_draw_from_no_seed_are_told_of(agent, told, tmp_path):
    run = wb.launch(TINY.replace(agent=agent), "sequential", 0, out=tmp_path, start=False)
    try:
        assert len(run.warnings) == bool(told) and all(told in warning for warning in run.warnings)
        assert all("no seed of a run decides" in warning for warning in run.warnings)
    finally:
        run.stop()


@pytest.mark.filterwarnings("ignore::workbench.runs.folder.RecordWarning")
@pytest.mark.parametrize(("world", "identical"), [(DrawingConfig, None), (SeedingConfig, True)])
def test_what_the_children_draw_from_a_generator_of_the_whole_process_is_told_of(world, identical, tmp_path):
    config = TINY.replace(world=world, epochs=4, **{"replay.capacity": 400, "processes.learners": 1})
    pair = wb.compare(config, lag=0, out=tmp_path)
    summary = pair.wait()
    assert summary["identical"] is identical
    for run in pair.runs:
        told = "".join(run.warnings)
        assert wb.load(run.folder.path, world=world).description["unseeded"] == told
        assert ("drawn from the generator of numpy.random, which" in told) == (identical is None)
    assert (summary["why_not_identical"] or "") == "".join(pair.sequential.warnings)


def test_the_configuration_that_a_run_is_resumed_with_names_its_own_classes(tmp_path):
    config = TINY.replace(agent=WithLayerNorm)
    run = wb.launch(config, "sequential", 0, out=tmp_path)
    assert run.wait().status == "finished"
    assert wb.resume(run.folder.path, config).result == run.result
    with pytest.raises(RecordError, match="a file may not have one imported"):
        wb.resume(run.folder.path, TINY)
    with pytest.raises(RecordError, match="give the class it names"):
        wb.resume(run.folder.path, TINY.replace(agent=WithDropout))
