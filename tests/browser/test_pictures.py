"""The world view of a finished run looks as it did when its picture was committed; the panel leaves a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page

import workbench as wb
from tests.browser import pictures
from tests.browser.lab import lab, page_on, run_all, wait_until
from tests.browser.test_live_panel import cell, wait_for_frames

STYLE = """
    .jupyter-widgets, .jupyter-widgets *:not(i) { font-family: "DejaVu Sans", sans-serif !important; }
"""
PARTS = {"words and buttons": (0, 0, 900, 108), "a chart": (0, 130, 350, 340)}
"""Left, top, right and bottom of parts of the committed picture of the panel, in pixels."""
TO_WHOLE_PIXELS = """node => {
    const { x, y } = node.getBoundingClientRect();
    node.style.transform = `translate(${Math.round(x) - x}px, ${Math.round(y) - y}px)`;
}"""
PANEL, WORLD = 1, 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of two finished runs with known weights."""
    folder = tmp_path_factory.mktemp("runs")
    config = wb.preset("tiny").replace(device="cpu")
    runs = [wb.launch(config, "sequential", lag, out=folder, name=f"finished_lag_{lag}") for lag in (1, 3)]
    for run in runs:
        run.wait()
    return [str(run.folder.path) for run in runs]


@pytest.fixture
def page(tmp_path: Path, family: Any, finished: list[str]) -> Iterator[Page]:
    """A notebook with a panel and a world view, executed; its file is ``pictures.ipynb`` in ``tmp_path``."""
    cells = (
        f"import workbench as wb\n\nruns = [wb.load(path) for path in {finished!r}]",
        "panel = wb.Panel(runs, charts=['loss', 'reward', 'epsilon'])\npanel",
        "wb.WorldView(runs[0])",
    )
    new = nbformat.v4
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = new.new_notebook(cells=[new.new_code_cell(each) for each in cells], metadata=metadata)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    nbformat.write(book, notebooks / "pictures.ipynb")
    with (
        lab(notebooks, tmp_path, family.environment) as server,
        page_on(server, "pictures.ipynb", tmp_path / "profile") as shown,
    ):
        run_all(server, shown)
        shown.locator(".wb-world svg").wait_for()
        wait_for_frames(shown, 1)
        wait_for_frames(shown, 1, ".wb-world svg")
        yield shown
    assert family.wait_gone() == {}


@pytest.mark.browser
@pytest.mark.slow
def test_the_world_view_looks_as_committed_and_the_panel_follows_the_theme(page: Page, tmp_path: Path) -> None:
    world = cell(page, WORLD).locator(".jp-OutputArea-output .widget-vbox").first
    page.mouse.move(0, 0)
    world.evaluate(TO_WHOLE_PIXELS)
    pictures.check(world.screenshot(style=STYLE, animations="disabled"), "world_view.png", tmp_path)
    narrow(page)
    follow_the_theme(page)


def narrow(page: Page) -> None:
    """On a narrow page the letters of the world view can still be read, and all of it is reached."""
    usual = page.viewport_size
    page.set_viewport_size({"width": 900, "height": 1000})
    shown = cell(page, WORLD).locator(".jp-OutputArea-output")
    wait_until(lambda: shown.evaluate("each => each.clientWidth") < 600, "the notebook is narrow")
    drawn = shown.locator(".wb-world svg")
    letters = "each => Math.min(...[...each.querySelectorAll('text')].map(text => text.getBoundingClientRect().height))"
    assert drawn.evaluate(letters) >= 11, "as those of the page"
    last = drawn.locator("text", has_text="Value of each move")
    last.scroll_into_view_if_needed()
    place = last.bounding_box()
    assert place is not None and place["x"] + place["width"] < 900
    last.evaluate("each => each.closest('.jp-Notebook').querySelectorAll('*').forEach(one => { one.scrollLeft = 0; })")
    page.set_viewport_size(usual or {"width": 1280, "height": 1000})


@pytest.mark.browser
@pytest.mark.slow
def test_the_panel_leaves_a_picture(page: Page, tmp_path: Path) -> None:
    leave_a_picture(page, tmp_path / "notebooks" / "pictures.ipynb")


def follow_the_theme(page: Page) -> None:
    """JupyterLab is switched to its dark theme by its menu."""
    (light,) = wait_for_frames(page, 1)
    page.locator(".lm-MenuBar-itemLabel:text-is('Settings')").click()
    page.locator(".lm-Menu-itemLabel:text-is('Theme')").hover()
    page.locator(".lm-Menu-itemLabel:text-is('JupyterLab Dark')").click()
    wait_until(lambda: wait_for_frames(page, 1) != [light], "the charts are drawn for the dark theme")


def leave_a_picture(page: Page, book: Path) -> None:
    """Beside the panel itself it would be seen twice; the saved notebook holds it."""
    hidden = cell(page, PANEL).locator(".jp-RenderedImage img")
    hidden.wait_for(state="attached")
    assert not hidden.is_visible()
    page.keyboard.press("Control+s")

    def kept() -> bool:
        try:
            outputs = nbformat.read(book, as_version=4).cells[PANEL].outputs
        except nbformat.reader.NotJSONError:  # it is just being written
            return False
        return any("image/png" in output.get("data", {}) for output in outputs)

    wait_until(kept, "the notebook was saved with the picture")


@pytest.mark.parametrize("part", PARTS)
def test_a_picture_that_lacks_something_is_told_from_the_committed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.delenv(pictures.RENEW, raising=False)
    kept = pictures.FOLDER / "panel_light_1400.png"
    pictures.check(kept.read_bytes(), kept.name, tmp_path)
    with Image.open(kept) as file:
        picture = file.convert("RGB")
    ImageDraw.Draw(picture).rectangle(PARTS[part], fill="white")
    picture.save(tmp_path / "erased.png")
    with pytest.raises(pytest.fail.Exception, match=f"differs.*difference_panel_light_1400.png.*{pictures.RENEW}=1"):
        pictures.check((tmp_path / "erased.png").read_bytes(), kept.name, tmp_path)
    assert (tmp_path / "difference_panel_light_1400.png").exists()
