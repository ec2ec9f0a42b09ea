"""Panel and world view of a finished run look as they did when their pictures were committed."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image, ImageDraw

import workbench as wb
from tests.browser import pictures
from tests.browser.lab import lab, page_on, run_all
from tests.browser.test_live_panel import cell, wait_for_frames

STYLE = """
    .widget-html:has(progress) { visibility: hidden !important; }  /* rates, which depend on the machine */
    .jupyter-widgets, .jupyter-widgets *:not(i) { font-family: "DejaVu Sans", sans-serif !important; }
"""
BUTTONS = {
    "Start": (2, 3, 69, 30), "Pause": (73, 3, 147, 30), "Continue": (151, 3, 245, 30), "Stop": (249, 3, 314, 30),
    "Checkpoint": (318, 3, 426, 30), "Curves": (2, 349, 76, 377), "Doctor": (80, 349, 152, 377),
}  # fmt: skip
"""Left, top, right and bottom of each button in the committed picture of the panel, in pixels."""


@pytest.mark.browser
@pytest.mark.slow
def test_panel_and_world_view_look_as_committed(tmp_path: Path, family: Any) -> None:
    run = wb.launch(wb.preset("tiny").replace(device="cpu"), "sequential", out=tmp_path, name="finished")
    run.wait()
    cells = (
        f"import workbench as wb\n\nrun = wb.load({str(run.folder.path)!r})",
        "wb.Panel(run, charts=['loss', 'reward', 'epsilon'], over='epoch')",
        "wb.WorldView(run)",
    )
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    new = nbformat.v4
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = new.new_notebook(cells=[new.new_code_cell(each) for each in cells], metadata=metadata)
    nbformat.write(book, notebooks / "pictures.ipynb")
    with (
        lab(notebooks, tmp_path, family.environment) as server,
        page_on(server, "pictures.ipynb", tmp_path / "profile") as page,
    ):
        run_all(server, page)
        page.locator("img.wb-world").wait_for()
        wait_for_frames(page, 1)
        wait_for_frames(page, 1, "img.wb-world")
        page.mouse.move(0, 0)
        for number, name in ((1, "panel.png"), (2, "world_view.png")):
            widget = cell(page, number).locator(".jp-OutputArea-output .widget-vbox").first
            pictures.check(widget.screenshot(style=STYLE, animations="disabled"), name, tmp_path)
    assert family.wait_gone() == {}


@pytest.mark.parametrize("button", BUTTONS)
def test_a_picture_that_lacks_a_button_is_told_from_the_committed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    monkeypatch.delenv(pictures.RENEW, raising=False)
    kept = pictures.FOLDER / "panel.png"
    pictures.check(kept.read_bytes(), kept.name, tmp_path)
    with Image.open(kept) as file:
        picture = file.convert("RGB")
    ImageDraw.Draw(picture).rectangle(BUTTONS[button], fill="white")
    picture.save(tmp_path / "erased.png")
    with pytest.raises(pytest.fail.Exception, match=f"differs.*difference_panel.png.*{pictures.RENEW}=1"):
        pictures.check((tmp_path / "erased.png").read_bytes(), kept.name, tmp_path)
    assert (tmp_path / "difference_panel.png").exists()
