"""The live panel of a notebook: a picture that is redrawn while the runs go on, buttons, a line per run, and blocks.

A thread that the panel owns looks at the runs at most twice a second, and only reads: cells stay free, a cell that
blocks does not stop the picture, and nothing that is drawn can change a run. The picture is an ordinary image widget,
so it comes back after the page was reloaded. Without a front end everything works the same.

What can be drawn is in ``charts.py``, the widgets are in ``controls.py``, the thread in ``watching.py``. This module
says what each of them does to the runs.
"""

from __future__ import annotations

import dataclasses
import operator
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from workbench.diagnose.doctor import diagnose
from workbench.runs.compare import Comparison
from workbench.runs.loaded import LoadedRun, RunError, RunView
from workbench.runs.run import Run
from workbench.view import html as pages
from workbench.view.figures import draw_comparison
from workbench.view.panel.charts import SMOOTHING, STANDARD, Agents, Axis, Choices, charts_of
from workbench.view.panel.controls import Blocks, ChangeForm, ChoicesForm, button, row
from workbench.view.panel.drawing import SideBySide, labels
from workbench.view.panel.live import LIVE_DPI, LiveFrames
from workbench.view.panel.watching import Seldom, TimeLeft, Watcher, in_words
from workbench.view.picture import Picture

CURVES, CHANGES, PROCESSES, DOCTOR = "Curves", "Change while running", "Processes", "Doctor"


class Panel:
    """Live view of a comparison, of one run, or of several.

    Show it by naming it in the last line of a cell. It can be made before the runs are started, and then its Start
    button starts them. Runs of :func:`workbench.load` are followed as long as they go on elsewhere, and can only be
    looked at. Everything that a button does is a method too.

    Attributes:
        widget: what is displayed; it holds all the others.
        image: the picture, a PNG that changes.
        start_button, pause_button, continue_button, stop_button, checkpoint_button: do what they say. One that makes no
            sense now, or that the runs cannot do, is disabled.
        message: what went wrong with a button, if anything did.
        status: a line per run, and the newest deaths of processes, if there were any.
        failures: tracebacks of children, if there are any.
        form: chooses curves. changes: changes runs while they go on. processes, doctor: tables.
        blocks: opens and closes these four.
    """

    def __init__(
        self, runs: Comparison | RunView | Sequence[RunView], smoothing: float = SMOOTHING,
        charts: Sequence[str] = STANDARD, over: Axis = "own", agents: Agents = "together", log: bool = False,
    ) -> None:  # fmt: skip
        """Draw the first frame and begin to watch.

        Args:
            runs: a comparison, a run, or several runs.
            smoothing: window of the moving averages as a share of a run's length; 0 for none.
            charts: names of :data:`workbench.view.panel.charts.CHARTS`.
            over: the x axis: "epoch", "agent_steps", "update", "time", or "own" for what each chart is recorded over.
            agents: "together", "each", or the index of an agent.
            log: whether charts whose values are all above 0 have a logarithmic y axis.

        Raises:
            ValueError: there are no runs, or a choice cannot be drawn; the message says which.
        """
        self._comparison = runs if isinstance(runs, Comparison) else None
        self._drawing = SideBySide(
            runs.runs if isinstance(runs, Comparison) else runs,
            Choices(tuple(charts), smoothing, over, agents, log), LIVE_DPI,
        )  # fmt: skip
        self._frames = LiveFrames(self._drawing)
        self.runs = self._drawing.runs
        self._own = [run for run in self.runs if isinstance(run, Run)]
        self._followed = [run for run in self.runs if isinstance(run, LoadedRun) and not run.ended]
        self._left = [TimeLeft() for _ in self.runs]
        self._checkups = Seldom()
        self._action: threading.Thread | None = None
        self._telling, self._redrawing, self._checking = threading.RLock(), threading.RLock(), threading.Lock()
        self._build_widgets()
        self._tell()
        self._watcher = Watcher(self._look, self._give_up)

    # --- what a user can do ----------------------------------------------------------------------------------------

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

    def pause(self) -> None:
        """Let every run that goes on pause.

        Raises:
            RunError: there is none that can; the message says why.
        """
        self._each("pause", "pause", _goes_on)

    def proceed(self) -> None:
        """Let every run that is paused go on; raises RunError if none is."""
        self._each("proceed", "continue", _is_paused)

    def checkpoint(self) -> None:
        """Let every run that has begun and not ended write a checkpoint; raises RunError if there is none."""
        self._each("checkpoint", "checkpoint", _has_begun)

    def change(self, **values: Any) -> None:
        """Change settings of every run that goes on and allows it: ``change(**{"learning.learning_rate": 1e-4})``.

        Raises:
            RunError: no run can be changed now.
            ConfigError: a value is refused.
        """
        self._each("change", "change", _has_begun, **values)

    def choose(self, **choices: Any) -> None:
        """Draw something else: ``choose(charts=("loss", "grad_norm"), over="time", log=True)``.

        Args:
            choices: fields of :class:`workbench.view.panel.charts.Choices`.

        Raises:
            ValueError: a choice cannot be drawn; the picture stays.
        """
        wanted = dataclasses.replace(self.choices, **choices)
        self._draw_anew(wanted)
        self.form.show(wanted)

    @property
    def choices(self) -> Choices:
        """What is drawn."""
        return self._drawing.choices

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the runs have ended and the last frame is drawn, at most ``timeout`` seconds; whether so."""
        return self._watcher.wait(timeout)

    def close(self) -> None:
        """Watch no longer. The last frame stays, and the runs go on."""
        self._watcher.close()

    def figure(self) -> Picture:
        """A still figure of the runs as they are now, for the end of a notebook or for a report."""
        if self._comparison is not None and self._comparison.ended:
            return draw_comparison(self._comparison, self.choices)
        return SideBySide(self.runs, self.choices).figure

    def __repr__(self) -> str:
        return f"<Panel of {'; '.join(labels(self.runs))}: live in a running notebook>"

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**settings)
        return shown | {"text/plain": repr(self)}

    def _each(self, method: str, word: str, fits: Callable[[Run], bool], **values: Any) -> None:
        """Call a method of every run that has it and is in the right state for it."""
        able = [run for run in self._own if callable(getattr(run, method, None))]
        fitting = [run for run in able if fits(run)]
        if not fitting:
            raise RunError(f"there is nothing to {word}: {self._why_not(method, bool(able))}")
        for run in fitting:
            getattr(run, method)(**values)

    def _why_not(self, method: str, able: bool) -> str:
        if not self._own:
            return "runs that were started elsewhere can only be looked at"
        if not able:
            return f"these runs have no {method}()"
        named = zip(labels(self.runs), self.runs, strict=True)
        return "; ".join(f"{name} is {_state(run)}" for name, run in named)

    # --- widgets ---------------------------------------------------------------------------------------------------

    def _build_widgets(self) -> None:
        self.start_button = button("Start", "play", "Start what has not been started", "success")
        self.pause_button = button("Pause", "pause", "Let the runs wait")
        self.continue_button = button("Continue", "step-forward", "Let paused runs go on")
        self.stop_button = button("Stop", "stop", "End the runs in order", "warning")
        self.checkpoint_button = button("Checkpoint", "save", "Write a checkpoint to the run folder")
        actions = {
            self.start_button: self.start, self.pause_button: self.pause, self.continue_button: self.proceed,
            self.stop_button: self.stop, self.checkpoint_button: self.checkpoint,
        }  # fmt: skip
        self._buttons = tuple(actions)
        for each, action in actions.items():
            each.on_click(lambda _, action=action: self._in_background(action))
        self.message, self.status, self.failures = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.image = widgets.Image(value=self._frames.png(), format="png")
        self.image.layout = widgets.Layout(align_self="flex-start", max_width="100%", object_fit="contain")
        self.image.add_class("wb-live")
        self._alt = widgets.HTML(pages.hidden(self._drawing.figure.alt))
        most = max(run.config.num_agents for run in self.runs)
        self.form = ChoicesForm(self.choices, charts_of(self.runs), most, self._draw_anew)
        self.changes = ChangeForm(self._change)
        self.processes, self.doctor = widgets.HTML(), widgets.HTML(pages.quiet("The doctor is looking."))
        blocks = {CURVES: self.form.widget, CHANGES: self.changes.widget,
                  PROCESSES: self.processes, DOCTOR: self.doctor}  # fmt: skip
        self.blocks = Blocks(blocks, self._opened)
        self.widget = widgets.VBox([
            row([*self._buttons, self.message]), self.status, self.image, self._alt, self.failures, self.blocks.widget,
        ])  # fmt: skip

    def _in_background(self, action: Callable[[], None]) -> None:
        """Do what a button asks for. It may take seconds, and the kernel must stay free meanwhile."""
        for each in self._buttons:
            each.disabled = True
        self.message.value = ""

        def act() -> None:
            try:
                action()
            except Exception as error:
                self.message.value = pages.warning(str(error) or type(error).__name__)
            finally:
                self._action = None
                self._tell()

        self._action = threading.Thread(target=act, name="panel button", daemon=True)
        self._action.start()

    def _change(self, values: dict[str, Any]) -> None:
        self.change(**values)
        self._tell()

    def _draw_anew(self, choices: Choices) -> None:
        with self._redrawing:
            self._drawing = SideBySide(self.runs, choices, LIVE_DPI)
            self._frames = LiveFrames(self._drawing)
            self.image.value = self._frames.png()
            self._alt.value = pages.hidden(self._drawing.figure.alt)

    def _opened(self) -> None:
        """A block was opened: fill it now, whether or not somebody still watches."""
        self._tell()
        if self.blocks.is_open(DOCTOR):
            threading.Thread(target=self._diagnose, args=(True,), name="panel doctor", daemon=True).start()

    # --- looking ---------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Bring everything up to date; whether nothing more will come."""
        for run in self._followed:
            run.refresh()
        over = all(run.ended for run in (*self._own, *self._followed))  # before drawing: the last frame has everything
        self._tell()
        with self._redrawing:
            if self._drawing.update():
                self.image.value = self._frames.png()
        if self.blocks.is_open(DOCTOR):
            self._diagnose(over)
        return over

    def _give_up(self, error: Exception) -> None:
        self.message.value = pages.warning("the picture stands still, as it could not be drawn; the runs go on")
        self.failures.value = pages.failure("panel", "".join(traceback.format_exception(error)))

    def _tell(self) -> None:
        """Bring everything but the picture and the doctor's table up to date."""
        with self._telling:
            if self._action is None:
                self._offer_buttons()
            names = labels(self.runs)
            self.status.value = "".join(
                pages.status_line(index, name, run, self._facts(index, run))
                for index, (name, run) in enumerate(zip(names, self.runs, strict=True))
            ) + pages.incident_lines(self.runs, names)
            self.failures.value = "".join(
                pages.failure(name, str(run.error)) for name, run in zip(names, self.runs, strict=True) if run.error
            )
            self.blocks.offer(PROCESSES, any(hasattr(run, "processes") for run in self.runs))
            if self.blocks.is_open(PROCESSES):
                self.processes.value = pages.process_table(self.runs, names)
            self._offer_changes(names)

    def _offer_buttons(self) -> None:
        started = any(run.status != "created" for run in self._own)
        waiting = any(run.status == "created" for run in self._own)
        self.start_button.disabled = not waiting or (started and self._comparison is not None)
        self.stop_button.disabled = not started or all(run.ended for run in self._own)
        self.pause_button.disabled = not self._can("pause", _goes_on)
        self.continue_button.disabled = not self._can("proceed", _is_paused)
        self.checkpoint_button.disabled = not self._can("checkpoint", _has_begun)

    def _can(self, method: str, fits: Callable[[Run], bool]) -> bool:
        return any(callable(getattr(run, method, None)) and fits(run) for run in self._own)

    def _offer_changes(self, names: Sequence[str]) -> None:
        changeable = [run for run in self._own if getattr(run, "changeable", ()) and not run.ended]
        made = any(run.changes for run in self.runs)
        self.blocks.offer(CHANGES, bool(changeable) or made)
        self.changes.apply.disabled = not any(_has_begun(run) for run in changeable)
        if changeable:
            fields = dict.fromkeys(name for run in changeable for name in getattr(run, "changeable", ()))
            now = next((run for run in changeable if _has_begun(run)), changeable[0])
            newest = now.settings.newest
            self.changes.offer({name: operator.attrgetter(name)(newest) for name in fields})
        self.changes.made.value = pages.change_list(self.runs, names)

    def _diagnose(self, now: bool) -> None:
        with self._checking:
            self._checkups.do(self._write_diagnoses, now)

    def _write_diagnoses(self) -> None:
        found = []
        for name, run in zip(labels(self.runs), self.runs, strict=True):
            if run.status == "created":
                found.append(pages.quiet(f"{name}: not started"))
                continue
            try:
                found.append(pages.page(diagnose(run)))
            except Exception:  # of one run: the others still have something to say
                found.append(pages.failure(f"the doctor of {name}", traceback.format_exc()))
        self.doctor.value = "<hr>".join(found)

    def _facts(self, index: int, run: RunView) -> list[str]:
        """Status and progress of a run, in words."""
        if run.status == "created":
            started = any(each.status != "created" for each in self._own)
            return ["waits for its turn" if started and self._comparison is not None else "not started"]
        progress, starts = run.progress, run.config.replay.learning_starts
        left = self._left[index].look(time.monotonic(), progress["epochs"], run.config.epochs, _goes_on(run))
        if run.ended and not progress["epochs"]:
            return [f"{run.status} before the end of its first epoch"]
        facts = [_state(run), *run.losses, f"epoch {progress['epochs']:,.0f} of {run.config.epochs:,}"]
        if run in self._followed and not run.ended:
            facts.insert(1, "started elsewhere, read only")
        if not run.ended and progress["rows"] < starts:
            return [*facts, f"waiting for data: {progress['rows']:,.0f} of {starts:,} rows"]
        return [
            *facts,
            *([] if left is None else [f"{in_words(left)} left"]),
            f"{progress['updates']:,.0f} updates",
            f"{progress['agent_steps_per_s']:,.0f} agent steps/s",
            f"{progress['updates_per_s']:,.0f} updates/s",
        ]


def _is_paused(run: RunView) -> bool:
    return bool(getattr(run, "paused", False)) and not run.ended


def _goes_on(run: RunView) -> bool:
    return run.status == "running" and not _is_paused(run)


def _has_begun(run: RunView) -> bool:
    return run.status == "running"


def _state(run: RunView) -> str:
    return "paused" if _is_paused(run) else run.status
