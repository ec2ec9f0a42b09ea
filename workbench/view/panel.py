"""The live panel of a notebook: one picture that is redrawn while the runs go on, Start, Stop, and a line per run.

A thread that the panel owns looks at the runs at most twice a second, and only reads: cells stay free, a cell that
blocks does not stop the picture, and nothing that is drawn can change a run. The picture is an ordinary image widget,
so it comes back after the page was reloaded. Without a front end everything works the same.
"""

from __future__ import annotations

import html
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from workbench.compare import Comparison
from workbench.run import Run
from workbench.run_view import RunView
from workbench.view.drawing import SMOOTHING, SideBySide, labels
from workbench.view.figures import comparison_figure, side_by_side
from workbench.view.live import LIVE_DPI, LiveFrames
from workbench.view.picture import Picture
from workbench.view.style import WARNING, run_style

MIN_INTERVAL_S = 0.5
"""Shortest time between two looks at the runs."""
MAX_SHARE = 0.1
"""Largest share of a core that looking and drawing may take from the runs."""

_HIDDEN = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"
_FAILURE = f"border-left: 3px solid {WARNING}; padding: 4px 8px; white-space: pre-wrap; line-height: 1.35"


class Panel:
    """Live view of a comparison, of one run, or of several.

    Show it by naming it in the last line of a cell. It can be made before the runs are started, and then its Start
    button starts them; runs of :func:`workbench.load` are shown as they are.

    Attributes:
        widget: what is displayed; it holds all the others.
        image: the picture, a PNG that changes.
        start_button: starts what has not been started.
        stop_button: ends the runs in order.
        message: what went wrong with a button, if anything did.
        status: a line per run.
        failures: tracebacks of children, if there are any.
    """

    def __init__(self, runs: Comparison | RunView | Sequence[RunView], smoothing: float = SMOOTHING) -> None:
        """Draw the first frame and begin to watch.

        Args:
            runs: a comparison, a run, or several runs.
            smoothing: window of the moving averages as a share of a run's length; 0 for none.
        """
        self._comparison = runs if isinstance(runs, Comparison) else None
        self._smoothing = smoothing
        self._drawing = SideBySide(runs.runs if isinstance(runs, Comparison) else runs, smoothing, LIVE_DPI)
        self._frames = LiveFrames(self._drawing)
        self.runs = self._drawing.runs
        self._own = [run for run in self.runs if isinstance(run, Run)]
        self._build_widgets()
        self._action: threading.Thread | None = None
        self._telling = threading.Lock()
        self._closing = threading.Event()
        self._tell()
        self._watcher = threading.Thread(target=self._watch, name="panel", daemon=True)
        self._watcher.start()

    def start(self) -> None:
        """Start what has not been started: the comparison, or all runs at once. Nothing is started twice."""
        waiting = [run for run in self._own if run.status == "created"]
        if self._comparison is None:
            for run in waiting:
                run.start()
        elif len(waiting) == len(self._own):
            self._comparison.start()

    def stop(self) -> None:
        """End the runs in order and wait for their children to leave."""
        if self._comparison is not None:
            self._comparison.stop()
            return
        for run in self._own:
            run.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the runs have ended and the last frame is drawn, at most ``timeout`` seconds; whether so."""
        self._watcher.join(timeout)
        return not self._watcher.is_alive()

    def close(self) -> None:
        """Watch no longer. The last frame stays, and the runs go on."""
        self._closing.set()
        self._watcher.join()

    def figure(self) -> Picture:
        """A still figure of the runs as they are now, for the end of a notebook or for a report."""
        if self._comparison is not None and self._comparison.ended:
            return comparison_figure(self._comparison, self._smoothing)
        return side_by_side(self.runs, self._smoothing)

    def __repr__(self) -> str:
        return f"<Panel of {'; '.join(labels(self.runs))}: live in a running notebook>"

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**settings)
        return shown | {"text/plain": repr(self)}

    # --- widgets ---------------------------------------------------------------------------------------------------

    def _build_widgets(self) -> None:
        self.start_button = widgets.Button(description="Start", button_style="success", icon="play")
        self.stop_button = widgets.Button(description="Stop", button_style="warning", icon="stop")
        self.start_button.on_click(lambda _: self._in_background(self.start))
        self.stop_button.on_click(lambda _: self._in_background(self.stop))
        self.message, self.status, self.failures = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.image = widgets.Image(value=self._frames.png(), format="png")
        self.image.layout = widgets.Layout(align_self="flex-start", max_width="100%", object_fit="contain")
        self.image.add_class("wb-live")
        alt = widgets.HTML(f'<span style="{_HIDDEN}">{html.escape(self._drawing.figure.alt)}</span>')
        buttons = widgets.HBox([self.start_button, self.stop_button, self.message])
        self.widget = widgets.VBox([buttons, self.status, self.image, alt, self.failures])

    def _in_background(self, action: Callable[[], None]) -> None:
        """Do what a button asks for. It may take seconds, and the kernel must stay free meanwhile."""
        self.start_button.disabled = self.stop_button.disabled = True
        self.message.value = ""

        def act() -> None:
            try:
                action()
            except Exception as error:
                self.message.value = _warning(str(error))
            finally:
                self._action = None
                self._tell()

        self._action = threading.Thread(target=act, name="panel button", daemon=True)
        self._action.start()

    def _watch(self) -> None:
        try:
            while True:
                over = all(run.ended for run in self._own)  # before looking: the last frame has everything
                began = time.thread_time()
                self._tell()
                if self._drawing.update():
                    self.image.value = self._frames.png()
                spent = time.thread_time() - began
                if over or self._closing.wait(max(MIN_INTERVAL_S, spent / MAX_SHARE)):
                    return
        except Exception:
            self.message.value = _warning("the picture stands still, as it could not be drawn; the runs go on")
            self.failures.value = _failure("panel", traceback.format_exc())

    def _tell(self) -> None:
        """Bring everything but the picture up to date."""
        with self._telling:
            started = any(run.status != "created" for run in self._own)
            waiting = any(run.status == "created" for run in self._own)
            if self._action is None:
                self.start_button.disabled = not waiting or (started and self._comparison is not None)
                self.stop_button.disabled = not started or all(run.ended for run in self._own)
            names = labels(self.runs)
            turn = "waits for its turn" if started and self._comparison is not None else "not started"
            lines = [_status_line(index, names[index], run, turn) for index, run in enumerate(self.runs)]
            self.status.value = "".join(lines)
            self.failures.value = "".join(
                _failure(name, str(run.error)) for name, run in zip(names, self.runs, strict=True) if run.error
            )


def _status_line(index: int, name: str, run: RunView, turn: str) -> str:
    style = run_style(index)
    line = "solid" if style.dashes == "solid" else "dashed"
    key = f"display: inline-block; width: 2em; vertical-align: middle; border-top: 3px {line} {style.colour}"
    return (
        f'<div style="line-height: 1.6"><span style="{key}"></span> <b>{html.escape(name)}</b>: '
        f"{html.escape(' · '.join(_facts(run, turn)))}</div>"
    )


def _facts(run: RunView, turn: str) -> list[str]:
    """Status and progress of a run, in words."""
    if run.status == "created":
        return [turn]
    progress, starts = run.progress, run.config.replay.learning_starts
    if run.ended and not progress["epochs"]:
        return [f"{run.status} before the end of its first epoch"]
    facts = [run.status, *run.losses, f"epoch {progress['epochs']:,.0f} of {run.config.epochs:,}"]
    if not run.ended and progress["rows"] < starts:
        return [*facts, f"waiting for data: {progress['rows']:,.0f} of {starts:,} rows"]
    return [
        *facts,
        f"{progress['updates']:,.0f} updates",
        f"{progress['agent_steps_per_s']:,.0f} agent steps/s",
        f"{progress['updates_per_s']:,.0f} updates/s",
    ]


def _failure(name: str, text: str) -> str:
    return f'<pre style="{_FAILURE}">{html.escape(name)}: {html.escape(text)}</pre>'


def _warning(text: str) -> str:
    return f'<span style="color: {WARNING}">{html.escape(text)}</span>'
