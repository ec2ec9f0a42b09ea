"""``python -m tests.campaigns.panel_picture``: the README's picture of the live panel, data/figures/panel.png.

JupyterLab runs a comparison in headless Chromium, and the notebook is photographed while the second run is under way.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Page

from tests.browser.lab import lab, page_on, run_all, wait_until
from workbench.runs.folder import reference_path
from workbench.runs.machine import PACKAGE

EPOCHS = 120
CELLS = (
    "import workbench as wb",
    f"pair = wb.compare(wb.preset('small').replace(epochs={EPOCHS}), lag=1)",
    "wb.Panel(pair)",
)
WIDTH, HEIGHT = 1080, 1010
DONE = 0.6
"""Share of the second run's epochs after which the picture is taken."""


def _epochs(page: Page) -> int:
    """Epochs of the second run, as its line in the panel says."""
    found = re.search(r"epoch ([\d,]+) of", page.locator(".wb-facts").last.inner_text())
    return int(found[1].replace(",", "")) if found else 0


def main(out: Path) -> None:
    """Take the picture and write it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        notebooks = home / "notebooks"
        notebooks.mkdir()
        cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / "panel.ipynb")
        with (
            lab(notebooks, home, {"WORKBENCH_DATA": str(home / "data"), "PYTHONPATH": str(PACKAGE.parent)}) as server,
            page_on(server, "panel.ipynb", home / "profile") as page,
        ):
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            run_all(server, page)
            page.keyboard.press("Control+b")  # hides the list of files
            wait_until(lambda: _epochs(page) >= EPOCHS * DONE, "the second run is well under way", 600.0)
            page.mouse.move(0, 0)
            boxes = [found.bounding_box() for found in page.locator(".jp-CodeCell").all()]
            first, last = (box or pytest.fail("a cell is not shown") for box in (boxes[0], boxes[-1]))
            page.screenshot(path=out, clip={
                "x": first["x"], "y": first["y"] - 8, "width": first["width"] + 8,
                "height": last["y"] + last["height"] - first["y"] + 16,
            })  # fmt: skip


if __name__ == "__main__":
    main(reference_path("panel.png").parents[1] / "figures" / "panel.png")
