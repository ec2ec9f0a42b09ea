"""Worlds and agents of the user's own: what they give wrongly is refused, or told."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from torch import nn

import workbench as wb
from tests.unit.own_agent import LinearConfig, LinearNetwork
from tests.unit.worlds import Trial, TrialConfig
from workbench.core.envs.base import EnvSpec
from workbench.runs.folder import RecordError
from workbench.runs.own_classes import OwnWorld


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


TINY = wb.preset("tiny")


def first_turn(config, change=lambda turn: turn):
    """The first turn of a world whose turns are changed, as a run looks at it."""
    config = TINY.replace(world=config)
    world = Trial(config.world, np.random.default_rng(0))
    end_turn = world.end_turn
    world.end_turn = lambda: change(end_turn())
    OwnWorld().on_collector(SimpleNamespace(world=world), SimpleNamespace(config=config))
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
        (lambda turn: turn._replace(rewards=turn.rewards[:, :1]), r"rewards as float32 of shape \(3, 1\)"),
        (lambda turn: turn._replace(rewards=turn.rewards.tolist()), "rewards as <class 'list'>"),
        (lambda turn: turn._replace(rewards=turn.rewards.astype(int)), "rewards as int64"),
        (lambda turn: turn._replace(terminated=turn.terminated.astype(int)), "terminated as int64"),
        (lambda turn: turn._replace(valid=turn.valid[:, 0]), r"valid as bool of shape \(3,\)"),
        (tuple, "rewards as <class 'tuple'>"),
    ],
)
def test_a_turn_of_another_shape_or_kind_is_refused_with_what_it_must_be(change, told):
    with pytest.raises(ValueError, match=rf"{told}.*must be a NumPy array of .* and of shape \(3, 2\): agents, copies"):
        first_turn(TrialConfig(num_worlds=2), change)


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


def test_the_configuration_that_a_run_is_resumed_with_names_its_own_classes(tmp_path):
    config = TINY.replace(agent=WithLayerNorm)
    run = wb.launch(config, "sequential", 0, out=tmp_path)
    assert run.wait().status == "finished"
    assert wb.resume(run.folder.path, config).result == run.result
    with pytest.raises(RecordError, match="a file may not have one imported"):
        wb.resume(run.folder.path, TINY)
    with pytest.raises(RecordError, match="give the class it names"):
        wb.resume(run.folder.path, TINY.replace(agent=WithDropout))
