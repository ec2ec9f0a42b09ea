"""What the notebooks on diagnosis show: the catalogue and verdicts as tables, syncs as a figure, a menu of faults."""

import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from workbench.core.agents import schedules
from workbench.core.config import Config
from workbench.diagnose.catalogue import CATALOGUE, Failure, effect_text, fault_names
from workbench.diagnose.checks import CheckResult
from workbench.diagnose.doctor import Diagnosis, diagnose
from workbench.diagnose.faults import FAULTS
from workbench.diagnose.measurements import measurements_of, probes_of
from workbench.runs.loaded import RunError, RunView
from workbench.runs.naming import labels
from workbench.runs.run import Run
from workbench.runs.table import Table, escaped
from workbench.view import html as pages
from workbench.view.panel.panel import Panel
from workbench.view.picture import DPI, Live, Picture
from workbench.view.style import GREY, legend_above, own_settings, run_style, style_axes

# What the first letter of an id stands for.
ROOMS = {"D": "Data path", "W": "Weights and epsilon", "L": "Learning step", "P": "Processes"}
_WIDTH = 112
_TEXT = "white-space: pre-wrap; line-height: 1.35"


def ids_of_fault(fault: str) -> tuple[str, ...]:
    """Ids of the failures that a fault switches on; empty for an unknown name."""
    return tuple(failure.id for failure in CATALOGUE.values() if fault in failure.faults)


def check_of_fault(fault: str) -> str:
    """Name of the check that must notice a fault.

    Raises:
        KeyError: there is no fault of that name.
    """
    for failure in CATALOGUE.values():
        if fault in failure.faults and failure.check is not None:
            return failure.check
    raise KeyError(f"there is no fault {fault!r}; the catalogue has {', '.join(fault_names())}")


# --- tables ----------------------------------------------------------------------------------------------------------


def catalogue_table(room: str = "DWLP") -> str:
    """The failures of some rooms as text: id and title; below them faults, check and note.

    Args:
        room: first letters of the ids, as in :data:`ROOMS`.
    """
    lines = []
    for letter in room:
        lines += [ROOMS[letter], *(line for row in CATALOGUE.values() if row.id[0] == letter for line in _row(row)), ""]
    return "\n".join(lines).rstrip()


def doubted_claims() -> tuple[Failure, ...]:
    """Claimed failures that measuring has disproved or puts in doubt; their notes say why."""
    return tuple(row for row in CATALOGUE.values() if row.note.startswith(("Disproved", "Doubtful")))


def claims_table(lines: Sequence[Mapping[str, Any]] = ()) -> str:
    """The claims in doubt, one after the other: what was claimed, what was found, and what each fault costs.

    Args:
        lines: ``faults`` of the matrix; without them nothing is said of costs.
    """
    costs, told = {line["name"]: effect_text(line) for line in lines}, []
    for row in doubted_claims():
        told += [f"{row.id:<4}{row.title}", *_wrapped(row.note, 4)]
        told += [f"    {fault}, greedy reward: {costs[fault]}" for fault in row.faults if fault in costs]
    return "\n".join(told)


def verdict_table(diagnoses: Mapping[str, Diagnosis], of: Literal["checks", "methods"] = "checks") -> str:
    """Verdicts side by side: a line per check or method, a column per diagnosis under its name."""
    rows: dict[str, list[str]] = {}
    for diagnosis in diagnoses.values():
        for result in getattr(diagnosis, of):
            rows.setdefault(result.name, []).append(result.verdict)
    return Table(("", *diagnoses), tuple((name, *verdicts) for name, verdicts in rows.items()), numbers=False).text


def sentences(results: Iterable[CheckResult]) -> str:
    """Checks or methods one after the other: verdict and name, and below them the sentence."""
    lines = []
    for result in results:
        lines += [f"{result.verdict}: {result.name}", *_wrapped(result.told, 4)]
    return "\n".join(lines)


def conclusion(name: str, diagnosis: Diagnosis) -> str:
    """What the doctor says of the hypothesis that weights are not synced, under the name of the run."""
    return "\n".join([f"{name}:", *_wrapped(diagnosis.hypothesis.sentence, 4)])


def noticed(fault: str, diagnosis: Diagnosis) -> bool:
    """Whether the check that the catalogue names for a fault has failed. The fault may have a strength behind it."""
    return diagnosis[check_of_fault(fault.partition("=")[0])].verdict == "fail"


def _row(failure: Failure) -> list[str]:
    lines = [f"  {failure.id:<4}{failure.title}"]
    if failure.faults:
        lines.append(f"      {', '.join(failure.faults)} -> {failure.check}")
    return lines + _wrapped(failure.note, 6)


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)


# --- the figure of the syncs -----------------------------------------------------------------------------------------


@own_settings()
def sync_figure(runs: Sequence[RunView]) -> Picture:
    """Sync lag, epsilon in use and due, and weight distance before and after each sync, of runs with probes.

    Args:
        runs: the first is drawn wide, the others dashed on top. Epsilon due is that of the first.

    Raises:
        RunError: a run was made without probes.
    """
    if bare := [run for run in runs if len(run.history.epochs) and not len(probes_of(run.history))]:
        raise RunError(
            f"run {bare[0].name} was made without probes, so no distance of weights was recorded in it; launch it with "
            "probes=True (on the command line: without --no-probes)"
        )
    figure = Picture(figsize=(11.0, 3.7), dpi=DPI, facecolor="white", layout="constrained")
    lag, epsilon, distance = figure.subplots(1, 3)
    style_axes(lag, "Sync lag", "epoch", "versions behind")
    style_axes(epsilon, "Epsilon in use; due: crosses", "epoch", "probability")
    style_axes(distance, "Weight distance: before (thin), after", "epoch of the sync", "root mean square")
    for index, run in enumerate(runs):
        _draw(lag, index, *run.history.series("sync/lag_versions"))
        _draw(epsilon, index, *run.history.series("charts/epsilon"))
        _draw(distance, index, *_by_epoch(run, "sync/online_before"), thin=True)
        _draw(distance, index, *_by_epoch(run, "sync/online_after"))
    config, names = runs[0].config, labels(runs)
    epochs = np.arange(0, config.epochs, max(1, config.epochs // 12))
    due = [schedules.epsilon(config, int(epoch)) for epoch in epochs]
    epsilon.plot(epochs, due, color=GREY, marker="x", linestyle="none", markersize=6, zorder=9)
    legend_above(figure, lag.lines, 3, labels=names)
    figure.alt = f"Three charts: sync lag, epsilon in use and due, weight distance at each sync. {'; '.join(names)}."
    return figure


def _by_epoch(run: RunView, measurement: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A measurement over the epochs, mean over the agents."""
    found = measurements_of(run.history, measurement)
    epochs, place = np.unique(found["epoch"], return_inverse=True)
    return epochs, np.bincount(place, found["value"], len(epochs)) / np.bincount(place, minlength=len(epochs))


def _draw(axes: Axes, index: int, x: Any, y: Any, thin: bool = False) -> None:
    style = run_style(index)
    width, alpha = (0.9, 0.6) if thin else (style.width, 1.0)
    dashes = "solid" if thin else style.dashes
    axes.plot(x, y, color=style.colour, linestyle=dashes, linewidth=width, alpha=alpha, zorder=3 + index)


# --- the menu of faults ----------------------------------------------------------------------------------------------


class FaultMenu(Live):
    """Choose a fault, run it beside a sound run, and read what the doctor says. Nothing here blocks the kernel.

    :meth:`launch` does what the button does, also where no notebook is open.

    Attributes:
        widget: what is displayed; it holds all the others.
        choice: the names of all faults.
        button: runs the chosen one.
        message: why a fault was refused, if it was.
        report: the doctor's table, once the run has ended.
        run: the run that was launched last.
        panel: its curves.
    """

    def __init__(
        self, config: Config, lag: int | None = 1, sound: RunView | None = None, *, launch: Callable[..., Run]
    ) -> None:
        """Make the menu.

        Args:
            config: settings of every run.
            lag: staleness in epochs; None runs free.
            sound: a run without faults to draw beside each.
            launch: what starts a run: ``workbench.launch``.
        """
        self._config, self._lag, self._sound, self._launch = config, lag, sound, launch
        self.run: Run | None = None
        self.panel: Panel | None = None
        self.choice = widgets.Dropdown(options=_options(), description="Fault", layout=widgets.Layout(width="50em"))
        self.button = widgets.Button(description="Run it", button_style="success", icon="play")
        self.button.on_click(lambda _: _in_background(self._run_choice))
        self.message, self.report = widgets.HTML(), widgets.HTML()
        self._curves = widgets.VBox()
        head = widgets.HBox([self.choice, self.button])
        self.widget = widgets.VBox([head, self.message, self._curves, self.report])

    def launch(self, fault: str) -> Run:
        """Start a run with a fault, show its curves and in the end the doctor's table; returns at once.

        Raises:
            ConfigError: there is no such fault, or it makes no sense in this run.
        """
        run = self._launch(self._config, lag=self._lag, faults=[fault])
        panel = Panel([run] if self._sound is None else [self._sound, run])
        self.run, self.panel, self.button.disabled = run, panel, True
        self._curves.children = (panel.widget,)
        self.report.value = ""
        _in_background(lambda: self._report(run, panel))
        return run

    def __repr__(self) -> str:
        return f"<menu of {len(FAULTS)} faults: live in a running notebook>"

    def _run_choice(self) -> None:
        self.button.disabled = True
        self.message.value = pages.attempt(lambda: self.launch(self.choice.value))
        if self.message.value:
            self.button.disabled = False

    def _report(self, run: Run, panel: Panel) -> None:
        panel.wait()
        text = diagnose(run).text
        if run is self.run:  # else another one was launched meanwhile
            self.button.disabled = False
            self.report.value = f'<pre style="{_TEXT}">{escaped(text)}</pre>'


def _options() -> Iterable[tuple[str, str]]:
    titles = {fault: row.title for row in reversed(CATALOGUE.values()) for fault in row.faults}
    return [(f"{name} ({', '.join(ids_of_fault(name))}): {titles[name]}", name) for name in FAULTS]


def _in_background(action: Callable[[], None]) -> None:
    threading.Thread(target=action, name="menu of faults", daemon=True).start()
