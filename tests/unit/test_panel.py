"""The panel without a front end: its widgets are clicked and read as a page would do it, with real children."""

from __future__ import annotations

import asyncio
import html
import json
import multiprocessing
import shutil
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
from workbench.runs import machine
from workbench.runs.folder import RunFolder
from workbench.runs.history import History
from workbench.runs.run import Run
from workbench.view.panel.charts import STANDARD, Choices
from workbench.view.panel.feed import Feed

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

    def make(self, rng: np.random.Generator) -> FallingWorld:
        return FallingWorld(self, rng)


class Frames:
    """Counts the messages with rows that a page would be sent, and waits for them."""

    def __init__(self, panel: wb.Panel) -> None:
        self.messages: list[tuple[dict[str, Any], bytes]] = []
        self._new, self._send = threading.Condition(), panel.widget.send
        panel.widget.send = self._take

    def _take(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        with self._new:
            self.messages.append((content, buffers[0]))
            self._new.notify_all()
        self._send(content, buffers)

    def wait_for(self, count: int) -> None:
        """Sleep until this many messages have been sent."""
        with self._new:
            assert self._new.wait_for(lambda: len(self.messages) >= count, DEADLINE_S), "the charts stand still"


def press(panel: wb.Panel, name: str) -> None:
    """What a page says when a button is pressed."""
    say(panel, press=name)


def say(panel: wb.Panel, **said: Any) -> None:
    """A message from a page."""
    panel.widget._handle_custom_msg(said, [])


def wait_until(panel: wb.Panel, holds: Callable[[dict[str, Any]], bool], trait: str = "state") -> None:
    """Sleep until what a page is told is as wanted."""
    reached = threading.Event()
    panel.widget.observe(lambda change: reached.set() if holds(change["new"]) else None, trait)
    now = getattr(panel.widget, trait)
    assert holds(now) or reached.wait(DEADLINE_S), f"{trait} is still {getattr(panel.widget, trait)!r}"


def can(*names: str) -> Callable[[dict[str, Any]], bool]:
    """Whether these buttons can be pressed."""
    return lambda state: set(names) <= set(state["able"])


def facts(panel: wb.Panel) -> str:
    """The lines of all runs."""
    return "; ".join(run["facts"] for run in panel.widget.state["runs"])


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No child process and no thread of a panel outlives a test."""
    yield
    assert multiprocessing.active_children() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("panel")]


def test_start_sends_rows_and_stop_leaves_nothing(tmp_path: Path) -> None:
    with wb.compare(ENDLESS, lag=1, out=tmp_path, start=False) as pair:
        panel = wb.Panel(pair)
        frames = Frames(panel)
        assert panel.widget.state["able"] == ["start"] and "not started" in facts(panel)

        press(panel, "start")
        frames.wait_for(4)
        assert all(content["lines"] and rows for content, rows in frames.messages), "nothing new was sent"
        wait_until(panel, lambda state: "agent steps/s" in state["runs"][0]["facts"])
        assert "waits for its turn" in facts(panel)
        wait_until(panel, can("stop", "pause"))
        assert "start" not in panel.widget.state["able"]

        press(panel, "stop")
        assert panel.wait(DEADLINE_S)
        assert [run.status for run in panel.runs] == ["stopped", "stopped"]
        assert panel.widget.state["runs"][1]["facts"] == "stopped before it began"
    wait_until(panel, lambda state: state["able"] == [])
    assert panel.widget.state["message"] == ""


def test_the_last_rows_show_the_end_and_the_thread_leaves(tmp_path: Path) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path)
    panel = wb.Panel(run)
    assert panel.wait(DEADLINE_S)
    assert run.status == "finished"
    assert "finished · epoch 12 of 12 · 88 updates" in facts(panel)
    wait_until(panel, lambda state: state["able"] == [])
    fresh = wb.Panel(run)
    assert fresh.wait(DEADLINE_S)
    assert panel.widget.last["rows"] == fresh.widget.last["rows"] != b""
    assert panel.figure()._repr_png_() == fresh.figure()._repr_png_()


def test_an_await_ends_with_the_runs_and_leaves_the_kernel_free(tmp_path: Path) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path)
    panel = wb.Panel(run)

    async def cell() -> int:
        turns, waiting = 0, asyncio.ensure_future(panel)
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0.01)
        await panel
        return turns

    assert asyncio.run(cell()) > 1
    assert run.status == "finished"


def test_a_failing_child_tells_the_panel_its_whole_traceback(tmp_path: Path) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, world=Falling, start=False)
    panel = wb.Panel([run])
    press(panel, "start")
    assert panel.wait(DEADLINE_S)
    assert run.status == "failed" and facts(panel) == "failed before the end of its first epoch"
    shown = panel.widget.state["failures"]
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
    assert panel.widget.state["able"] == [] and facts(panel) == "stopped before it began; stopped before it began"


def test_what_goes_wrong_with_a_button_is_told_in_the_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)

    def refuse() -> None:
        raise OSError("no <more> processes")

    monkeypatch.setattr(run, "start", refuse)
    press(panel, "start")
    wait_until(panel, lambda state: "no &lt;more&gt; processes" in state["message"])
    wait_until(panel, can("start"))
    run.stop()
    assert panel.wait(DEADLINE_S)


def test_a_click_returns_before_its_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)
    clicked, started = threading.Event(), []
    monkeypatch.setattr(run, "start", lambda: started.append(clicked.wait(10)))
    press(panel, "start")
    assert panel.widget.state["able"] == []
    clicked.set()
    wait_until(panel, can("start"))
    assert started == [True]
    run.stop()
    assert panel.wait(DEADLINE_S)


def test_close_ends_the_thread_and_not_the_run(tmp_path: Path) -> None:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        panel = wb.Panel(run)
        panel.close()
        assert panel.wait(0)
        assert run.status in ("starting", "running")


def loaded(tmp_path: Path, name: str = "earlier", **description: Any) -> wb.LoadedRun:
    """A run folder made by hand, with seven updates in it."""
    told = {"config": QUICK.to_dict(), "mode": "multiprocess", "lag": 1, "status": "failed", "error": None}
    folder = RunFolder.create(name, told | description, tmp_path)
    records = np.zeros(7, UPDATES)
    records["update"], records["loss"] = np.arange(1, 8), np.arange(7.0)
    folder.append("updates", records)
    return wb.load(folder.path)


def test_a_loaded_run_is_shown_as_it_was_left(tmp_path: Path) -> None:
    panel = wb.Panel(loaded(tmp_path, error="learner 0 failed:\nZeroDivisionError: <zero>"))
    assert panel.wait(DEADLINE_S)
    assert panel.widget.state["able"] == []
    assert "learner 0 failed:\nZeroDivisionError: <zero>" in html.unescape(panel.widget.state["failures"])
    assert "<zero>" not in panel.widget.state["failures"]


class Shown:
    """What a notebook would be told to show, in place of its messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outputs: list[dict[str, Any]] = []
        monkeypatch.setattr("workbench.view.panel.panel.display", self._display)

    def _display(self, data: dict[str, Any], raw: bool, metadata: Any = None, display_id: bool = False) -> Any:
        self.outputs.append(data)
        place = len(self.outputs) - 1

        def update(data: dict[str, Any], raw: bool, metadata: dict[str, Any]) -> None:
            assert metadata["image/png"]["alt"].startswith("Picture of the panel. ")
            self.outputs[place] = data

        return SimpleNamespace(update=update) if display_id else None


def test_a_notebook_shows_the_widget_and_a_picture_once_a_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown(monkeypatch)
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)
    panel._ipython_display_()
    widget, twin = shown.outputs
    assert widget["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert widget["text/plain"] == "<Panel of sequential, lag 0: live in a running notebook>"
    assert twin == {"text/plain": ""}
    press(panel, "start")
    assert panel.wait(DEADLINE_S)
    assert shown.outputs[1]["image/png"].startswith(b"\x89PNG")
    panel._ipython_display_()  # of a run that has ended: the picture is there at once
    assert shown.outputs[3]["image/png"] == shown.outputs[1]["image/png"]


def test_of_more_runs_than_can_be_told_apart_the_picture_shows_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.view.panel.panel.MOST_STYLES", 2)
    shown = Shown(monkeypatch)
    panel = wb.Panel([loaded(tmp_path / str(number)) for number in range(3)], charts=["loss"])
    assert panel.wait(DEADLINE_S)
    panel._ipython_display_()
    assert "image/png" in shown.outputs[1]
    assert panel.figure().alt.endswith("The first 2 of 3 runs; a figure tells no more apart.")


def test_the_charts_move_while_the_picture_of_a_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing it costs as much as a thousand looks: the thread that looks would rest for a quarter of a minute."""
    drawing, free = threading.Event(), threading.Event()

    def slow(panel: wb.Panel) -> None:
        assert threading.current_thread().name == "panel picture"
        drawing.set()
        assert free.wait(DEADLINE_S)

    monkeypatch.setattr(wb.Panel, "_draw_picture", slow)
    runs = [wb.launch(config, mode="sequential", lag=0, out=tmp_path, start=False) for config in (QUICK, ENDLESS)]
    panel = wb.Panel(runs)
    frames = Frames(panel)
    panel.start()
    assert drawing.wait(DEADLINE_S) and runs[0].ended
    frames.wait_for(len(frames.messages) + 3)
    monkeypatch.undo()
    free.set()
    panel.stop()
    assert panel.wait(DEADLINE_S)


def test_a_page_that_says_hello_gets_all_rows(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)], charts=["loss"], over="update")
    assert panel.wait(DEADLINE_S)
    frames = Frames(panel)
    say(panel, hello=True)
    ((content, rows),) = frames.messages
    assert content["version"] == panel.widget.drawing["version"]
    assert content["lines"][0][:4] == [0, 0, 7, 2]
    np.testing.assert_array_equal(
        np.frombuffer(rows, np.float32).reshape(7, 2), np.column_stack([np.arange(1, 8), np.arange(7)])
    )


def test_charts_that_cannot_be_drawn_are_told_whole_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wb.launch(ENDLESS, mode="sequential", lag=0, out=tmp_path) as run:
        panel = wb.Panel(run)

        def fail(feed: Feed, only: int) -> None:
            raise ZeroDivisionError("no <room>")

        monkeypatch.setattr(Feed, "update", fail)
        assert panel.wait(DEADLINE_S)
        state = panel.widget.state
        assert "stand still" in state["message"] and not run.ended
        assert "ZeroDivisionError: no &lt;room&gt;" in state["failures"] and "Traceback" in state["failures"]


# --- choosing curves -------------------------------------------------------------------------------------------------


def test_a_page_chooses_what_is_drawn_also_after_the_end(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)])
    assert panel.wait(DEADLINE_S)
    frames, before = Frames(panel), panel.widget.drawing["version"]
    say(panel, choose={"charts": [*STANDARD, "td_error"]})
    assert panel.choices.charts == (*STANDARD, "td_error")
    assert len(panel.widget.drawing["charts"]) == 7 and panel.widget.drawing["version"] == before + 1
    assert frames.messages[-1][0]["version"] == before + 1
    say(panel, choose={"over": "time", "agents": "each"})
    panel.widget.smoothing, panel.widget.log = 0.0, True
    assert panel.choices == Choices((*STANDARD, "td_error"), 0.0, "time", "each", True)
    assert len(panel.figure().axes) == 7
    say(panel, choose={"charts": panel.widget.drawing["offered"]["standard"]})
    assert panel.choices.charts == STANDARD and panel.wait(DEADLINE_S)


def test_what_is_chosen_after_the_end_is_in_a_saved_notebook_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, panel = Shown(monkeypatch), wb.Panel([loaded(tmp_path)])
    panel._ipython_display_()
    assert panel.wait(DEADLINE_S)
    first = shown.outputs[1]["image/png"]
    panel.choose(charts=["grad_norm"])
    assert panel.wait(DEADLINE_S)
    assert panel.widget.last["version"] == panel.widget.drawing["version"]
    chosen = shown.outputs[1]["image/png"]
    panel.follow([loaded(tmp_path, name="another")])
    assert panel.wait(DEADLINE_S)
    assert len({first, chosen, shown.outputs[1]["image/png"]}) == 3, "the picture shows what was shown before"


def test_a_choice_that_cannot_be_drawn_leaves_the_charts_and_says_why(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)], charts=["loss"])
    assert panel.wait(DEADLINE_S)
    say(panel, choose={"charts": []})
    assert "0 charts are chosen; choose 1 to 12" in panel.widget.state["message"]
    assert panel.choices.charts == ("loss",)
    say(panel, choose={"charts": ["q"]})
    assert panel.widget.state["message"] == "" and panel.choices.charts == ("q",)
    with pytest.raises(ValueError, match=r"no chart 'grad_nrm'; did you mean grad_norm"):
        panel.choose(charts=["grad_nrm"])
    panel.choose(charts=["grad_norm"], log=True)
    assert panel.widget.drawing["choices"]["charts"] == ("grad_norm",) and panel.widget.log
    assert panel.wait(DEADLINE_S)


def test_the_smoothing_of_the_page_is_that_of_what_is_drawn_next(tmp_path: Path) -> None:
    panel = wb.Panel([loaded(tmp_path)], charts=["loss"])
    panel.widget.smoothing = 0.25
    panel.choose(charts=["q"])
    assert panel.choices.smoothing == panel.widget.smoothing == 0.25
    assert panel.wait(DEADLINE_S)


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
    wait_until(panel, can("pause"))
    assert "proceed" not in panel.widget.state["able"]
    press(panel, "pause")
    wait_until(panel, can("proceed"))
    assert "pause" not in panel.widget.state["able"] and facts(panel).startswith("paused · epoch")
    press(panel, "checkpoint")
    wait_until(panel, can("checkpoint"))
    press(panel, "proceed")
    wait_until(panel, can("pause"))
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
    wait_until(panel, lambda state: state["able"] == [])


def test_a_change_is_made_drawn_and_listed_and_one_that_is_refused_is_told(running: wb.Run, able: list[Any]) -> None:
    panel, title = wb.Panel(running, charts=["learning_rate"]), "Change while running"
    wait_until(panel, lambda state: state["changeable"])
    assert panel.widget.state["fields"]["learning.learning_rate"] == "0.001"
    say(panel, change={})
    assert "Nothing was edited" in panel.widget.pages[title]
    say(panel, change={"learning.learning_rate": "2e-4"})
    assert able == [{"learning.learning_rate": 2e-4}] and "Done" in panel.widget.pages[title]
    assert "learning_rate = 0.0002" in panel.widget.pages[title] and panel.widget.state["applied"] == 1
    wait_until(panel, lambda state: state["fields"]["learning.learning_rate"] == "0.0002")
    drawn = panel.figure().axes[0]
    assert "learning_rate = 0.0002" in [text.get_text() for text in drawn.texts]
    say(panel, change={"learning.learning_rate": "fast"})
    assert "learning.learning_rate is 'fast'; it must be a number" in html.unescape(panel.widget.pages[title])
    say(panel, change={"learning.learning_rate": "-1"})
    assert "it must be above 0" in panel.widget.pages[title]
    assert len(able) == 1 and panel.widget.state["applied"] == 1
    panel.close()


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_the_doctor_looks_when_he_is_asked_in(tmp_path: Path) -> None:
    panel = wb.Panel(loaded(tmp_path))
    assert panel.wait(DEADLINE_S)
    assert "the doctor is looking" in panel.widget.pages["Doctor"].lower()
    say(panel, open="Doctor", shown=True)
    wait_until(panel, lambda pages: "every frame has shape and dtype" in pages["Doctor"], "pages")
    assert "sync verification" in panel.widget.pages["Doctor"] and "cannot&nbsp;tell" in panel.widget.pages["Doctor"]


def test_processes_are_told_apart_by_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = SimpleNamespace(name="actor", role="actor", agents=(), pid=7, alive=True, silence_s=0.25, restarts=0)
    dead = SimpleNamespace(name="<learner>", role="learner", agents=(0, 1), pid=8, alive=False, silence_s=9, restarts=2)
    later = SimpleNamespace(name="late", role="learner", agents=(), pid=None, alive=False, silence_s=0, restarts=0)
    monkeypatch.setattr(Run, "processes", [actor, dead], raising=False)
    run = wb.launch(QUICK, mode="sequential", lag=0, out=tmp_path, start=False)
    panel = wb.Panel(run)
    say(panel, open="Processes", shown=True)
    shown = panel.widget.pages["Processes"]
    assert "alive" in shown and "gone" in shown and "not started" not in shown
    assert "&lt;learner&gt;" in shown and "0, 1" in shown
    monkeypatch.setattr(Run, "processes", [later], raising=False)
    wait_until(panel, lambda pages: "not started" in pages["Processes"] and "gone" not in pages["Processes"], "pages")
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
        frames[1].wait_for(len(frames[1].messages) + 2)
        run.stop()
        assert two.wait(DEADLINE_S)


def test_a_run_that_runs_elsewhere_is_followed_to_its_end_read_only(tmp_path: Path) -> None:
    run = wb.launch(QUICK.replace(epochs=60), mode="sequential", lag=0, out=tmp_path)
    follower = wb.load(run.folder.path)
    panel = wb.Panel(follower)
    frames = Frames(panel)
    assert "read only" in facts(panel) and panel.widget.state["able"] == []
    with pytest.raises(wb.RunError, match="started elsewhere can only be looked at"):
        panel.pause()
    frames.wait_for(3)
    run.wait(DEADLINE_S)
    assert panel.wait(DEADLINE_S)
    assert follower.status == "finished" and "finished · epoch 60 of 60" in facts(panel)
    np.testing.assert_array_equal(follower.history.updates, History.of(run.folder).updates)
    assert follower.result == run.result


def followed(folder: Path, name: str, agents: int = 2) -> wb.LoadedRun:
    """A run that seems to run elsewhere, with three updates so far."""
    config = QUICK.replace(**{"world.num_agents": agents})
    told = {"config": config.to_dict(), "mode": "multiprocess", "lag": 1, "status": "running", "error": None,
            "machine": machine.describe(), "created": time.time()}  # fmt: skip
    goes_on(RunFolder.create(name, told, folder), 0)
    return wb.load(folder / name)


def goes_on(folder: RunFolder, done: int) -> None:
    """Three more updates of a run."""
    records = np.zeros(3, UPDATES)
    records["update"], records["loss"] = np.arange(done + 1, done + 4), 1.0
    folder.append("updates", records)


def spoil(path: Path, how: str) -> None:
    """Make a run folder unreadable."""
    if how in ("deleted", "a file"):
        shutil.rmtree(path)
    if how == "a file":
        path.write_text("mine now")
    elif how == "senseless records":
        (path / "updates.records").write_bytes(np.random.default_rng(0).bytes(50 * UPDATES.itemsize))
    elif how == "no description":
        (path / "run.json").write_text("{")
    elif how == "senseless description":
        head = json.loads((path / "run.json").read_text())
        head["description"] |= {"incidents": 3, "resumed": 4}
        (path / "run.json").write_text(json.dumps(head))


@pytest.mark.parametrize("how", ["deleted", "a file", "senseless records", "no description", "senseless description"])
def test_a_followed_run_that_can_no_longer_be_read_is_named_and_the_others_move_on(how: str, tmp_path: Path) -> None:
    runs = [followed(tmp_path, name) for name in ("lost", "well")]
    panel = wb.Panel(runs)
    frames = Frames(panel)
    wait_until(panel, lambda state: "waiting for data" in state["runs"][0]["facts"])
    spoil(runs[0].folder.path, how)
    if how != "senseless records":  # of those, some can be read
        wait_until(panel, lambda state: "cannot be read" in state["runs"][0]["facts"])
        told = html.unescape(panel.widget.state["failures"])
        assert "lost" in told and str(runs[0].folder.path) in told
        assert "cannot be read" not in panel.widget.state["runs"][1]["facts"]
    seen = len(frames.messages)
    goes_on(runs[1].folder, 3)
    frames.wait_for(seen + 1)
    assert {panel.widget.drawing["lines"][line[0]]["run"] for line in frames.messages[-1][0]["lines"]} >= {1}
    assert "stand still" not in panel.widget.state["message"]
    runs[1].folder.write_description(runs[1].description | {"status": "finished"})
    if how == "senseless records":
        runs[0].folder.write_description(runs[0].description | {"status": "finished"})
    assert panel.wait(DEADLINE_S) and panel.widget.state["runs"][1]["facts"].startswith("finished")
    if how != "senseless records":
        assert "Left out, as it cannot be read: " in panel.figure().alt
    panel.choose(over="time")
    panel.close()


def test_the_charts_live_on_when_the_run_with_the_chosen_agent_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shown(monkeypatch)
    lost, well = followed(tmp_path, "lost", agents=3), followed(tmp_path, "well")
    panel = wb.Panel([lost, well], agents=2)
    panel._ipython_display_()
    spoil(lost.folder.path, "deleted")
    wait_until(panel, lambda state: "cannot be read" in state["runs"][0]["facts"])
    well.folder.write_description(well.description | {"status": "finished"})
    assert panel.wait(DEADLINE_S)
    assert "stand still" not in panel.widget.state["message"] and "agents is 2" not in panel.widget.state["failures"]


def test_a_panel_of_which_no_run_can_be_read_says_so(tmp_path: Path) -> None:
    run = followed(tmp_path, "lost")
    panel = wb.Panel(run)
    spoil(run.folder.path, "deleted")
    assert panel.wait(DEADLINE_S)  # nothing can come any more
    assert "cannot be read" in panel.widget.state["runs"][0]["facts"]
    assert str(run.folder.path) in html.unescape(panel.widget.state["failures"])
    with pytest.raises(wb.RecordError, match=f"none of the runs can be read: .*{run.folder.path}"):
        panel.figure()


def test_a_picture_that_cannot_be_drawn_for_a_reason_of_ours_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise ValueError("the limits are nan")

    Shown(monkeypatch)
    monkeypatch.setattr("workbench.view.panel.panel.draw", broken)
    panel = wb.Panel(loaded(tmp_path))
    panel.wait(DEADLINE_S)
    with pytest.raises(ValueError, match="the limits are nan"):
        panel._ipython_display_()


def test_a_run_that_can_be_read_again_is_followed_again(tmp_path: Path) -> None:
    runs = [followed(tmp_path, name) for name in ("away", "well")]
    panel = wb.Panel(runs)
    wait_until(panel, lambda state: "waiting for data" in state["runs"][0]["facts"])
    runs[0].folder.path.rename(tmp_path / "elsewhere")
    wait_until(panel, lambda state: "cannot be read" in state["runs"][0]["facts"])
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    wait_until(panel, lambda state: "cannot be read" not in state["runs"][0]["facts"])
    assert panel.widget.state["failures"] == ""
    panel.close()
