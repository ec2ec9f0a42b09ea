"""One notebook in two tabs, an interrupted cell, a restarted kernel: what each of them does to a run."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page

import workbench as wb
from tests.browser.lab import Lab, lab, page_on, wait_until, write_notebook
from tests.browser.test_live_panel import cell, execute, facts, press, run_cell, spawned, wait_for_frames

CELLS = (
    "import os\nfrom pathlib import Path\n\nimport workbench as wb\n\n"
    "config = wb.preset('tiny').replace(epochs=1_000_000, **{'checkpoint.interval': 5})\n"
    "run = wb.launch(config, mode='sequential', name='kept')",
    "wb.Panel(run)",
    "run.wait()",
    "print('after the interrupt the run is', run.status)",
    "import os\nfrom pathlib import Path\n\nimport workbench as wb\n\n"
    "run = wb.resume(Path(os.environ['WORKBENCH_DATA']) / 'runs' / 'kept')\n"
    "print('resumed')",
    "wb.Panel(run)",
)
PANEL, WAIT, STATUS, RESUME, RESUMED = 1, 2, 3, 4, 5


def says(panel: Locator, words: str) -> None:
    """Wait until a panel's line of the run says something."""
    facts(panel, words).first.wait_for()


def from_menu(page: Page, menu: str, item: str) -> None:
    """Choose from the menu bar."""
    page.locator(f".lm-MenuBar-itemLabel:text-is('{menu}')").click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{item}\W*$")).first.click()


def two_tabs(server: Lab, page: Page, book: Path) -> None:
    """A button of one tab shows in the other; a tab that is closed takes nothing with it."""
    panel = cell(page, PANEL)
    says(panel, "running")
    page.keyboard.press("Control+s")
    wait_until(lambda: "Panel of" in book.read_text(), "the notebook was saved with its panel")
    second = page.context.new_page()
    second.goto(f"{server.url}lab/workspaces/second/tree/{book.name}?token={server.token}")
    wait_for_frames(second, 2)
    page.bring_to_front()
    wait_for_frames(page, 2)

    press(panel, "Pause", until=facts(panel, "paused"))
    second.bring_to_front()  # a tab in the background draws nothing
    says(cell(second, PANEL), "paused")
    press(cell(second, PANEL), "Continue", until=facts(cell(second, PANEL), "running"))
    says(panel, "running")
    second.close()
    page.bring_to_front()
    wait_for_frames(page, 3)
    says(panel, "running")


def interrupt(page: Page, family: Any) -> None:
    """The cell ends; the run and its panel do not."""
    before = set(spawned(family))
    execute(page, WAIT)
    cell(page, WAIT).locator(".jp-InputPrompt", has_text="[*]").wait_for()
    panel = cell(page, PANEL)
    press(panel, "Pause", until=facts(panel, "paused"))  # while the kernel's main thread waits
    press(panel, "Continue", until=facts(panel, "running"))
    from_menu(page, "Kernel", "Interrupt Kernel")
    cell(page, WAIT).locator(".jp-OutputArea-output", has_text="KeyboardInterrupt").first.wait_for()
    run_cell(page, STATUS).locator(".jp-OutputArea-output", has_text="the run is running").wait_for()
    cell(page, PANEL).locator("canvas").first.scroll_into_view_if_needed()  # out of sight nothing is drawn
    wait_for_frames(page, 3)
    assert set(spawned(family)) == before


def restart(server: Lab, page: Page, family: Any, folder: Path) -> None:
    """The children leave with their kernel; the folder is resumed."""
    wait_until(lambda: any((folder / "checkpoints").iterdir()), "a checkpoint was written")
    from_menu(page, "Kernel", "Restart Kernel")
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    wait_until(lambda: wb.load(folder).ended and not spawned(family), "the run has ended with its kernel")
    wait_until(server.connected, "the page is connected to the new kernel")
    run_cell(page, RESUME).locator(".jp-OutputArea-output", has_text="resumed").first.wait_for()
    says(run_cell(page, RESUMED), "running")
    kept = wb.load(folder).description["resumed"][-1]["epoch"]
    assert kept > 0, "it began again from the start"
    wait_until(lambda: wb.load(folder).progress["epochs"] > kept, f"it has gone beyond epoch {kept}")
    wait_for_frames(page, 3, number=1)
    press(cell(page, RESUMED), "Stop", until=facts(cell(page, RESUMED), "stopped"))


def first_cells(server: Lab, page: Page) -> None:
    """Start the run and show its panel; the later cells wait for their turn."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    wait_until(server.connected, "the page is connected to an idle kernel")
    for number in (0, PANEL):
        execute(page, number)
        cell(page, number).locator(".jp-InputPrompt", has_text=f"[{number + 1}]:").wait_for()


@pytest.mark.browser
@pytest.mark.slow
def test_a_run_outlives_tabs_and_interrupts_and_is_resumed_after_a_restart(tmp_path: Path, family: Any) -> None:
    book = write_notebook(tmp_path / "notebooks" / "tabs.ipynb", CELLS)
    notebooks = book.parent
    environment = family.environment | {"WORKBENCH_DATA": str(tmp_path / "data")}
    with lab(notebooks, tmp_path, environment) as server:
        with page_on(server, book.name, tmp_path / "profile") as page:
            first_cells(server, page)
            two_tabs(server, page, book)
            interrupt(page, family)
            restart(server, page, family, tmp_path / "data" / "runs" / "kept")
        wait_until(lambda: not spawned(family), "the children have left")
    assert family.wait_gone() == {}
