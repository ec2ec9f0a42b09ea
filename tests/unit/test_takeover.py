"""A process that takes a dead one's place ends with the same digests, at whatever line the other died.

A process is cut off by an exception before a line of the code that shares memory, counted from its start. Its parts
are then built again over the same memory, restored, and cut off again, as often as the test says.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.unit import inprocess
from workbench.core.shared.record_ring import Channel
from workbench.core.train.loop import Collector, run_sequential
from workbench.runs.evaluation import GreedyEvaluator
from workbench.runs.history import History
from workbench.runs.recovery.deduplication import Repeats
from workbench.runs.recovery.keepers import Recovery

CONFIG = wb.preset("tiny").replace(
    **{"epochs": 6, "device": "cpu", "world.max_turns": 5, "replay.learning_starts": 20, "agent.width": 16,
       "evaluation.interval": 2, "evaluation.worlds": 1, "evaluation.final_worlds": 1}
)  # fmt: skip
PACKAGE = Path(wb.__file__).parent
ROOMS = ("core/train", "core/shared", "runs/recovery")
PLACES = {str(path) for room in ROOMS for path in (PACKAGE / room).glob("*.py")}
PLACES.add(str(PACKAGE / "runs" / "evaluation.py"))


class CutOff(BaseException):
    """The process is gone. Not an Exception, so that nothing on the way takes it for one."""


def cut_off_at(line, work):
    """Do some work up to this line of those in :data:`PLACES`, None for all of it; how many lines it took."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in PLACES:
            return None
        if event == "line":
            lines += 1
            if lines == line:
                raise CutOff
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


def everything(parts, lag):
    """A process's work from its start: restore what the one before it kept, then work to the end."""
    inprocess.take_over(parts)
    parts.trainer.publish_initial()
    run_sequential(parts.collector, parts.trainer, lag, before_epoch=lambda: None)
    parts.collector.finish()


@cache
def undisturbed(lag):
    """Digests, history and number of lines of a run that nobody cut off."""
    with inprocess.as_in_a_child():
        parts = inprocess.build(CONFIG, lag, hooks=(Recovery(),))
        lines = cut_off_at(None, lambda: everything(parts, lag))
    return inprocess.digests(parts), inprocess.history(parts), lines


def died_in(error):
    """Which side was cut off, by whose frame was running."""
    at = error.__traceback__
    while at is not None:
        acting = Collector, GreedyEvaluator
        if isinstance(at.tb_frame.f_locals.get("self"), acting) or at.tb_frame.f_code.co_name == "on_collector":
            return "collector"
        at = at.tb_next
    return "trainer"


def disturbed(lag, deaths, apart):
    """Digests and history of a run that was cut off at each of these lines; ``apart`` replaces only who died."""
    parts = inprocess.build(CONFIG, lag, hooks=(Recovery(),))
    history, repeats = History(), Repeats()

    def collect_records():
        for table, (records, lost) in parts.reader.drain().items():
            history.append(table, repeats.drop(table, records), lost)

    for death in [*deaths, None]:
        try:
            cut_off_at(death, lambda: everything(parts, lag))
        except CutOff as error:
            collect_records()
            repeats.expect(history)
            parts.new |= {died_in(error)} if apart else {"collector", "trainer"}
            parts.channel = parts.collector.channel = parts.trainer.channel = Channel(parts.records)
            for side in parts.new:
                setattr(parts, side, getattr(inprocess, f"new_{side}")(parts))
        else:
            break
    collect_records()
    return inprocess.digests(parts), history


def told_alike(history, expected):
    """Whether both tell the same, apart from when it was and how far the learner had come meanwhile."""
    columns = {
        "epochs": ("agent", "epoch", "agent_steps", "reward", "epsilon", "policy_version"),
        "updates": ("agent", "update", "epoch", "loss", "grad_norm"),
        "evaluations": ("agent", "epoch", "version", "reward", "final"),
    }
    for table, names in columns.items():
        for name in names:
            found, wanted = history.table(table)[name], expected.table(table)[name]
            np.testing.assert_array_equal(found, wanted, f"{table}: {name}")


@pytest.mark.parametrize("lag", [0, 1, 3])
@settings(max_examples=40)
@given(deaths=st.lists(st.floats(0, 1), min_size=1, max_size=4), apart=st.booleans())
def test_a_run_that_is_cut_off_anywhere_ends_as_one_that_was_not(lag, deaths, apart):
    digests, expected, lines = undisturbed(lag)
    with inprocess.as_in_a_child():
        found, history = disturbed(lag, [1 + int(death * (lines - 1)) for death in deaths], apart)
    assert found == digests
    told_alike(history, expected)
