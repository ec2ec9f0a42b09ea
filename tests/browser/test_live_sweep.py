"""A sweep in a real browser: its table, the curves of the cells that have begun, and its picture at the end."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import lab, page_on, run_all, wait_until, write_notebook
from tests.browser.test_live_panel import ARTEFACTS, cell

CELLS = (
    "import workbench as wb\n\n"
    "config = wb.preset('tiny').replace(device='cpu', epochs=150)\n"
    "fields = {'learning.learning_rate': [1e-3, 3e-3], 'seed': [0, 1]}\n"
    "made = wb.sweep(config, fields, mode='sequential', at_once=1)",
    "made",
    "await made\nprint('all have ended')",
)
WIDTHS = (1400, 900)


@pytest.mark.browser
@pytest.mark.slow
def test_cells_join_the_panel_as_they_begin_and_the_table_says_where_each_is(tmp_path: Path, family: Any) -> None:
    notebooks = write_notebook(tmp_path / "notebooks" / "sweep.ipynb", CELLS).parent

    environment = family.environment | {"WORKBENCH_DATA": str(tmp_path / "data")}
    with (
        lab(notebooks, tmp_path, environment) as server,
        page_on(server, "sweep.ipynb", tmp_path / "profile") as page,
    ):
        run_all(server, page)
        shown = cell(page, 1)
        shown.locator("td", has_text="running").first.wait_for()
        keys = shown.locator(".wb-panel .wb-key")
        seen: list[int] = []
        facts: set[str] = set()

        def all_began() -> bool:
            seen.append(keys.count())
            facts.update(shown.locator(".wb-facts").all_text_contents())
            return keys.count() == 4

        wait_until(all_began, "all cells are in the panel")
        assert any("running" in each for each in facts) and not any("elsewhere" in each for each in facts)
        assert {1, 2, 3} & set(seen), "the panel was there before all cells had begun"
        cell(page, 2).locator(".jp-OutputArea-output", has_text="all have ended").wait_for()
        wait_until(lambda: shown.locator("td", has_text=re.compile("^finished$")).count() == 4, "the table says so")
        wait_until(lambda: shown.locator(".wb-facts", has_text="finished").count() == 4, "the panel says so")
        ARTEFACTS.mkdir(exist_ok=True)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1000})
            shown.locator("table").scroll_into_view_if_needed()
            shown.screenshot(path=ARTEFACTS / f"live_sweep_{width}.png")
        page.keyboard.press("Control+s")
        wait_until(lambda: "image/png" in (notebooks / "sweep.ipynb").read_text(), "its picture was saved")
        assert "4 finished" in (notebooks / "sweep.ipynb").read_text()
    assert family.wait_gone() == {}
