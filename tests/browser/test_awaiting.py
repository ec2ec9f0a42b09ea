"""A cell that awaits a run: the page is reloaded meanwhile, its panel is back, and a button of it ends the run."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import lab, page_on, run_all, wait_until, write_notebook
from tests.browser.test_live_panel import cell, facts, press, spawned, wait_for_frames

CELLS = (
    "import workbench as wb\n\n"
    "config = wb.preset('tiny').replace(device='cpu', epochs=1_000_000)\n"
    "pair = wb.compare(config)\nwb.Panel(pair)",
    "summary = await pair\nprint('the first run is', pair.sequential.status)",
)


@pytest.mark.browser
@pytest.mark.slow
def test_a_page_that_is_reloaded_while_a_cell_awaits_has_its_panel_and_buttons(tmp_path: Path, family: Any) -> None:
    notebooks = write_notebook(tmp_path / "notebooks" / "awaiting.ipynb", CELLS).parent

    environment = family.environment | {"WORKBENCH_DATA": str(tmp_path / "data")}
    with (
        lab(notebooks, tmp_path, environment) as server,
        page_on(server, "awaiting.ipynb", tmp_path / "profile") as page,
    ):
        run_all(server, page)
        facts(cell(page, 0), "running · epoch").first.wait_for()
        page.keyboard.press("Control+s")
        kept = notebooks / "awaiting.ipynb"
        wait_until(lambda: "Panel of" in kept.read_text(), "the notebook was saved with what it shows")
        page.reload()
        wait_for_frames(page, 3)
        panel = cell(page, 0)
        press(panel, "Pause", until=facts(panel, "paused · epoch"))
        press(panel, "Continue", until=facts(panel, "running · epoch"))
        press(panel, "Stop", until=facts(panel, "stopped before it began"))
        facts(panel, "stopped · epoch").wait_for()
        wait_until(lambda: not spawned(family), "the children have left")
    assert family.wait_gone() == {}
