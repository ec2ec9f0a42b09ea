"""The live panel of a notebook: charts that move while the runs do, buttons, a line for each run, and blocks that open.

A thread that the panel owns looks at the runs several times a second, and only reads: cells stay free, a cell that
blocks does not stop the charts, and nothing that is drawn can change a run. The browser draws (``widget.py``); the
thread sends it what is new. Without a front end everything works the same.

What can be drawn is in ``charts.py``, the numbers in ``feed.py``, the thread in ``watching.py``. This module says what
each of them does to the runs.
"""

import asyncio
import dataclasses
import operator
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any

from IPython.display import display

from workbench.core.config import ConfigError
from workbench.diagnose.doctor import diagnose
from workbench.runs.awaiting import INTERVAL_S, with_buttons
from workbench.runs.compare import Comparison
from workbench.runs.folder import RecordError
from workbench.runs.loaded import LoadedRun, RunError, RunView
from workbench.runs.naming import labels
from workbench.runs.run import Run
from workbench.view import html as pages
from workbench.view.figures import draw, verdict
from workbench.view.panel.charts import SMOOTHING, STANDARD, Agents, Axis, Choices
from workbench.view.panel.feed import Feed
from workbench.view.panel.watching import DOCTOR_INTERVAL_S, TimeLeft, Watcher, in_words
from workbench.view.panel.widget import BUTTONS, Charts
from workbench.view.picture import NOTEBOOK_COLOURS, Picture, to_png
from workbench.view.sentences import said
from workbench.view.style import MOST_STYLES

CHANGES, PROCESSES, DOCTOR = "Change while running", "Processes", "Doctor"


class Panel:
    """Live view of a comparison, of one run, or of several.

    Show it by naming it in the last line of a cell. It can be made before the runs are started, and then its Start
    button starts them. Runs of :func:`workbench.load` are followed while they run elsewhere, and can only be
    looked at. Everything that a button does is a method too. ``await panel`` sleeps until the runs have ended, and
    leaves the kernel free for the buttons.

    Below the panel a picture appears as each run ends, for readers without a kernel. A page that shows the panel
    hides it.

    Attributes:
        widget: what is displayed.
        runs, names: what is shown, and what each is called.
        sweep: what the Stop button ends, if they are cells of one.

    Example:
        ``wb.Panel(wb.launch(wb.preset("quick")))``
    """

    def __init__(
        self, runs: Comparison | RunView | Sequence[RunView], smoothing: float = SMOOTHING,
        charts: Sequence[str] = STANDARD, over: Axis = "own", agents: Agents = "together", log: bool = False,
    ) -> None:  # fmt: skip
        """Read what there is and begin to watch.

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
        self.sweep: Any = None
        self._take(Feed(runs, Choices(tuple(charts), smoothing, over, agents, log)))
        self._doctor: Watcher | None = None
        self._busy = False  # with what a button asked for
        self._telling, self._drawing, self._picturing = threading.RLock(), threading.RLock(), threading.Lock()
        self._message, self._changed, self._applied = "", "", 0
        self._diagnoses = pages.quiet("The doctor is looking.")
        self._open: set[str] = set()
        self._twins: list[Any] = []
        self.widget = Charts()
        self.widget.show(self._feed)
        self.widget.on_msg(self._receive)
        self.widget.observe(self._restyle, ["smoothing", "log"])
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
        """End the runs, or the sweep that they are of, in order and wait for their children to leave."""
        whole = self.sweep or self._comparison
        for each in self._own if whole is None else [whole]:
            each.stop()

    def pause(self) -> None:
        """Let every running run pause.

        Raises:
            RunError: there is none that can; the message says why.
        """
        self._each("pause", "pause")

    def proceed(self) -> None:
        """Let every paused run continue; raises RunError if none is."""
        self._each("proceed", "continue")

    def checkpoint(self) -> None:
        """Let every run that has begun and not ended write a checkpoint; raises RunError if there is none."""
        self._each("checkpoint", "checkpoint")

    def change(self, **values: Any) -> None:
        """Change settings of every running run that allows it: ``change(**{"learning.learning_rate": 1e-4})``.

        Raises:
            RunError: no run can be changed now.
            ConfigError: a value is refused.
        """
        self._each("change", "change", **values)

    def choose(self, **choices: Any) -> None:
        """Draw something else: ``choose(charts=("loss", "grad_norm"), over="time", log=True)``.

        Args:
            choices: fields of :class:`workbench.view.panel.charts.Choices`.

        Raises:
            ValueError: a choice cannot be drawn; the charts stay.
        """
        self._replace(Feed(self.runs, dataclasses.replace(self.choices, **choices)))

    def follow(self, runs: Sequence[RunView]) -> None:
        """Draw these runs from now on, in place of those so far.

        Raises:
            ValueError: there are none.
        """
        self._replace(Feed(runs, self.choices))

    @property
    def choices(self) -> Choices:
        """What is drawn."""
        return dataclasses.replace(self._feed.choices, smoothing=self.widget.smoothing, log=self.widget.log)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the runs have ended and all is drawn, at most ``timeout`` seconds; whether so."""
        return self._watcher.wait(timeout)

    def __await__(self) -> Generator[Any, None, None]:
        """Sleep like :meth:`wait`, with the kernel free: buttons work. An interrupt ends the sleep, not the runs."""
        while not self.wait(0):
            yield from asyncio.sleep(INTERVAL_S).__await__()

    def close(self) -> None:
        """Watch no longer. The charts stay as they are, and the runs continue."""
        with_buttons.discard(self)
        self._open.discard(DOCTOR)
        self._call_the_doctor()  # off
        self._watcher.close()
        with self._drawing:
            self.widget.keep(self._feed)

    def figure(self) -> Picture:
        """A still figure of the runs as they are now, for the end of a notebook or for a report."""
        pair, gone = self._comparison, self._unreadable
        caption = verdict(pair) if pair is not None and pair.ended else ""
        caption += f" Left out, as it cannot be read: {', '.join(self.names[index] for index in gone)}." * bool(gone)
        shown = [run for index, run in enumerate(self.runs) if index not in gone]
        RecordError.unless(bool(shown), said("panel.none", gone="; ".join(gone.values())))
        caption += f" {said('panel.first', most=MOST_STYLES, count=len(shown))}" * (len(shown) > MOST_STYLES)
        return draw(shown[:MOST_STYLES], self.choices, caption.strip())

    def __repr__(self) -> str:
        return f"<Panel of {'; '.join(self.names)}: live in a running notebook>"

    def _ipython_display_(self) -> None:
        """Show the widget, and below it the place of the picture, which is empty while the runs continue."""
        self.show(display)
        self.leave_picture(display({"text/plain": ""}, raw=True, display_id=True))

    def show(self, place: Callable[..., object]) -> None:
        """Show the widget by calling ``display``, or the ``update`` of something that was displayed before."""
        if not self._over():
            with_buttons.add(self)
        data, about = self.widget._repr_mimebundle_() or ({}, {})
        place(data | {"text/plain": repr(self)}, metadata=about, raw=True)

    def leave_picture(self, twin: Any) -> None:
        """Draw the picture in a place that was displayed, now if a run has ended, and whenever one ends."""
        self._twins.append(twin)
        if self._pictured or self._over():
            self._draw_picture()

    def _draw_picture(self) -> None:
        """Renew the picture wherever the panel is displayed."""
        with self._picturing, suppress(RecordError, ConfigError):  # what can be read may have nothing that was chosen
            if twins := [twin for twin in self._twins if twin]:
                figure = self.figure()
                shown = {"image/png": to_png(figure, colours=NOTEBOOK_COLOURS), "text/plain": repr(figure)}
            for twin in twins:
                twin.update(shown, raw=True, metadata={"image/png": {"alt": f"Picture of the panel. {figure.alt}"}})

    def _each(self, method: str, word: str, **values: Any) -> None:
        """Call a method of every run that is in the right state for it."""
        fitting = self._fitting(method)
        if not fitting:
            states = [f"{name} is {_state(run)}" for name, run in zip(self.names, self.runs, strict=True)]
            why = "; ".join(states) if self._own else "runs that were started elsewhere can only be looked at"
            raise RunError(f"there is nothing to {word}: {why}")
        for run in fitting:
            getattr(run, method)(**values)

    def _fitting(self, method: str) -> list[Run]:
        """The runs that are in the right state for a method."""
        fits = {"pause": ("running",), "proceed": ("paused",)}.get(method, ("running", "paused"))
        return [run for run in self._own if _state(run) in fits]

    # --- what the browser says -------------------------------------------------------------------------------------

    def _receive(self, widget: Charts, heard: dict[str, Any], buffers: object) -> None:
        """A page asks for all rows, a button was pressed, something was chosen, changed or opened."""
        if "hello" in heard:
            with self._drawing:
                self.widget.tell(self._feed, everything=True)
        elif "press" in heard:  # it may take seconds, and the kernel must stay free meanwhile
            action = {name: getattr(self, name) for name in BUTTONS}[heard["press"]]
            self._busy = True
            self._tell()
            threading.Thread(target=self._try, args=[action], name="panel button", daemon=True).start()
        elif "choose" in heard:
            self._try(lambda: self.choose(**heard["choose"]))
        elif "change" in heard:
            self._change(heard["change"])
        elif "open" in heard:
            (self._open.add if heard["shown"] else self._open.discard)(heard["open"])
            self._tell()
            if heard["open"] == DOCTOR:
                self._call_the_doctor()

    def _try(self, action: Callable[[], None]) -> None:
        """Do something, and say in the panel what went wrong, if anything did."""
        self._message = pages.attempt(action)
        self._busy = False
        self._tell()

    def _change(self, edited: dict[str, str]) -> None:
        """Make the changes that were typed."""
        wrong = ""
        if edited:
            wrong = pages.attempt(lambda: self.change(**{name: number(name, words) for name, words in edited.items()}))
            self._applied += not wrong
        self._changed = wrong or pages.quiet("Done." if edited else "Nothing was edited.")
        self._tell()

    def _restyle(self, change: Any) -> None:
        self._feed.choices = self.choices

    # --- looking ---------------------------------------------------------------------------------------------------

    def _take(self, feed: Feed) -> None:
        self._feed, self.runs, self.names = feed, feed.runs, labels(feed.runs)
        self._own = [run for run in self.runs if isinstance(run, Run)]
        self._followed = [run for run in self.runs if isinstance(run, LoadedRun) and not run.ended]
        self._left = [TimeLeft() for _ in self.runs]
        self._unreadable: dict[int, str] = {}  # why, by the place of the run
        self._lines: list[dict[str, Any]] = [{"share": 0.0, "facts": ""} for _ in self.runs]
        self._failure, self._pictured = "", 0  # the latter: runs that had ended when the picture was drawn last

    def _replace(self, feed: Feed) -> None:
        """Draw another feed, of which nothing was sent yet; of ended runs too, the picture and the kept rows follow."""
        self._watcher.close()
        with self._drawing, self._telling:
            self._take(feed)
            self._read()
            self.widget.show(feed)
            self.widget.tell(feed, everything=True)
        self._watcher = Watcher(self._look, self._give_up)

    def _over(self) -> bool:
        return all(run.ended or index in self._unreadable for index, run in enumerate(self.runs))

    def _read(self) -> None:
        """Take up what the runs have recorded. One that cannot be read is named, and is tried again."""
        wrong = {}
        for index, run in enumerate(self.runs):
            try:
                if run in self._followed:
                    run.refresh()
                self._feed.update(index)
            except Exception as error:
                if run in self._own:  # what goes wrong with another one lies in its folder
                    raise
                wrong[index] = str(error) if isinstance(error, RecordError) else repr(error)
        self._unreadable = wrong

    def _look(self) -> bool:
        """Bring everything up to date; whether nothing more will come."""
        over = self._over()  # before reading: the last look has everything
        ended = sum(run.ended for run in self.runs)
        with self._drawing:
            self._read()
            self.widget.tell(self._feed)
            self._tell()
            if over:
                with_buttons.discard(self)
                self.widget.keep(self._feed)
        if ended > self._pictured:
            self._pictured = ended
            if over:
                self._draw_picture()
            else:  # this thread would rest for as long as drawing has cost
                threading.Thread(target=self._draw_picture, name="panel picture", daemon=True).start()
        if over:
            self._call_the_doctor()
        return over

    def _give_up(self, error: Exception) -> None:
        self._message = pages.warning("the charts stand still, as they could not be drawn; the runs continue")
        self._failure = pages.failure("panel", "".join(traceback.format_exception(error)))
        self._tell()

    def _tell(self) -> None:
        """Bring words and buttons up to date."""
        with self._telling:
            named = zip(self.names, self.runs, strict=True)
            changeable = [run for run in self._own if not run.ended]
            failures = [pages.failure(name, str(run.error)) for name, run in named if run.error]
            failures += [pages.failure(self.names[index], why) for index, why in self._unreadable.items()]
            self.widget.state = {
                "able": [] if self._busy else self._able(),
                "runs": [self._line(index, run) for index, run in enumerate(self.runs)],
                "message": self._message,
                "incidents": pages.incident_lines(self.runs, self.names),
                "failures": "".join(failures) + self._failure,
                "fields": self._fields(changeable),
                "changeable": any(run.status == "running" for run in changeable),
                "applied": self._applied,
            }
            offered = {}
            if changeable or any(run.changes for run in self.runs):
                offered[CHANGES] = self._changed + pages.change_list(self.runs, self.names)
            if self._own:
                offered[PROCESSES] = pages.process_table(self.runs, self.names) if PROCESSES in self._open else ""
            self.widget.pages = offered | {DOCTOR: self._diagnoses}

    def _able(self) -> list[str]:
        """Buttons that make sense now."""
        waiting = any(run.status == "created" for run in self._own)
        able = {
            "start": waiting and not (self._started and self._comparison is not None),
            "stop": not self.sweep.ended if self.sweep else self._started and not all(run.ended for run in self._own),
        }
        able |= {method: bool(self._fitting(method)) for method in ("pause", "proceed", "checkpoint")}
        return [name for name, sense in able.items() if sense]

    @property
    def _started(self) -> bool:
        return any(run.status != "created" for run in self._own)

    def _fields(self, changeable: Sequence[Run]) -> dict[str, str]:
        """Settings that can be changed, with their present values."""
        if not changeable:
            return {}
        shown = next((run for run in changeable if run.status == "running"), changeable[0])
        return {name: repr(operator.attrgetter(name)(shown.settings.configs[-1])) for name in shown.changeable}

    def _call_the_doctor(self) -> None:
        """Have diagnoses written now, and again and again until the runs have ended, while anybody reads them."""
        if self._doctor is not None:
            self._doctor.close(wait=False)
        if DOCTOR in self._open:
            self._doctor = Watcher(self._diagnose, self._give_up, "doctor", DOCTOR_INTERVAL_S)

    def _diagnose(self) -> bool:
        over, found = self._over(), []  # in this order: the last diagnoses are of everything
        with self._telling:
            named = list(zip(self.names, self.runs, strict=True))
        for name, run in named:
            if run.status == "created":
                found.append(pages.quiet(f"{name}: not started"))
                continue
            try:
                found.append(pages.page(diagnose(run)))
            except Exception:  # of one run: the others still have something to say
                found.append(pages.failure(f"the doctor of {name}", traceback.format_exc()))
        self._diagnoses = "<hr>".join(found)
        self._tell()
        return over

    def _line(self, index: int, run: RunView) -> dict[str, Any]:
        """How far a run is, and what there is to say about it."""
        with suppress(RecordError):  # which the next look tells
            share = 0.0 if run.status == "created" else round(run.history.epochs_done / run.config.epochs, 4)
            self._lines[index] = {"share": share, "facts": " · ".join(self._facts(index, run))}
        gone = {"facts": "cannot be read, see below; it is tried again while the others continue"}
        return self._lines[index] | (gone if index in self._unreadable else {})

    def _facts(self, index: int, run: RunView) -> list[str]:
        """Status and progress of a run, in words."""
        if run.status == "created":
            return ["waits for its turn" if self._started and self._comparison is not None else "not started"]
        progress, starts = run.progress, run.config.replay.learning_starts
        epochs = run.history.epochs_done
        left = self._left[index].look(time.monotonic(), epochs, run.config.epochs, _state(run) == "running")
        if run.ended and not progress["epochs"]:
            began = progress["elapsed_s"] or len(run.history.events)
            return [f"{run.status} before {'the end of its first epoch' if began else 'it began'}"]
        followed = ["started elsewhere, read only"] * (run in self._followed and not run.ended and self.sweep is None)
        facts = [_state(run), *followed, *run.losses, f"epoch {epochs:,} of {run.config.epochs:,}"]
        if not run.ended and progress["rows"] < starts:
            return [*facts, f"waiting for data: {progress['rows']:,.0f} of {starts:,} rows"]
        return [
            *facts,
            *([] if left is None else [f"{in_words(left)} left"]),
            f"{progress['updates']:,.0f} updates",
            f"{progress['agent_steps_per_s']:,.0f} agent steps/s",
            f"{progress['updates_per_s']:,.0f} updates/s",
        ]


def _state(run: RunView) -> str:
    """The status of a run, or that it is paused: then its status is still "running"."""
    return "paused" if getattr(run, "paused", False) and not run.ended else run.status


def number(name: str, words: str) -> float:
    """A number as it was typed.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(words)
    except ValueError:
        raise ValueError(f"{name} is {words!r}; it must be a number, such as 0.0005 or 5e-4") from None
