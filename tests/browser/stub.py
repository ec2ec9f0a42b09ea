"""The panel's JavaScript on a bare page, with a stand-in for the kernel: what is drawn depends on the runs alone."""

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.lab import CHROMIUM, SWITCHES
from workbench.runs.loaded import RunView
from workbench.view.panel.charts import Choices
from workbench.view.panel.feed import Feed
from workbench.view.panel.widget import Charts

PAGE = """<!doctype html><meta charset="utf-8"><style>CSS</style>
<body style="margin: 12px; background: PAPER; font-family: 'DejaVu Sans', sans-serif"><div id="panel"></div>
<script type="module">
ESM_
const values = VALUES_, listeners = {};
const model = {
    get: name => values[name],
    set: (name, value) => { values[name] = value; hear(`change:${name}`); },
    save_changes() {},
    on: (name, act) => { (listeners[name] ??= []).push(act); },
    off() {},
    send: said => window.said.push(said),
};
window.said = [];
window.hear = (name, ...what) => (listeners[name] ?? []).forEach(act => act(...what));
window.values = values;
const rows = Uint8Array.from(atob("ROWS_"), letter => letter.charCodeAt(0));
if (KEPT_) values.last = { version: HEAD_.version, kept: HEAD_, rows: new DataView(rows.buffer) };
Panel_.render({ model, el: document.getElementById("panel") });
if (!KEPT_) hear("msg:custom", HEAD_, [new DataView(rows.buffer)]);
</script>"""
STATE: dict[str, Any] = {
    "able": ["pause", "stop"], "message": "", "incidents": "", "failures": "", "changeable": True, "applied": 0,
    "fields": {"learning.learning_rate": "0.001"},
}  # fmt: skip


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield started
        started.close()


def show(
    browser: Browser, folder: Path, runs: list[RunView], choices: Choices, width: int, paper: str, kept: bool = False,
    ratio: float = 1,
) -> Page:  # fmt: skip
    """A page of that width on a panel of some runs, with paper of that colour and ``ratio`` pixels to a dot.

    ``kept``: no kernel sends the rows; they are in the widget's state, as in a notebook that was saved with it.
    """
    widget, feed = Charts(), Feed(runs, choices)
    feed.update()
    widget.show(feed)
    lines, rows = feed.news()
    fact = "running · epoch 120 of 300 · 2 min left · 12,345 updates · 1,234 agent steps/s · 567 updates/s"
    values = {name: getattr(widget, name) for name in ("drawing", "smoothing", "log", "last")} | {
        "state": STATE | {"runs": [{"share": 0.4, "facts": fact} for _ in runs]},
        "pages": {"Change while running": "Nothing was changed so far.", "Processes": "", "Doctor": ""},
    }
    text = (
        PAGE.replace("CSS", widget._css).replace("PAPER", paper).replace("HEAD_", json.dumps(widget._head(feed, lines)))
    )
    text = text.replace("ESM_", widget._esm.replace("export default", "const Panel_ ="))
    text = text.replace("VALUES_", json.dumps(values)).replace("KEPT_", json.dumps(kept))
    file = folder / "panel.html"
    file.write_text(text.replace("ROWS_", base64.b64encode(rows).decode()), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 1600}, accept_downloads=True, device_scale_factor=ratio)
    page.on("pageerror", lambda error: print("the page failed:", error))
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.wb-plot canvas').length === values.drawing.charts.length")
    return page
