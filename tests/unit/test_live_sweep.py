"""What a notebook shows of a sweep, without a notebook and without a process: cells are folders that appear."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import workbench as wb
from tests.unit.finished import finished_run
from workbench.runs.awaiting import with_buttons
from workbench.sweep import live

CONFIG = wb.preset("tiny").replace(device="cpu")
DEADLINE_S = 120.0


class Shown:
    """The outputs that a notebook would show, in their order, and a wait for what comes into one of them."""

    def __init__(self, monkeypatch):
        self.outputs, self._new = [], threading.Condition()
        monkeypatch.setattr(live, "display", self._display)

    def _display(self, data, raw, display_id):
        self.outputs.append(data)
        place = len(self.outputs) - 1

        def update(data, raw, metadata=None):
            with self._new:
                self.outputs[place] = data
                self._new.notify_all()

        return SimpleNamespace(update=update)

    def wait_for(self, true):
        with self._new:
            assert self._new.wait_for(true, DEADLINE_S)


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(live, "REFRESH_S", 0.01)
    return Shown(monkeypatch)


def seeds(panel):
    return [run.config.seed for run in panel.runs]


def test_cells_join_the_panel_as_they_begin_and_the_end_leaves_a_picture(tmp_path, shown, monkeypatch):
    monkeypatch.setattr(live, "MOST_RUNS", 2)
    go_on = threading.Semaphore(0)

    class Engine(ThreadPoolExecutor):
        def submit(self, function, cell):
            return super().submit(self.work, cell)

        def work(self, cell):
            go_on.acquire(timeout=DEADLINE_S)
            finished_run(tmp_path, cell.mode, cell.lag, cell.config.seed, name=cell.name)

    with Engine(1) as engine:
        made = wb.sweep(CONFIG, {"seed": range(3)}, executor=engine, out=tmp_path)
        made._ipython_display_()
        (view,) = made._shown
        shown.wait_for(lambda: "3 waiting" in shown.outputs[0].get("text/html", ""))
        assert view.panel is None and len(shown.outputs) == 3 and shown.outputs[1:] == 2 * [{"text/plain": ""}]
        go_on.release()
        shown.wait_for(lambda: "application/vnd.jupyter.widget-view+json" in shown.outputs[1])
        panel = view.panel
        assert seeds(panel) == [0] and "image/png" not in shown.outputs[2]
        go_on.release(2)
        made.wait()
    assert "3 finished" in shown.outputs[0]["text/html"] and "3 finished" in shown.outputs[0]["text/plain"]
    assert view.panel is panel and seeds(panel) == [1, 2], "those that began last"
    assert panel.names == [cell.name for cell in made.cells[1:]] and panel.wait(DEADLINE_S)
    assert [run["name"] for run in panel.widget.drawing["runs"]] == panel.names
    assert len(panel.widget.state["runs"]) == 2 and panel.widget.last["version"] == panel.widget.drawing["version"]
    assert shown.outputs[2]["image/png"].startswith(b"\x89PNG")
    assert made._shown == [] and panel not in with_buttons


def test_the_stop_button_of_the_panel_ends_the_sweep(tmp_path, shown):
    go_on = threading.Event()

    class Engine(ThreadPoolExecutor):
        def submit(self, function, cell):
            return super().submit(self.work, cell)

        def work(self, cell):
            finished_run(tmp_path, cell.mode, cell.lag, cell.config.seed, name=cell.name)
            assert go_on.wait(DEADLINE_S)

    with Engine(1) as engine:
        made = wb.sweep(CONFIG, {"seed": range(3)}, executor=engine, out=tmp_path)
        made._ipython_display_()
        (view,) = made._shown
        shown.wait_for(lambda: "application/vnd.jupyter.widget-view+json" in shown.outputs[1])
        view.panel._tell()
        assert view.panel.widget.state["able"] == ["stop"]
        view.panel.widget._handle_custom_msg({"press": "stop"}, [])
        shown.wait_for(lambda: made.cells[0].stopped and made.done == 2)
        go_on.set()
        with pytest.raises(wb.RunError, match=r"2 of 3 cells did not finish: .*cancelled"):
            made.wait()
    view.panel._tell()
    assert view.panel.widget.state["able"] == [] and "2 waiting" in shown.outputs[0]["text/html"]


def test_a_sweep_that_is_over_is_shown_whole_at_once(tmp_path, shown):
    made = wb.compare(CONFIG, seeds=[0], out=tmp_path, start=False)
    for cell in made.cells:
        finished_run(tmp_path, cell.mode, cell.lag, 0, name=cell.name)
    with ThreadPoolExecutor(1) as engine:
        made._executor, made._run_cell = engine, lambda cell: None
        made.start().wait()
    made._ipython_display_()
    table, panel, picture = shown.outputs
    assert "1 of 1 pairs have finished" in table["text/html"] and "image/png" in picture
    assert f"<Panel of {'; '.join(cell.name for cell in made.cells)}: live" in panel["text/plain"]


def test_what_was_cut_off_is_drawn_when_it_continues(tmp_path, shown):
    made = wb.sweep(CONFIG, {"seed": [3]}, out=tmp_path, start=False)
    finished_run(tmp_path, "multiprocess", 1, 3, name=made.cells[0].name, status="stopped")
    made._ipython_display_()
    (view,) = made._shown
    shown.wait_for(lambda: "1 stopped" in shown.outputs[0].get("text/html", ""))
    view.finish()
    assert view.panel is None


def test_what_goes_wrong_with_the_table_is_told_in_its_place(tmp_path, shown, monkeypatch):
    made = wb.sweep(CONFIG, {"seed": [3]}, out=tmp_path, start=False)
    words = repr(made)
    monkeypatch.setattr(type(made), "rows", property(lambda sweep: 1 / 0))
    monkeypatch.setattr(type(made), "__repr__", lambda sweep: words)
    made._ipython_display_()
    shown.wait_for(lambda: "ZeroDivisionError" in shown.outputs[0].get("text/html", ""))
