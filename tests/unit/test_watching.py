"""How often a panel looks, and how much time it says is left."""

import threading

import pytest

from workbench.view.panel.watching import TimeLeft, Watcher, in_words


def test_the_time_left_follows_how_fast_the_run_lately_was():
    left = TimeLeft()
    assert left.look(0.0, 0, 100, moving=True) is None
    assert left.look(10.0, 0, 100, moving=True) is None, "nothing is done yet"
    assert left.look(20.0, 20, 100, moving=True) == pytest.approx(80)
    for second in range(21, 400):  # ten times as fast as before
        seconds = left.look(float(second), 20 + second - 20, 1000, moving=True)
    assert seconds == pytest.approx(1000 - 399, rel=0.01), "what was long ago is forgotten"


def test_a_pause_says_nothing_and_is_not_counted():
    left = TimeLeft()
    left.look(0.0, 0, 100, moving=True)
    assert left.look(10.0, 10, 100, moving=True) == pytest.approx(90)
    assert left.look(500.0, 10, 100, moving=False) is None
    left.look(1000.0, 10, 100, moving=True)
    assert left.look(1010.0, 20, 100, moving=True) == pytest.approx(80)


@pytest.mark.parametrize(("seconds", "words"), [(4.2, "4 s"), (89, "89 s"), (1800, "30 min"), (9000, "2 h 30 min")])
def test_lengths_of_time_in_words(seconds, words):
    assert in_words(seconds) == words


def test_a_watcher_looks_until_it_has_seen_the_end_and_tells_what_went_wrong():
    errors, looks = [], iter([False, True])
    watcher = Watcher(lambda: next(looks), errors.append)
    assert watcher.wait(30) and not errors
    told = threading.Event()
    watcher = Watcher(lambda: 1 / 0, lambda error: (errors.append(error), told.set()))
    assert told.wait(30) and watcher.wait(30)
    assert isinstance(errors[0], ZeroDivisionError)
