"""A wakeup wakes its owner, whenever it was notified, and never holds up the process that notifies it."""

import os
import threading

import pytest

from workbench.core.processes.wakeup import Stopped, Wakeup
from workbench.core.shared.counters import Progress


@pytest.fixture(params=["event counter", "pipe"])
def wakeup(request, monkeypatch):
    if request.param == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this system has no event counters")
    return Wakeup.create()


@pytest.fixture
def progress():
    return Progress(Progress.layout(1, 1).allocate())


def test_nobody_waits_for_what_holds_already(wakeup, progress):
    wakeup.wait_until(lambda: True, progress)


def test_a_notification_before_the_wait_is_not_lost(wakeup, progress):
    """The change and its notification come after the last look and before the sleep."""
    looks = []

    def holds():
        looks.append(None)
        if len(looks) == 1:
            wakeup.notify()
            return False
        return True

    wakeup.wait_until(holds, progress)
    assert len(looks) == 2


def test_a_sleeper_wakes_when_it_is_notified_and_looks_only_then(wakeup, progress):
    looks, asleep = [], threading.Event()

    def holds():
        looks.append(None)
        asleep.set()
        return len(looks) > 3

    sleeper = threading.Thread(target=wakeup.wait_until, args=(holds, progress))
    sleeper.start()
    for count in range(1, 4):
        assert asleep.wait(60)
        asleep.clear()
        assert len(looks) == count
        wakeup.notify()
    sleeper.join(60)
    assert not sleeper.is_alive() and len(looks) == 4


def test_a_stop_gets_through_to_a_sleeper_and_comes_before_anything_else(wakeup, progress):
    progress.request_stop()
    with pytest.raises(Stopped):
        wakeup.wait_until(lambda: True, progress)


def test_notifying_never_blocks_and_many_notifications_are_as_good_as_one(wakeup, progress):
    looks = []

    def holds():
        looks.append(None)
        for _ in range(100_000 if len(looks) == 1 else 0):  # more than a pipe holds
            wakeup.notify()
        return len(looks) > 1

    wakeup.wait_until(holds, progress)
    assert len(looks) == 2


def test_notifying_a_process_that_is_gone_does_no_harm(monkeypatch):
    monkeypatch.delattr(os, "eventfd", raising=False)
    wakeup = Wakeup.create()
    del wakeup.reader
    wakeup.notify()
