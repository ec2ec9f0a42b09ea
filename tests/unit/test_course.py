"""What holds in which epoch, and how many updates belong to it, counted out epoch by epoch."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.agents import schedules
from workbench.core.config import Config, ConfigError
from workbench.runs.settings_timeline import Course

changes = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=4)


def course_of(made, epochs=25, starts=150):
    config = Config().replace(**{"epochs": epochs, "replay.learning_starts": starts})  # 50 rows an epoch
    return Course(config, [(epoch, {"pacing.updates_per_epoch": updates}) for epoch, updates in made])


def per_epoch(course, made, epoch):
    """Updates of an epoch, said once more."""
    if (epoch + 1) * course.config.steps_per_epoch < course.config.replay.learning_starts:
        return 0
    values = [course.config.pacing.updates_per_epoch] * 100
    for first, value in made:  # a new one takes back whatever was to come
        values[first:] = [value] * (100 - first)
    return values[epoch]


@given(made=changes, epochs=st.integers(6, 40), starts=st.integers(100, 300))
def test_updates_are_those_of_the_epochs_one_by_one(made, epochs, starts):
    course = course_of(made, epochs, starts)
    for count in range(epochs + 1):
        assert course.updates_due(count) == sum(per_epoch(course, made, epoch) for epoch in range(count))
    assert course.total_updates == course.updates_due(epochs)
    if not made:
        assert course.total_updates == course.config.total_updates


@given(made=changes)
def test_the_step_size_falls_evenly_over_the_epochs_whatever_the_replay_ratio(made):
    course = course_of(made)
    first = course.config.epochs - course.config.learning_epochs
    rates = []
    for epoch in range(first, course.config.epochs):
        start = course.updates_due(epoch)
        assert course.schedule_position(start, epoch) == pytest.approx(
            (epoch - first) * course.at(epoch).pacing.updates_per_epoch
        )
        rates += [
            schedules.learning_rate(course.at(epoch), course.schedule_position(update, epoch))
            for update in range(start, course.updates_due(epoch + 1))
        ]
    learning = course.config.learning
    assert rates[0] == pytest.approx(learning.learning_rate) and rates[-1] == pytest.approx(learning.learning_rate_end)
    step = (learning.learning_rate - learning.learning_rate_end) / course.config.learning_epochs
    assert all(abs(earlier - later) < 2.3 * step for earlier, later in pairwise(rates))


def test_a_run_that_nothing_was_changed_in_has_the_schedule_of_its_configuration_to_the_bit():
    course = course_of([])
    assert course.at(3) is course.config and course.newest is course.config
    assert [course.schedule_position(update, 7) for update in range(100)] == list(range(100))


def test_what_is_set_once_more_is_not_changed_back_by_what_was_made_in_an_earlier_life():
    made = [(15, {"pacing.sync_interval": 3, "pacing.max_ahead": 2.0}), (7, {"pacing.sync_interval": 2})]
    course = Course(Config(), made)
    assert [course.at(epoch).pacing.sync_interval for epoch in (6, 7, 15, 30)] == [1, 2, 2, 2]
    assert [course.at(epoch).pacing.max_ahead for epoch in (14, 15)] == [1.0, 2.0]
    assert Course(Config(), course.changes).changes == course.changes


def test_of_two_changes_for_one_epoch_the_later_holds_and_others_stay():
    course = course_of([(4, 2), (4, 3)]).changed(9, {"exploration.epsilon_end": 0.5})
    assert [course.at(epoch).pacing.updates_per_epoch for epoch in (0, 3, 4, 20)] == [5, 5, 3, 3]
    assert [course.at(epoch).exploration.epsilon_end for epoch in (8, 9)] == [0.02, 0.5]
    assert course.largest(lambda config: config.pacing.updates_per_epoch) == 5


def test_a_value_that_breaks_a_rule_is_refused():
    with pytest.raises(ConfigError, match=r"pacing.updates_per_epoch is 0; it must be 1 to 1000000"):
        course_of([(4, 0)])
