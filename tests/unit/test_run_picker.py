"""Runs are chosen from a list, and a panel or a report of them opens below it."""

import shutil
import warnings

import pytest

import workbench as wb
from tests.unit.finished import finished_run
from workbench.runs.loaded import RunError
from workbench.view.html import quiet, warning


@pytest.fixture
def picker(tmp_path):
    for seed in (0, 1):
        for mode in ("sequential", "multiprocess"):
            finished_run(tmp_path, mode, 1, seed)
    return wb.pick(wb.runs(tmp_path, sort="name"))


def names(found):
    return [each.name for each in found]


def test_a_notebook_that_is_read_without_a_kernel_has_the_table(picker):
    assert "multiprocess-lag1-seed0" in picker._repr_mimebundle_()[0]["text/html"]


def test_the_filter_leaves_the_runs_with_these_words(picker):
    assert len(picker.choice.options) == 4
    picker.filter.value = "Sequential"
    assert names(picker.chosen) == ["sequential-lag1-seed0", "sequential-lag1-seed1"]
    picker.choice.index = (1,)
    assert names(picker.chosen) == ["sequential-lag1-seed1"]
    picker.filter.value = ""
    assert len(picker.choice.options) == 4


def test_a_filter_that_leaves_no_run_says_so_until_it_leaves_some(picker):
    picker.filter.value = "sequentiel"
    assert picker.choice.options == () and "no run has &#x27;sequentiel&#x27;" in picker._said.value
    picker.filter.value = "sequenti"
    assert len(picker.choice.options) == 2 and picker._said.value == ""


def test_a_panel_and_a_report_open_of_the_chosen_runs(picker, monkeypatch):
    picker.choice.index = (0, 2)
    picker.buttons["Panel"].click()
    (panel,) = picker.opened
    assert [run.name for run in panel.runs] == ["multiprocess-lag1-seed0", "sequential-lag1-seed0"]
    closed = []
    monkeypatch.setattr(panel, "close", lambda: closed.append(panel))
    picker.buttons["Report"].click()
    assert closed == [panel]  # it is on no page any more
    results, *figures = picker.opened
    assert "greedy reward" in results.text and {"Sync lag in versions (a) and in milliseconds (b)"} <= {
        figure.caption.partition(":")[0] for figure in figures
    }


def test_what_cannot_be_opened_says_why(picker, tmp_path):
    picker.choice.index = (0,)
    shutil.rmtree(tmp_path / "multiprocess-lag1-seed0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the folder is left out with a warning
        picker.buttons["Panel"].click()
    assert picker.opened == () and "no runs" in picker._said.value


def test_words_outside_a_panel_have_colours_of_the_theme():
    """A fixed grey or red cannot be read on a dark page."""
    assert "color: var(--wb-grey, var(--jp-ui-font-color2, " in quiet("9 runs")
    assert "color: var(--wb-warning, var(--jp-error-color1, " in warning("no weights")


def test_of_no_run_there_is_nothing_to_choose(tmp_path):
    with pytest.raises(RunError, match="nothing to choose from; launch a run"):
        wb.pick(wb.runs(tmp_path))
