"""The panel's widget: what is drawn in the browser, by ``static/panel.js`` with uPlot, which lies beside it.

The kernel describes the charts once (``drawing``) and then sends rows as they come, as binary messages.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from workbench.runs.loaded import RunView
from workbench.runs.naming import labels
from workbench.runs.sentences import beside
from workbench.view.figures import REFERENCES, references
from workbench.view.panel.charts import AXIS_LABELS, STANDARD, charts_of
from workbench.view.panel.feed import Feed, axis_of
from workbench.view.style import run_style

STATIC = Path(__file__).parent / "static"
# The buttons, by the method of the panel that each calls, as ``widget.toml`` says: what is on it, and what it does.
BUTTONS: dict[str, list[str]] = beside(__file__)["buttons"]


def _text(*names: str) -> str:
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in names)


class Charts(anywidget.AnyWidget):
    """Buttons, charts and pages in one widget.

    Attributes:
        drawing: charts, lines and runs, and what there is to choose from.
        smoothing, log: what the browser changes by itself.
        state: a line for each run, what the buttons can do, messages.
        pages: HTML by the title of the block that shows it.
        last: all rows, once the runs have ended: a saved notebook that is trusted shows them without a kernel.
    """

    _esm = _text("vendor/uPlot.iife.min.js", "panel.js")
    # The last rule hides the picture that a panel leaves right after it, for where it cannot live.
    _css = _text("vendor/uPlot.min.css", "panel.css")
    drawing = traitlets.Dict().tag(sync=True)
    smoothing = traitlets.Float().tag(sync=True)
    log = traitlets.Bool().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    pages = traitlets.Dict().tag(sync=True)
    last = traitlets.Dict().tag(sync=True)

    def open(self) -> None:
        """Open the connection to the pages. What a page sends is answered in the thread that it is sent to.

        ipykernel 7.4 hands it to the one that has written to the pages last: that may be busy with a cell, or gone.
        """
        super().open()
        self.comm._reply_subshell_for = lambda data, default: default

    def show(self, feed: Feed) -> None:
        """Draw the lines of another feed from now on; their rows are still to be sent."""
        version = self.drawing.get("version", 0) + 1
        with self.hold_sync():
            self.drawing = _drawing(feed) | {"version": version}
            self.smoothing, self.log, self.last = feed.choices.smoothing, feed.choices.log, {}

    def tell(self, feed: Feed, everything: bool = False) -> None:
        """Send what the feed has that is new, or everything."""
        lines, rows = feed.news(everything)
        if lines:
            self.send(self._head(feed, lines), [rows])

    def keep(self, feed: Feed) -> None:
        """Keep all rows in the widget's state."""
        lines, rows = feed.news(everything=True)
        self.last = {"version": self.drawing["version"], "kept": self._head(feed, lines), "rows": rows}

    def _head(self, feed: Feed, lines: list[list[float]]) -> dict[str, Any]:
        charts = [
            {"end": feed.end(number), "note": feed.note(number), "changes": feed.changes(number)}
            for number in range(len(feed.charts))
        ]
        return {"version": self.drawing["version"], "lines": lines, "charts": charts}


def _drawing(feed: Feed) -> dict[str, Any]:
    choices, together = feed.choices, feed.choices.agents == "together"
    agents: list[tuple[int | str, str]] = [("together", "together"), ("each", "each")]
    agents += [(agent, f"agent {agent}") for agent in range(max(run.config.num_agents for run in feed.runs))]
    named = [(mean, REFERENCES[name]) for mean, name in references(feed.runs)]
    charts = [
        {
            "title": chart.title, "unit": chart.unit, "axis": (axis := axis_of(chart, choices.over)),
            "label": AXIS_LABELS[axis],
            "references": named if chart.references and together else [],
        }
        for chart in feed.charts
    ]  # fmt: skip
    lines = [
        {"chart": line.chart, "run": line.run, "agent": line.agent, "kind": line.kind} | vars(line.curve)
        for line in feed.lines
    ]
    return {
        "runs": [*map(_run, range(len(feed.runs)), labels(feed.runs), feed.runs)], "charts": charts, "lines": lines,
        "choices": {"charts": choices.charts, "over": choices.over, "agents": choices.agents},
        "offered": {"charts": {name: chart.name for name, chart in charts_of(feed.runs).items()},
                    "over": list(AXIS_LABELS.items()), "agents": agents, "standard": STANDARD, "buttons": BUTTONS},
    }  # fmt: skip


def _run(index: int, name: str, run: RunView) -> dict[str, Any]:
    look, folder = run_style(index), hash(run.folder.path)  # a path is nobody else's business in a notebook
    return vars(look) | {"name": name, "folder": folder, "dashes": [] if look.dashes == "solid" else look.dashes[1]}
