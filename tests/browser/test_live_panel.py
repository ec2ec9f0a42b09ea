"""Panel and world view in a real browser: every button, keys, an attached panel, a failing run, a reload, Stop."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Locator, Page, TimeoutError

from tests.browser.lab import Lab, lab, page_on, run_all, wait_until, write_notebook

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
CELLS = (
    "import workbench as wb\nfrom tests.process.broken import FailsInAnEpoch\n\n"
    "config = wb.preset('tiny').replace(epochs=1_000_000)\n"
    "pair = wb.compare(config, lag=1, start=False)",
    "wb.Panel(pair)",
    "print('the first run is', pair.sequential.status)",
    "wb.Panel(wb.load(pair.sequential.folder.path), charts=['loss'], over='time')",
    "wb.Panel(wb.launch(config, hooks=[FailsInAnEpoch()]))",
    "wb.WorldView(pair.sequential) if pair.sequential.status == 'running' else None",
)
PANEL, ATTACHED, BROKEN, WORLD = 1, 3, 4, 5
FRAME = """async () => {
    const node = document.querySelectorAll("SELECTOR")[NUMBER];
    if (!node) return null;
    const charts = [...node.querySelectorAll("canvas")];
    if (!charts.length && !node.matches("svg")) return null;
    const drawn = charts.length ? charts.map(chart => chart.toDataURL()).join() : node.outerHTML;
    const bytes = new TextEncoder().encode(drawn);
    const digest = await crypto.subtle.digest("SHA-256", bytes);
    return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, "0")).join("");
}"""


def wait_for_frames(page: Page, count: int, selector: str = ".wb-panel", number: int = 0) -> list[str]:
    """Digests of a number of different frames of a panel, or of a picture."""
    seen: list[str] = []
    script = FRAME.replace("SELECTOR", selector).replace("NUMBER", str(number))

    def look() -> bool:
        try:
            frame = page.evaluate(script)
        except Error:  # the page is just being replaced by its reload
            return False
        if frame and frame not in seen:
            seen.append(frame)
        return len(seen) >= count

    wait_until(look, f"{count} different frames of {selector} were shown")
    return seen


def cell(page: Page, number: int) -> Locator:
    """A cell of the notebook with what it shows."""
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def press(where: Page | Locator, name: str, until: Locator | None = None) -> None:
    """Click a button once it can be clicked."""
    button = where.locator("button.jupyter-button:enabled", has_text=name).first
    return button.click() if until is None else click(button, until)


def click(what: Locator, until: Locator) -> None:
    """Click something. What moves or turns grey under the mouse loses a click: then again."""
    for _ in range(5):
        with contextlib.suppress(TimeoutError):
            what.click(timeout=15_000)
        with contextlib.suppress(TimeoutError):
            return until.first.wait_for(timeout=15_000)
    until.first.wait_for()


def facts(panel: Locator, words: str) -> Locator:
    """The line of a run in a panel, once it says something."""
    return panel.locator(".wb-facts", has_text=words)


def execute(page: Page, number: int) -> None:
    """Run a cell. A busy page loses a key now and then, so for a cell that never ran the keys are pressed again."""
    begun = cell(page, number).locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
    for _ in range(5):
        cell(page, number).locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(TimeoutError):
            begun.wait_for(timeout=10_000)
            return
    pytest.fail(f"Shift+Enter was pressed five times, and cell {number} did not run")


def run_cell(page: Page, number: int) -> Locator:
    """Run a cell and wait for its output. What comes right after an error is aborted by the kernel: then again."""
    shown = cell(page, number).locator(".jp-OutputArea-output")
    aborted = cell(page, number).locator(".jp-InputPrompt", has_text=re.compile(r"\[ \]"))
    for _ in range(5):
        execute(page, number)
        wait_until(lambda: shown.count() or aborted.count(), f"cell {number} shows something")
        if shown.count():
            break
    return cell(page, number)


def spawned(family: Any) -> list[str]:
    """Names of the children that runs have started."""
    names = [command.split(":")[0] for command in family.running().values()]
    return [name for name in names if name.startswith(("actor", "learner", "sequential"))]


def shared_names() -> set[str]:
    names = {path.name for path in Path("/dev/shm").glob("*")}
    return {name for name in names if not name.startswith(".org.chromium.")}


def drive(server: Lab, page: Page, book: Path) -> None:
    """What a user does with panel and world view, from Run All to Stop."""
    run_all(server, page)
    page.locator(".wb-panel canvas").first.wait_for()
    wait_for_frames(page, 1)
    panel = cell(page, PANEL)
    facts(panel, "not started").first.wait_for()

    press(panel, "Start", until=facts(panel, "running"))
    wait_for_frames(page, 4)
    run_cell(page, 2).locator(".jp-OutputArea-output", has_text="the first run is running").wait_for()
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / "live_panel.png")
    keep_up(page)
    choose_and_change(page, panel)
    attach(page)
    look_at_the_world(page)

    page.keyboard.press("Control+s")
    wait_until(lambda: "WorldView of" in book.read_text(), "the notebook was saved with what it shows")
    page.reload()
    wait_for_frames(page, 3)

    press(panel, "Stop", until=facts(panel, "stopped before it began"))
    facts(panel, "stopped · epoch").wait_for()
    page.screenshot(path=ARTEFACTS / "live_panel_stopped.png")


def keep_up(page: Page) -> None:
    """The charts are drawn again and again."""

    def redraws() -> int:
        return int(page.locator(".wb-panel").first.get_attribute("data-redraws") or 0)

    before = redraws()
    wait_until(lambda: redraws() > before + 12, "the charts move")


def choose_and_change(page: Page, panel: Locator) -> None:
    """The blocks, with keys alone where keys do; pause and change; the doctor."""
    panel.locator("summary", has_text="Curves").focus()
    page.keyboard.press("Space")
    box = panel.locator("label", has_text="TD error").locator("input")
    box.wait_for()
    box.focus()
    page.keyboard.press("Space")
    panel.locator("figure", has_text="TD error").wait_for()
    wait_for_frames(page, 2)

    press(panel, "Pause", until=facts(panel, "paused · epoch"))
    press(panel, "Checkpoint")
    press(panel, "Continue", until=facts(panel, "running · epoch"))

    rate = panel.get_by_role("textbox", name="learning.learning_rate", exact=True)
    click(panel.locator("summary", has_text="Change while running"), rate)
    rate.fill("5e-4")
    press(panel, "Apply", until=panel.locator("td", has_text="learning_rate = 0.0005"))
    click(panel.locator("summary", has_text="Processes"), panel.locator("td", has_text="alive"))
    frames = panel.locator("td", has_text="every frame has shape and dtype of the replay")
    click(panel.locator("summary", has_text="Doctor"), frames)
    page.screenshot(path=ARTEFACTS / "live_panel_open.png")


def attach(page: Page) -> None:
    """A second panel that only looks, and one of a run that fails."""
    attached = run_cell(page, ATTACHED)
    facts(attached, "read only").wait_for()
    for name in ("Start", "Pause", "Continue", "Stop", "Checkpoint"):
        attached.locator("button.jupyter-button:disabled", has_text=name).first.wait_for()
    wait_for_frames(page, 2, number=1)
    broken = cell(page, BROKEN)
    broken.locator("pre[role=alert]", has_text="RuntimeError: the third epoch is broken").first.wait_for()
    broken.locator("pre[role=alert]", has_text="Traceback (most recent call last)").first.wait_for()


def look_at_the_world(page: Page) -> None:
    """Step by step, and by itself."""
    world = run_cell(page, WORLD)
    wait_for_frames(page, 1, ".wb-world svg")
    press(world, "Step")
    world.locator("svg text", has_text="turn 2 of 20").first.wait_for()
    press(world, "Play")
    wait_for_frames(page, 3, ".wb-world svg")
    world.screenshot(path=ARTEFACTS / "world_view.png")
    press(world, "Pause")


@pytest.mark.browser
@pytest.mark.slow
def test_start_shows_frames_that_differ_and_stop_leaves_nothing(tmp_path: Path, family: Any) -> None:
    notebooks = write_notebook(tmp_path / "notebooks" / "live.ipynb", CELLS).parent
    names = shared_names()

    environment = family.environment | {"WORKBENCH_DATA": str(tmp_path / "data")}
    with lab(notebooks, tmp_path, environment) as server:
        with page_on(server, "live.ipynb", tmp_path / "profile") as page:
            drive(server, page, notebooks / "live.ipynb")
        wait_until(lambda: not spawned(family), "the children have left")
        assert shared_names() <= names
    assert family.wait_gone() == {}
