"""A bell wakes its owner, whenever it was rung, and never holds up whoever rings it."""

import multiprocessing
import threading

import pytest

from workbench.core.processes.wakeup import Bell, Stopped
from workbench.core.shared.counters import Progress


@pytest.fixture
def bell():
    bell = Bell.create(multiprocessing.get_context("spawn"))
    yield bell
    bell.reader.close()
    bell.writer.close()


@pytest.fixture
def progress():
    return Progress(Progress.layout(1, 1).allocate())


def test_nobody_waits_for_what_holds_already(bell, progress):
    bell.wait_until(lambda: True, progress)


def test_a_ring_before_the_wait_is_not_lost(bell, progress):
    """The change and its ring come after the last look and before the sleep."""
    looks = []

    def holds():
        looks.append(None)
        if len(looks) == 1:
            bell.ring()
            return False
        return True

    bell.wait_until(holds, progress)
    assert len(looks) == 2


def test_a_sleeper_wakes_when_it_is_rung_and_looks_only_then(bell, progress):
    looks, asleep = [], threading.Event()

    def holds():
        looks.append(None)
        asleep.set()
        return len(looks) > 3

    sleeper = threading.Thread(target=bell.wait_until, args=(holds, progress))
    sleeper.start()
    for count in range(1, 4):
        assert asleep.wait(60)
        asleep.clear()
        assert len(looks) == count
        bell.ring()
    sleeper.join(60)
    assert not sleeper.is_alive() and len(looks) == 4


def test_a_stop_gets_through_to_a_sleeper_and_comes_before_anything_else(bell, progress):
    progress.request_stop()
    with pytest.raises(Stopped):
        bell.wait_until(lambda: True, progress)


def test_ringing_never_blocks_and_many_rings_are_as_good_as_one(bell, progress):
    looks = []

    def holds():
        looks.append(None)
        for _ in range(100_000 if len(looks) == 1 else 0):  # more than a pipe holds
            bell.ring()
        return len(looks) > 1

    bell.wait_until(holds, progress)
    assert len(looks) == 2


def test_ringing_a_bell_whose_owner_is_gone_does_no_harm():
    bell = Bell.create(multiprocessing.get_context("spawn"))
    bell.reader.close()
    bell.ring()
    bell.writer.close()
