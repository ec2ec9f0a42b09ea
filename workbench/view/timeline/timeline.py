"""The timeline of a run: what each process did when, as a figure, a table, a trace for Perfetto, and a view to zoom in.

It is made of what has been recorded when it is asked for. What a process is in the middle of is not yet there.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from workbench.core.config import ConfigError
from workbench.core.records import Records
from workbench.runs.files import at, write_whole
from workbench.runs.folder import RecordError
from workbench.runs.loaded import RunView, readers
from workbench.view.picture import Picture
from workbench.view.sentences import said
from workbench.view.style import SCREEN, own_settings
from workbench.view.timeline.lanes import Strip, draw_strips
from workbench.view.timeline.spans import NO_WORK, Shares, SpanKind, of_process, spans_of, time_of_kinds, time_on_core

# Width of the figure, height of a lane, and height of all that is no lane, in inches.
WIDTH, LANE, MARGIN = 11.0, 0.62, 1.0
# Seconds that a figure shows if nothing else is asked for.
LAST_S = 3.0
# Shortest stretch of time that can be shown.
SHORTEST_S = 1e-3
_TRAINING = (SpanKind.ACTING, SpanKind.LEARNING, SpanKind.PUBLISHING)
_PICTURES = (".png", ".svg", ".pdf")


class Timeline:
    """What each process of a run did when, as far as it is recorded now.

    Times are seconds since the start: the moment at which all processes were ready. A stretch of time is given by its
    end, ``until``, and by how long it is, ``last``. By default it ends where training does, so the evaluation after the
    last update is not in it.

    Attributes:
        run: the run.
        processes: names of the processes.
        spans: :data:`~workbench.view.timeline.spans.SPANS` of all processes, read-only.
        origin_ns: the start, on the clock of the spans.
        trained: when training ended, or where it is now.
        end: when the last recorded span ended.

    Example:
        ``run.timeline().shares()``
    """

    def __init__(self, run: RunView) -> None:
        """Take what a run has recorded so far.

        Raises:
            RecordError: it recorded no timeline, or nothing yet, or its spans are damaged.
        """
        description = run.folder.read_description()
        self.run, self.spans = run, spans_of(run.history)
        RecordError.unless(bool(np.isin(self.spans["kind"], list(SpanKind)).all()), said("timeline.damaged", run=run))
        self.processes: tuple[str, ...] = tuple(description.get("processes", ()))
        worked, offset = self._ends(SpanKind.ACTING, SpanKind.LEARNING), description.get("clock_offset_ns", 0)
        lives = (1e9 * life.get("time", 0) - offset for life in description.get("resumed", ()))
        # time 0 is in the newest that did more than evaluate; what the others did has times below that
        began = max((life for life in lives if (worked > life).any()), default=-math.inf)
        started = (found := self._ends(SpanKind.STARTING))[found >= began]
        trained = (ends := self._ends(*_TRAINING))[ends > started.min(initial=np.iinfo(np.int64).max)]
        if len(trained) == 0 or not self.processes:
            why = "no work" if run.ended else "not yet"
            why = why if description.get("timeline") else "not recorded" if run.mode in readers else "not asked"
            why = said(f"timeline.{why}", status=run.status)
            raise RecordError(said("timeline.none", name=run.name, why=why))
        self.origin_ns = int(started.min())
        self._since_1970 = (self.origin_ns + offset) / 1e9
        self.trained = (int(trained.max()) - self.origin_ns) / 1e9
        self.end = (int(self._ends(*SpanKind).max()) - self.origin_ns) / 1e9

    @own_settings()
    def figure(self, last: float | None = None, until: float | None = None) -> Picture:
        """A lane per process.

        Args:
            last: seconds to show; None for three, or as many as there are.
            until: where they end; None for the end of training.

        Raises:
            ConfigError: that is not within the run.
        """
        shares = self._shares(*self._stretch(LAST_S, last, until))
        picture = Picture(figsize=(WIDTH, MARGIN + LANE * len(self.processes)), layout="constrained")
        strip = Strip(f"What each process did: {self.run.label}", self.spans, self.origin_ns, shares, shares)
        draw_strips(picture, [strip], SCREEN, ("working", "on a core", "waiting"))
        picture.alt = said("timeline.alt", start=shares.start, end=shares.end, words=shares.words)
        return picture

    def shares(self, last: float | None = None, until: float | None = None) -> Shares:
        """How much of a stretch of time each process worked and waited; by default of all training.

        Raises:
            ConfigError: it is not within the run.
        """
        return self._shares(*self._stretch(math.inf, last, until))

    def trace(self, last: float | None = None, until: float | None = None) -> dict[str, Any]:
        """All spans, in the JSON format that Perfetto and Chrome open; by default from before the start to the end.

        Args:
            last: seconds whose spans are wanted; None for as many as there are.
            until: where they end; None for the end of training, if ``last`` is given.

        Raises:
            ConfigError: that is not within the run.
        """
        chosen = self.spans
        if last is not None or until is not None:
            start, end = (self.origin_ns + 1e9 * np.array(self._stretch(math.inf, last, until))).astype(np.int64)
            chosen = chosen[(chosen["start"] < end) & (chosen["start"] + chosen["duration"] > start)]
        about = {"run": self.run.name, "label": self.run.label, "time 0 in seconds since 1970": self._since_1970}
        return chrome_trace(chosen, self.processes, self.origin_ns, about)

    def save(self, path: Path | str, last: float | None = None, until: float | None = None) -> Path:
        """Write a file: :meth:`figure` as ``.png``, ``.svg`` or ``.pdf``, :meth:`trace` as ``.json``.

        Args:
            path: where to; what is there is replaced.
            last: seconds to show.
            until: where they end.

        Raises:
            ConfigError: the name ends otherwise, or the stretch of time is not within the run.
        """
        path = check_name(path)
        if path.suffix != ".json":
            return self.figure(last, until).save(path)
        write_whole(path, json.dumps(self.trace(last, until), separators=(",", ":")) + "\n")
        return path

    def explore(self) -> widgets.interactive:
        """The figure with two sliders, for a notebook: where it ends, and how many seconds it shows, logarithmic."""
        until = widgets.FloatSlider(self.trained, min=SHORTEST_S, max=self.end, step=self.end / 1000)
        last = widgets.FloatLogSlider(min(LAST_S, self.trained), min=math.log10(SHORTEST_S), max=math.log10(self.end))
        until.continuous_update = last.continuous_update = False

        def draw(until: float, last: float) -> Picture:
            return self.figure(max(SHORTEST_S, min(last, until)), until)

        return widgets.interactive(draw, {"auto_display": True}, until=until, last=last)

    def __repr__(self) -> str:
        return f"<Timeline of {self.run.name}: {len(self.spans):,} spans of {len(self.processes)} processes>"

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        return self.figure()._repr_png_()

    def _ends(self, *kinds: SpanKind) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        chosen: Records = self.spans[np.isin(self.spans["kind"], kinds)]
        return np.asarray(chosen["start"] + chosen["duration"])

    def _stretch(self, usual: float, last: float | None, until: float | None) -> tuple[float, float]:
        """Start and end of a stretch of time, checked."""
        end = self.trained if until is None else until
        about: dict[str, Any] = {"name": self.run.name, "shortest": SHORTEST_S}
        if not SHORTEST_S <= end <= self.end:
            recorded = {"last": _below(self.end), "trained": _below(self.trained)}
            raise ConfigError(said("timeline.until", end=end, **recorded, **about))
        length = min(usual, end) if last is None else last
        if not SHORTEST_S <= length <= end:
            raise ConfigError(said("timeline.last", length=length, end=_below(end), **about))
        return end - length, end

    def _shares(self, start: float, end: float) -> Shares:
        first, past = self.origin_ns + 1e9 * start, self.origin_ns + 1e9 * end
        each = [of_process(self.spans, place) for place in range(len(self.processes))]
        kinds = np.stack([time_of_kinds(spans, [first, past])[:, 0] for spans in each])
        on_core = np.array([time_on_core(spans, first, past, NO_WORK) for spans in each])
        return Shares(self.processes, start, end, kinds / (past - first), on_core / (past - first))


def check_name(path: Path | str) -> Path:
    """The path, if its name says what to write.

    Raises:
        ConfigError: it does not.
    """
    path = at(path)
    if path.suffix not in (".json", *_PICTURES):
        raise ConfigError(said("timeline.name", name=path.name, pictures=", ".join(_PICTURES)))
    return path


def _below(seconds: float) -> str:
    """The greatest number of milliseconds that is not more, in seconds."""
    return f"{math.floor(1e3 * seconds) / 1e3:g}"


def chrome_trace(spans: Records, processes: Sequence[str], origin_ns: int, about: dict[str, Any]) -> dict[str, Any]:
    """Spans in the JSON format of Chrome, as a dictionary, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

    Format: "Trace Event Format", Google, 2016: complete events (``ph`` X) with times in microseconds, and metadata
    events (``ph`` M) that name the processes.

    Args:
        spans: (n,) of any processes, in any order.
        processes: name of each process, by its place.
        origin_ns: the moment that becomes time 0; earlier spans get negative times.
        about: what is kept of the run beside the events.
    """
    events: list[dict[str, Any]] = []
    for place, name in enumerate(processes):
        named: dict[str, object] = {"name": name}
        told = {"process_name": named, "process_sort_index": {"sort_index": place}, "thread_name": named}
        events += [{"ph": "M", "name": each, "pid": place, "tid": place, "args": its} for each, its in told.items()]
    events += [_event(span, origin_ns) for span in spans.tolist()]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}


def _event(span: tuple[int, ...], origin_ns: int) -> dict[str, Any]:
    start, duration, on_core, process, kind, agent, epoch = span
    name = SpanKind(kind).name.lower()
    belongs = {key: value for key, value in (("agent", agent), ("epoch", epoch)) if value >= 0}
    return {
        "ph": "X", "name": name, "cat": name, "ts": (start - origin_ns) / 1e3, "dur": duration / 1e3,
        "pid": process, "tid": process, "args": belongs | {"on a core, ms": on_core / 1e6},
    }  # fmt: skip
