"""The live panel in a real browser: Run All, Start, frames that differ, a cell meanwhile, a reload, Stop."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Error, Page

from tests.browser.lab import Lab, lab, page_on, run_all, wait_until

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
CELLS = (
    "import workbench as wb\n\n"
    "config = wb.preset('quick').replace(epochs=1_000_000)\n"
    "pair = wb.compare(config, lag=1, start=False)",
    "wb.Panel(pair)",
    "print('the first run is', pair.sequential.status)",
)
FRAME = """async () => {
    const picture = document.querySelector("img.wb-live");
    if (!picture || !picture.complete || !picture.naturalWidth) return null;
    const answer = await fetch(picture.src).catch(() => null);  // a frame may be replaced while it is asked for
    if (!answer) return null;
    const digest = await crypto.subtle.digest("SHA-256", await answer.arrayBuffer());
    return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, "0")).join("");
}"""


def wait_for_frames(page: Page, count: int) -> list[str]:
    """Digests of so many different frames of the panel."""
    seen: list[str] = []

    def look() -> bool:
        try:
            frame = page.evaluate(FRAME)
        except Error:  # the page is just being replaced by its reload
            return False
        if frame and frame not in seen:
            seen.append(frame)
        return len(seen) >= count

    wait_until(look, f"{count} different frames were shown")
    return seen


def press(page: Page, name: str) -> None:
    """Click a button of the panel once it can be clicked."""
    page.locator("button.jupyter-button:enabled", has_text=name).click()


def spawned(family: Any) -> list[str]:
    """Command lines of the children that runs have started."""
    return [command for command in family.running().values() if "spawn_main" in command]


def shared_names() -> set[str]:
    names = {path.name for path in Path("/dev/shm").glob("*")}
    return {name for name in names if not name.startswith(".org.chromium.")}


def drive(server: Lab, page: Page, family: Any) -> None:
    """What a user does with the panel, from Run All to Stop."""
    run_all(server, page)
    page.locator("img.wb-live").wait_for()
    wait_for_frames(page, 1)
    assert spawned(family) == [], "nothing may run before Start"

    press(page, "Start")
    wait_for_frames(page, 4)
    page.locator(".jp-Notebook .jp-CodeCell").nth(2).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="the first run is running").wait_for()
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / "live_panel.png")

    page.keyboard.press("Control+s")
    page.reload()
    wait_for_frames(page, 3)

    press(page, "Stop")
    stopped = page.locator(".jupyter-widgets", has_text="sequential, lag 1: stopped")
    stopped.filter(has_text="multiprocess, lag 1: stopped").first.wait_for()
    page.screenshot(path=ARTEFACTS / "live_panel_stopped.png")


@pytest.mark.browser
@pytest.mark.slow
def test_start_shows_frames_that_differ_and_stop_leaves_nothing(tmp_path: Path, family: Any) -> None:
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    new = nbformat.v4
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = new.new_notebook(cells=[new.new_code_cell(source) for source in CELLS], metadata=metadata)
    nbformat.write(book, notebooks / "live.ipynb")
    names = shared_names()

    environment = family.environment | {"WORKBENCH_DATA": str(tmp_path / "data")}
    with lab(notebooks, tmp_path, environment) as server:
        with page_on(server, "live.ipynb", tmp_path / "profile") as page:
            drive(server, page, family)
        wait_until(lambda: not spawned(family), "the children have left")
        assert shared_names() <= names
    assert family.wait_gone() == {}
