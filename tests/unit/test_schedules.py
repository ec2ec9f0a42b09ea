"""Schedules start and end where the configuration says, and never leave the way between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.agents.schedules import epsilon, learning_rate
from workbench.core.config import Config

CONFIG = Config().replace(**{"exploration.epsilon_start": 0.9, "exploration.epsilon_end": 0.1})
SCHEDULES = ["constant", "linear", "cosine"]


def rates(schedule):
    return Config().replace(**{"learning.learning_rate_schedule": schedule, "learning.learning_rate_end": 1e-5})


def test_epsilon_starts_ends_and_is_half_way_at_half_time():
    assert epsilon(CONFIG, 0) == 0.9
    assert epsilon(CONFIG, CONFIG.exploration.decay_epochs // 2) == pytest.approx(0.5)
    assert epsilon(CONFIG, CONFIG.exploration.decay_epochs) == epsilon(CONFIG, 10_000) == 0.1


@given(st.integers(0, 500))
def test_epsilon_never_rises(epoch):
    assert 0.1 <= epsilon(CONFIG, epoch + 1) <= epsilon(CONFIG, epoch) <= 0.9


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_starts_and_ends_as_configured(schedule):
    config = rates(schedule)
    last = config.total_updates - 1
    assert learning_rate(config, 0) == config.learning.learning_rate
    end = config.learning.learning_rate if schedule == "constant" else config.learning.learning_rate_end
    assert learning_rate(config, last) == learning_rate(config, 2 * last) == pytest.approx(end)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@given(update=st.integers(0, 2000))
def test_learning_rate_never_rises_and_mirrors_around_half_time(schedule, update):
    config = rates(schedule)
    last, both = config.total_updates - 1, config.learning.learning_rate + config.learning.learning_rate_end
    assert learning_rate(config, update + 1) <= learning_rate(config, update) + 1e-18
    if update <= last:
        assert learning_rate(config, update) + learning_rate(config, last - update) == pytest.approx(both)


def test_cosine_is_flatter_than_linear_at_the_start():
    quarter = Config().total_updates // 4
    assert learning_rate(rates("cosine"), quarter) > learning_rate(rates("linear"), quarter)


def test_one_update_has_the_first_rate():
    config = rates("linear").replace(**{"epochs": 10, "pacing.updates_per_epoch": 1})
    assert config.total_updates == 1
    assert learning_rate(config, 0) == config.learning.learning_rate
