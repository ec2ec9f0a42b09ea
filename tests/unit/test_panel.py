"""The panel without a front end: its widgets are clicked and read as a page would do it, with real children."""

from __future__ import annotations

import html
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import workbench as wb
from workbench.record.folder import RunFolder
from workbench.record.metrics import UPDATES
from workbench.world.treasurehunt import Treasurehunt

QUICK = wb.preset("quick")
ENDLESS = QUICK.replace(epochs=1_000_000)
DEADLINE_S = 120.0


class FallingWorld(Treasurehunt):
    """A world that breaks when a run acts in it; the reference policies play in many copies and do not notice."""

    def act(self, agent: int, actions: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.num_worlds == 1:
            raise RuntimeError("the map <b>fell</b> & broke")
        return super().act(agent, actions)


class Frames:
    """Counts the pictures that a page would be sent, and waits for them."""

    def __init__(self, panel: wb.Panel) -> None:
        self.pictures = [bytes(panel.image.value)]
        self._new = threading.Condition()
        panel.image.observe(self._take, "value")

    def _take(self, change: Any) -> None:
        with self._new:
            self.pictures.append(bytes(change["new"]))
            self._new.notify_all()

    def wait_for(self, count: int) -> None:
        """Sleep until so many pictures have been sent."""
        with self._new:
            assert self._new.wait_for(lambda: len(self.pictures) >= count, DEADLINE_S), "the picture stands still"


def wait_until(widget: Any, trait: str, holds: Callable[[Any], bool]) -> None:
    """Sleep until a trait of a widget is as wanted."""
    reached = threading.Event()
    widget.observe(lambda change: reached.set() if holds(change["new"]) else None, trait)
    assert holds(getattr(widget, trait)) or reached.wait(DEADLINE_S), f"{trait} is still {getattr(widget, trait)!r}"


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child process and no thread of a panel outlives a test."""
    yield
    assert multiprocessing.active_children() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("panel")]


def test_start_draws_frames_that_differ_and_stop_leaves_nothing(tmp_path: Path) -> None:
    with wb.compare(ENDLESS, lag=1, out=tmp_path, start=False) as pair:
        panel = wb.Panel(pair)
        frames = Frames(panel)
        assert not panel.start_button.disabled and panel.stop_button.disabled
        assert "not started" in panel.status.value

        panel.start_button.click()
        frames.wait_for(4)
        assert len(set(frames.pictures)) == len(frames.pictures), "a frame was sent that shows nothing new"
        assert all(picture.startswith(b"\x89PNG") for picture in frames.pictures)
        wait_until(panel.status, "value", lambda text: "agent steps/s" in text and "waits for its turn" in text)
        wait_until(panel.stop_button, "disabled", lambda disabled: not disabled)
        assert panel.start_button.disabled

        panel.stop_button.click()
        assert panel.wait(DEADLINE_S)
        assert [run.status for run in panel.runs] == ["stopped", "stopped"]
    assert panel.start_button.disabled and panel.message.value == ""


def test_the_last_frame_shows_the_end_and_the_thread_leaves(tmp_path: Path) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path)
    panel = wb.Panel(run)
    assert panel.wait(DEADLINE_S)
    assert run.status == "finished"
    assert "finished · epoch 12 of 12 · 88 updates" in panel.status.value
    assert panel.start_button.disabled
    wait_until(panel.stop_button, "disabled", bool)
    fresh = wb.Panel(run)
    assert fresh.wait(DEADLINE_S)
    assert panel.figure()._repr_png_() == fresh.figure()._repr_png_()


def test_a_failing_child_tells_the_panel_its_whole_traceback(tmp_path: Path) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, world=FallingWorld, start=False)
    panel = wb.Panel([run])
    panel.start_button.click()
    assert panel.wait(DEADLINE_S)
    assert run.status == "failed" and "failed before the end of its first epoch" in panel.status.value
    shown = panel.failures.value
    assert "<b>fell</b>" not in shown
    assert "RuntimeError: the map <b>fell</b> & broke" in html.unescape(shown)
    assert "Traceback (most recent call last)" in shown and "in act" in shown


def test_a_click_that_comes_too_late_starts_nothing(tmp_path: Path) -> None:
    pair = wb.compare(QUICK, out=tmp_path, start=False)
    panel = wb.Panel(pair)
    pair.stop()
    panel.start()
    assert panel.wait(DEADLINE_S)
    assert [run.status for run in pair.runs] == ["stopped", "stopped"]
    assert panel.start_button.disabled and panel.stop_button.disabled


def test_what_goes_wrong_with_a_button_is_told_in_the_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)

    def refuse() -> None:
        raise OSError("no <more> processes")

    monkeypatch.setattr(run, "start", refuse)
    panel.start_button.click()
    wait_until(panel.message, "value", lambda text: "no &lt;more&gt; processes" in text)
    wait_until(panel.start_button, "disabled", lambda disabled: not disabled)
    run.stop()
    assert panel.wait(DEADLINE_S)


def test_a_click_returns_before_its_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)
    clicked, started = threading.Event(), []
    monkeypatch.setattr(run, "start", lambda: started.append(clicked.wait(10)))
    panel.start_button.click()
    assert panel.start_button.disabled and panel.stop_button.disabled
    clicked.set()
    wait_until(panel.start_button, "disabled", lambda disabled: not disabled)
    assert started == [True]
    run.stop()
    assert panel.wait(DEADLINE_S)


def test_close_ends_the_thread_and_not_the_run(tmp_path: Path) -> None:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        panel = wb.Panel(run)
        panel.close()
        assert panel.wait(0)
        assert run.status in ("starting", "running")


def loaded(tmp_path: Path, **description: Any) -> wb.LoadedRun:
    """A run folder made by hand, with seven updates in it."""
    told = {"config": QUICK.to_dict(), "mode": "multiprocess", "lag": 1, "status": "failed", "error": None}
    folder = RunFolder.create("earlier", told | description, tmp_path)
    records = np.zeros(7, UPDATES)
    records["update"], records["loss"] = np.arange(1, 8), np.arange(7.0)
    folder.append("updates", records)
    return wb.load(folder.path)


def test_a_loaded_run_is_shown_as_it_was_left(tmp_path: Path) -> None:
    panel = wb.Panel(loaded(tmp_path, error="learner 0 failed:\nZeroDivisionError: <zero>"))
    assert panel.wait(DEADLINE_S)
    assert panel.start_button.disabled and panel.stop_button.disabled
    assert "learner 0 failed:\nZeroDivisionError: <zero>" in html.unescape(panel.failures.value)
    assert "<zero>" not in panel.failures.value


def test_a_notebook_shows_widgets_a_picture_and_words_for_it(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)])
    assert panel.wait(DEADLINE_S)
    shown = panel._repr_mimebundle_()
    assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert shown["text/plain"] == "<Panel of multiprocess, lag 1: live in a running notebook>"
    assert "wb-live" in panel.image._dom_classes
    assert any(
        "Six charts" in getattr(child, "value", "") for child in panel.widget.children if child is not panel.image
    )
