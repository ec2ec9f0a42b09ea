"""A caller that is interrupted: at any line of what it calls, nothing is left behind."""

import contextlib
import itertools
import signal
import sys
import threading
from pathlib import Path

import pytest

import workbench as wb
from workbench.runs.folder import RunFolder

PACKAGE = str(Path(wb.__file__).parent)
TINY = wb.preset("tiny").replace(epochs=4, **{"evaluation.final_worlds": 2})
LONG = TINY.replace(epochs=1_000_000)


class Interrupter:
    """Presses Ctrl-C right before the main thread executes a chosen line of the package."""

    def __init__(self, at):
        self.at, self.lines = at, 0

    def __enter__(self):
        sys.settrace(self._call)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _call(self, frame, event, argument):
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self._line


def interrupted(call, at):
    """Call a function with an interrupt before that line of it; whether it has as many lines."""
    with Interrupter(at) as interrupter, contextlib.suppress(KeyboardInterrupt):
        call()
    return interrupter.lines >= at


def at_every_line(call):
    """Call a function again and again, interrupted one line later each time, until it gets through."""
    for at in itertools.count(1):
        again = interrupted(call, at)
        for thread in threading.enumerate():
            if thread.name.startswith(("uninterrupted", "after an interrupt")):
                thread.join()
        if not again:
            return
        yield at


def check_nothing_is_left(folders, main=sys.modules["__main__"]):
    """No run is under way and no folder is held; that no child is left, a fixture of all tests sees to."""
    assert sys.modules["__main__"] is main
    for thread in threading.enumerate():
        if thread.name in ("watch run", "comparison"):
            thread.join(10)  # a run has ended a moment before its thread has
            assert not thread.is_alive()
    for path in folders.iterdir():
        folder = RunFolder.open(path)
        folder.hold()  # refused while a run holds it
        folder.release()
        assert wb.load(path).status in ("stopped", "failed", "finished"), path


def test_an_interrupt_at_any_line_of_launch_leaves_nothing(tmp_path):
    launched = []
    for _ in at_every_line(lambda: launched.append(wb.launch(TINY, lag=1, out=tmp_path))):
        assert not launched
        check_nothing_is_left(tmp_path)
    launched[0].wait()


def test_an_interrupt_at_any_line_of_compare_leaves_nothing(tmp_path):
    pairs = []
    for _ in at_every_line(lambda: pairs.append(wb.compare(TINY, out=tmp_path))):
        assert not pairs
        check_nothing_is_left(tmp_path)
    assert pairs[0].wait()["identical"] is True


@pytest.mark.filterwarnings("ignore:the step size was")
def test_an_interrupt_at_any_line_of_resume_leaves_nothing(tmp_path):
    run = wb.launch(TINY, lag=0, out=tmp_path)
    run.wait()
    epochs, resumed = itertools.count(TINY.epochs + 1), []
    for _ in at_every_line(lambda: resumed.append(wb.resume(run.folder.path, epochs=next(epochs)))):
        assert not resumed
        check_nothing_is_left(tmp_path)
    resumed[0].wait()


def test_an_interrupt_at_any_line_of_stop_leaves_the_run_whole_or_ends_it(tmp_path):
    runs = [wb.launch(LONG, lag=1, out=tmp_path)]
    for _ in at_every_line(lambda: runs[-1].stop()):
        if runs[-1].ended:
            check_nothing_is_left(tmp_path)
            runs.append(wb.launch(LONG, lag=1, out=tmp_path))
        else:
            assert runs[-1].status in ("starting", "running")
    assert runs[-1].status == "stopped"


def test_an_interrupt_in_wait_leaves_the_run_whole(tmp_path):
    run = wb.launch(LONG, lag=1, out=tmp_path)
    for at in range(1, 4):
        assert interrupted(lambda: run.wait(timeout=60), at)
        assert run.status in ("starting", "running")
    run.stop()
    assert run.status == "stopped"
