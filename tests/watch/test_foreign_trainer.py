"""The trainer that the watch is tried on: it learns, and every switch of it is one that a check has to notice."""

import pytest
import torch

from notebooks.foreign_trainer import DEFECTS, Config, train
from notebooks.foreign_trainer.actor import Actor
from notebooks.foreign_trainer.parts import Parts
from notebooks.foreign_trainer.world import TURNS
from tests.campaigns.watch import CONVICTED_BY, MODES, cases, defects_of


def greedy_reward(models, epochs=20):
    """Mean reward of a turn without exploration."""
    config = Config(agents=len(models), seed=99)
    actor = Actor(Parts(config, models))
    for model in actor.local_models:
        model.eval().epsilon = torch.zeros(())
    actor.sync = lambda agent, epoch: None
    return sum(actor.play_epoch(epoch) for epoch in range(epochs)) / epochs / TURNS / len(models)


@pytest.fixture(autouse=True)
def threads():
    """A training sets their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_sound_trainer_learns():
    torch.manual_seed(0)
    models = train("sequential", Config(agents=1, epochs=50, updates_per_epoch=16))
    trained, untrained = greedy_reward(models), greedy_reward([type(models[0])(3)])
    assert trained > untrained + 0.2, (trained, untrained)


def test_every_defect_has_its_check_and_its_training():
    assert CONVICTED_BY.keys() == DEFECTS.keys() and len(DEFECTS) >= 20
    tried = [(mode, defect) for _, mode, defects in cases(1) for defect in defects]
    assert sorted(tried) == sorted((mode, defect) for mode in MODES for defect in defects_of(mode))


def test_an_unknown_defect_is_refused():
    with pytest.raises(ValueError, match=r"sync_nevr.*sync_never"):
        Config(defects={0: ("sync_nevr",)})
