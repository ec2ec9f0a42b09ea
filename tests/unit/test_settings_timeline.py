"""What holds in which epoch, and how many updates belong to it, counted out epoch by epoch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.agents import schedules
from workbench.core.config import Config, ConfigError
from workbench.core.shared.counters import Progress
from workbench.core.train.hooks import FixedSettings
from workbench.runs.live_settings import Changes, SettingsTimeline

changes = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=4)


def timeline_of(made, epochs=25, starts=150):
    config = Config().replace(**{"epochs": epochs, "replay.learning_starts": starts})  # 50 rows an epoch
    return SettingsTimeline(config, [(epoch, {"pacing.updates_per_epoch": updates}) for epoch, updates in made])


def per_epoch(timeline, made, epoch):
    """Updates of an epoch, said once more."""
    if (epoch + 1) * timeline.config.steps_per_epoch < timeline.config.replay.learning_starts:
        return 0
    values = [timeline.config.pacing.updates_per_epoch] * 100
    for first, value in made:  # a new one takes back whatever was to come
        values[first:] = [value] * (100 - first)
    return values[epoch]


@given(made=changes, epochs=st.integers(6, 40), starts=st.integers(100, 300))
def test_updates_are_those_of_the_epochs_one_by_one(made, epochs, starts):
    timeline = timeline_of(made, epochs, starts)
    for count in range(epochs + 1):
        assert timeline.updates_due(count) == sum(per_epoch(timeline, made, epoch) for epoch in range(count))
    assert timeline.total_updates == timeline.updates_due(epochs)
    if not made:
        assert timeline.total_updates == timeline.config.total_updates


@given(made=changes)
def test_the_step_size_falls_evenly_over_the_epochs_whatever_the_replay_ratio(made):
    timeline = timeline_of(made)
    first = timeline.config.epochs - timeline.config.learning_epochs
    rates = []
    for epoch in range(first, timeline.config.epochs):
        start = timeline.updates_due(epoch)
        assert timeline.schedule_position(start, epoch) == pytest.approx(
            (epoch - first) * timeline.at(epoch).pacing.updates_per_epoch
        )
        rates += [
            schedules.learning_rate(timeline.at(epoch), timeline.schedule_position(update, epoch))
            for update in range(start, timeline.updates_due(epoch + 1))
        ]
    learning = timeline.config.learning
    assert rates[0] == pytest.approx(learning.learning_rate) and rates[-1] == pytest.approx(learning.learning_rate_end)
    step = (learning.learning_rate - learning.learning_rate_end) / timeline.config.learning_epochs
    assert all(abs(earlier - later) < 2.3 * step for earlier, later in pairwise(rates))


def test_a_run_that_nothing_was_changed_in_has_the_schedule_of_its_configuration_to_the_bit():
    timeline = timeline_of([])
    assert timeline.at(3) is timeline.config and timeline.configs[-1] is timeline.config
    assert [timeline.schedule_position(update, 7) for update in range(100)] == list(range(100))


def test_what_is_set_once_more_is_not_changed_back_by_what_was_made_in_an_earlier_life():
    made = [(15, {"pacing.sync_interval": 3, "pacing.max_ahead": 2.0}), (7, {"pacing.sync_interval": 2})]
    timeline = SettingsTimeline(Config(), made)
    assert [timeline.at(epoch).pacing.sync_interval for epoch in (6, 7, 15, 30)] == [1, 2, 2, 2]
    assert [timeline.at(epoch).pacing.max_ahead for epoch in (14, 15)] == [1.0, 2.0]
    assert SettingsTimeline(Config(), timeline.changes).changes == timeline.changes


def test_of_two_changes_for_one_epoch_the_later_holds_and_others_stay():
    timeline = timeline_of([(4, 2), (4, 3)]).changed(9, {"exploration.epsilon_end": 0.5})
    assert [timeline.at(epoch).pacing.updates_per_epoch for epoch in (0, 3, 4, 20)] == [5, 5, 3, 3]
    assert [timeline.at(epoch).exploration.epsilon_end for epoch in (8, 9)] == [0.02, 0.5]
    assert max(config.pacing.updates_per_epoch for config in timeline.configs) == 5


def test_a_value_that_breaks_a_rule_is_refused():
    with pytest.raises(ConfigError, match=r"pacing.updates_per_epoch is 0; it must be 1 to 1000000"):
        timeline_of([(4, 0)])


@given(made=st.just([]), epochs=st.integers(4, 40), starts=st.integers(64, 200))
def test_settings_that_never_change_are_those_of_a_timeline_without_changes(made, epochs, starts):
    timeline = timeline_of(made, epochs, starts)
    fixed = FixedSettings(timeline.config)
    assert [fixed.updates_due(count) for count in range(epochs + 1)] == [
        timeline.updates_due(count) for count in range(epochs + 1)
    ]
    assert fixed.total_updates == timeline.total_updates == timeline.config.total_updates
    assert fixed.at(3) is timeline.at(3) and fixed.schedule_position(7, 3) == timeline.schedule_position(7, 3) == 7


def test_numbers_of_numpy_are_numbers_in_a_change_too():
    changes, progress = Changes(Config(), Changes.layout().allocate()), Progress(Progress.layout(1, 1).allocate())
    changes.make(progress, {"pacing.updates_per_epoch": np.int64(9), "pacing.max_ahead": np.float32(0.5)}, str)
    assert changes.timeline().at(2).pacing == Config().replace(pacing={"updates_per_epoch": 9, "max_ahead": 0.5}).pacing
