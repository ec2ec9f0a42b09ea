"""The panel without a front end: its widgets are clicked and read as a page would do it, with real children."""

from __future__ import annotations

import html
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import workbench as wb
from workbench.core.envs.treasurehunt import Treasurehunt, TreasurehuntConfig
from workbench.core.records import UPDATES
from workbench.runs.folder import RunFolder
from workbench.runs.history import History
from workbench.runs.run import Run
from workbench.view.panel.charts import STANDARD, Choices
from workbench.view.panel.drawing import SideBySide

QUICK = wb.preset("tiny")
ENDLESS = QUICK.replace(epochs=1_000_000)
DEADLINE_S = 120.0


class FallingWorld(Treasurehunt):
    """A world that breaks when a run acts in it; the reference policies play in many copies and do not notice."""

    def act(self, agent: int, actions: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.num_worlds == 1:
            raise RuntimeError("the map <b>fell</b> & broke")
        return super().act(agent, actions)


class Falling(TreasurehuntConfig):
    """Its arguments."""

    def make(self, rng: np.random.Generator, num_worlds: int | None = None) -> FallingWorld:
        return FallingWorld(self, rng, num_worlds)


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
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, world=Falling, start=False)
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


def test_a_picture_that_cannot_be_drawn_is_told_whole_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        panel = wb.Panel(run)

        def fail(drawing: SideBySide) -> bool:
            raise ZeroDivisionError("no <room>")

        monkeypatch.setattr(SideBySide, "update", fail)
        assert panel.wait(DEADLINE_S)
        assert "stands still" in panel.message.value and not run.ended
        assert "ZeroDivisionError: no &lt;room&gt;" in panel.failures.value and "Traceback" in panel.failures.value


# --- choosing curves -------------------------------------------------------------------------------------------------


def shown(panel: wb.Panel) -> bytes:
    return bytes(panel.image.value)


def test_the_form_chooses_what_is_drawn_also_after_the_end(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)])
    assert panel.wait(DEADLINE_S)
    before = shown(panel)
    panel.form.boxes["td_error"].value = True
    assert panel.choices.charts == (*STANDARD, "td_error")
    assert shown(panel) != before and "Seven charts" in panel._alt.value
    panel.form.over.value, panel.form.agents.value = "time", "each"
    panel.form.smoothing.value, panel.form.log.value = 0.0, True
    assert panel.choices == Choices((*STANDARD, "td_error"), 0.0, "time", "each", True)
    assert len(panel.figure().axes) == 7
    panel.form.standard.click()
    assert panel.choices.charts == STANDARD and not panel.form.boxes["td_error"].value


def test_a_choice_that_cannot_be_drawn_leaves_the_picture_and_says_why(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)], charts=["loss"])
    assert panel.wait(DEADLINE_S)
    before = shown(panel)
    panel.form.boxes["loss"].value = False
    assert "0 charts are chosen; choose 1 to 12" in panel.form.message.value
    assert shown(panel) == before and panel.choices.charts == ("loss",)
    panel.form.boxes["q"].value = True
    assert panel.form.message.value == "" and panel.choices.charts == ("q",)
    with pytest.raises(ValueError, match=r"no chart 'grad_nrm'; did you mean grad_norm"):
        panel.choose(charts=["grad_nrm"])
    panel.choose(charts=["grad_norm"], log=True)
    assert panel.form.boxes["grad_norm"].value and panel.form.log.value


def test_an_empty_list_of_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no runs to draw; give at least one"):
        wb.Panel([])


# --- pausing, checkpoints, changes -----------------------------------------------------------------------------------


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs that can be paused and changed, as far as a panel sees; what they were asked for."""
    asked: list[Any] = []

    def pause(run: Run, paused: bool) -> None:
        asked.append("pause" if paused else "proceed")
        run.__dict__["told_to_pause"] = paused

    def change(run: Run, **values: Any) -> None:
        run.config.replace(**values)  # refuses what is refused
        asked.append(values)
        run.__dict__.setdefault("told_changes", []).append((time.time(), 3, values))

    for name, made in {
        "pause": lambda run: pause(run, True),
        "proceed": lambda run: pause(run, False),
        "paused": property(lambda run: run.__dict__.get("told_to_pause", False)),
        "checkpoint": lambda run: asked.append("checkpoint"),
        "change": change,
        "changeable": ("learning.learning_rate", "pacing.publish_interval"),
        "changes": property(lambda run: run.__dict__.get("told_changes", [])),
    }.items():
        monkeypatch.setattr(Run, name, made, raising=False)
    return asked


@pytest.fixture
def running(tmp_path: Path, able: list[Any]) -> Iterator[wb.Run]:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        yield run


def test_pause_continue_and_checkpoint_do_what_they_say(running: wb.Run, able: list[Any]) -> None:
    panel = wb.Panel(running)
    wait_until(panel.pause_button, "disabled", lambda disabled: not disabled)
    assert panel.continue_button.disabled
    panel.pause_button.click()
    wait_until(panel.continue_button, "disabled", lambda disabled: not disabled)
    assert panel.pause_button.disabled and ": paused · epoch" in html.unescape(panel.status.value).replace("</b>", "")
    panel.checkpoint_button.click()
    wait_until(panel.checkpoint_button, "disabled", lambda disabled: not disabled)
    panel.continue_button.click()
    wait_until(panel.pause_button, "disabled", lambda disabled: not disabled)
    assert able == ["pause", "checkpoint", "proceed"]
    panel.close()


def test_who_asks_an_ended_run_to_pause_is_told_how_it_ended(running: wb.Run) -> None:
    panel = wb.Panel(running)
    running.stop()
    assert panel.wait(DEADLINE_S)
    with pytest.raises(wb.RunError, match="there is nothing to pause: sequential, lag 0 is stopped"):
        panel.pause()
    with pytest.raises(wb.RunError, match="there is nothing to continue"):
        panel.proceed()
    assert all(each.disabled for each in (panel.pause_button, panel.continue_button, panel.checkpoint_button))


def test_what_the_runs_cannot_do_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pause", "proceed", "checkpoint", "change", "changeable", "changes", "processes"):
        monkeypatch.delattr(Run, name, raising=False)
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        panel = wb.Panel(run)
        wait_until(panel.stop_button, "disabled", lambda disabled: not disabled)
        assert all(each.disabled for each in (panel.pause_button, panel.continue_button, panel.checkpoint_button))
        hidden = {title for title, each in panel.blocks.buttons.items() if each.layout.display == "none"}
        assert hidden == {"Change while running", "Processes"}
        with pytest.raises(wb.RunError, match=r"these runs have no pause\(\)"):
            panel.pause()
        panel.close()


def test_a_change_is_made_drawn_and_listed_and_one_that_is_refused_is_told(running: wb.Run, able: list[Any]) -> None:
    panel = wb.Panel(running, charts=["learning_rate"])
    form = panel.changes
    wait_until(form.apply, "disabled", lambda disabled: not disabled)
    assert form.fields["learning.learning_rate"].value == "0.001"
    form.apply.click()
    assert "Nothing was edited" in form.message.value
    form.fields["learning.learning_rate"].value = "2e-4"
    form.apply.click()
    assert able == [{"learning.learning_rate": 2e-4}] and "Done" in form.message.value
    assert "learning_rate = 0.0002" in form.made.value
    wait_until(form.fields["learning.learning_rate"], "value", lambda text: text == "0.0002")
    drawn = panel.figure().axes[0]
    assert "learning_rate = 0.0002" in [text.get_text() for text in drawn.texts]
    form.fields["learning.learning_rate"].value = "fast"
    form.apply.click()
    assert "learning.learning_rate is 'fast'; it must be a number" in html.unescape(form.message.value)
    form.fields["learning.learning_rate"].value = "-1"
    form.apply.click()
    assert "it must be above 0" in form.message.value
    assert len(able) == 1
    panel.close()


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_blocks_are_closed_until_they_are_opened(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)])
    assert panel.wait(DEADLINE_S)
    curves = panel.blocks.buttons["Curves"]
    assert panel.form.widget.layout.display == "none" and curves.icon == "caret-right"
    curves.value = True
    assert panel.form.widget.layout.display is None and curves.icon == "caret-down"


def test_the_doctor_looks_when_he_is_asked_in(tmp_path: Path) -> None:
    panel = wb.Panel(loaded(tmp_path))
    assert panel.wait(DEADLINE_S)
    assert "the doctor is looking" in panel.doctor.value.lower()
    panel.blocks.buttons["Doctor"].value = True
    wait_until(panel.doctor, "value", lambda text: "every frame has shape and dtype" in text)
    assert "sync verification" in panel.doctor.value and "cannot&nbsp;tell" in panel.doctor.value


def test_processes_are_told_apart_by_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = SimpleNamespace(name="actor", role="actor", agents=(), pid=7, alive=True, silence_s=0.25, restarts=0)
    dead = SimpleNamespace(name="<learner>", role="learner", agents=(0, 1), pid=8, alive=False, silence_s=9, restarts=2)
    monkeypatch.setattr(Run, "processes", [actor, dead], raising=False)
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)
    panel.blocks.buttons["Processes"].value = True
    assert "alive" in panel.processes.value and "gone" in panel.processes.value
    assert "&lt;learner&gt;" in panel.processes.value and "0, 1" in panel.processes.value
    run.stop()
    assert panel.wait(DEADLINE_S)


# --- several panels --------------------------------------------------------------------------------------------------


def test_two_panels_on_one_run_both_live(tmp_path: Path) -> None:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        one, two = wb.Panel(run), wb.Panel(run, charts=["loss"], over="time")
        frames = Frames(one), Frames(two)
        for each in frames:
            each.wait_for(3)
        one.close()
        frames[1].wait_for(len(frames[1].pictures) + 2)
        run.stop()
        assert two.wait(DEADLINE_S)


def test_a_run_that_goes_on_elsewhere_is_followed_to_its_end_read_only(tmp_path: Path) -> None:
    run = wb.launch(QUICK.replace(epochs=60), mode="sequential", lag=0, out=tmp_path)
    follower = wb.load(run.folder.path)
    panel = wb.Panel(follower)
    frames = Frames(panel)
    assert "read only" in panel.status.value
    assert all(each.disabled for each in panel._buttons)
    with pytest.raises(wb.RunError, match="started elsewhere can only be looked at"):
        panel.pause()
    frames.wait_for(3)
    run.wait(DEADLINE_S)
    assert panel.wait(DEADLINE_S)
    assert follower.status == "finished" and "finished · epoch 60 of 60" in panel.status.value
    np.testing.assert_array_equal(follower.history.updates, History.of(run.folder).updates)
    assert follower.result == run.result
