"""The table of runs in a real browser: sorted with keys alone."""

from pathlib import Path

import pytest

import workbench as wb
from tests.browser import stub
from tests.unit.finished import finished_run
from workbench.view.html import page as html_of


@pytest.mark.browser
def test_a_head_is_reached_by_tab_and_sorts_on_enter(tmp_path: Path) -> None:
    for seed in range(3):
        finished_run(tmp_path, seed=seed)
    with stub.browser() as browser:
        page = browser.new_page()
        page.set_content(html_of(wb.runs(tmp_path, columns=("seed", "status"))))
        page.keyboard.press("Tab")  # the filter
        page.keyboard.press("Tab")
        found = []
        for key in ("Enter", "x", "Enter"):
            page.keyboard.press(key)
            seeds = page.locator("td:first-child").all_inner_texts()
            found.append((page.locator("th").first.get_attribute("aria-sort"), seeds))
    up, down = ["0", "1", "2"], ["2", "1", "0"]
    assert found == [("ascending", up), ("ascending", up), ("descending", down)]
