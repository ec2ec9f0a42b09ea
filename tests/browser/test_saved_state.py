"""A notebook that was saved with the state of its widgets, opened again: the charts are there, and answer."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page

import workbench as wb
from tests.browser.lab import lab, page_on, run_all, wait_until, write_notebook
from tests.browser.test_live_panel import cell, wait_for_frames

SAVE_STATE = "jupyterlab_settings_dir/@jupyter-widgets/jupyterlab-manager/plugin.jupyterlab-settings"
STATE = "application/vnd.jupyter.widget-state+json"


def summary(page: Page) -> str:
    """What the panel says to readers who cannot see it."""
    return cell(page, 1).locator(".wb-hidden").first.inner_text()


@pytest.mark.browser
@pytest.mark.slow
def test_a_notebook_that_was_saved_with_its_state_shows_live_charts_without_its_kernel(
    tmp_path: Path, family: Any
) -> None:
    run = wb.launch(wb.preset("tiny").replace(device="cpu"), "sequential", 1, out=tmp_path / "runs")
    run.wait()
    cells = f"import workbench as wb\n\nrun = wb.load({str(run.folder.path)!r})", "wb.Panel(run)"
    book = write_notebook(tmp_path / "notebooks" / "saved.ipynb", cells)
    setting = tmp_path / SAVE_STATE
    setting.parent.mkdir(parents=True)
    setting.write_text('{"saveState": true}')

    def kept() -> bool:
        try:
            return bool(nbformat.read(book, 4).metadata["widgets"][STATE]["state"])
        except (KeyError, nbformat.reader.NotJSONError):  # not saved yet, or just being written
            return False

    with lab(book.parent, tmp_path, family.environment) as server:
        with page_on(server, book.name, tmp_path / "first") as page:
            run_all(server, page)
            wait_for_frames(page, 1)
            told = wait_until(lambda: summary(page), "the charts are told in words")
            page.keyboard.press("Control+s")
            wait_until(kept, "the notebook was saved with the state of its widgets")
        for kernel in server.get("api/kernels"):
            server.end(kernel["id"])
        with page_on(server, book.name, tmp_path / "second") as page:  # with a kernel that knows nothing
            wait_for_frames(page, 1)
            wait_until(lambda: summary(page) == told, f"the charts say what they said: {told}")
            panel = cell(page, 1)
            panel.locator(".u-over").first.hover(position={"x": 60, "y": 40})
            wait_until(panel.locator(".wb-readout").first.inner_text, "the values under the cursor are shown")
            page.mouse.move(2, 2)
            before = wait_for_frames(page, 1)
            panel.locator(".wb-key").first.click()
            wait_until(lambda: wait_for_frames(page, 1) != before, "the run was hidden")
    assert family.wait_gone() == {}
