"""A run as it goes, to the tracker that a team uses: one small interface, and TensorBoard behind it; or all at once.

Another tracker is a class with the four methods of :class:`Tracker`. Nothing here asks for an account or a network.

:func:`to_tensorboard` writes every metric as a curve, with the times at which it was recorded. All agents together are
one run of TensorBoard, each agent another one, so that their curves lie in the same charts:

    OUT/NAME/all        the agents' mean or sum, as the metric says, and the settings as text
    OUT/NAME/agent-0    one agent

The same run gives the same bytes there: a file is named by the run, not by time, host and process.
"""

import io
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from workbench.export.needed import check, need
from workbench.export.sentences import said
from workbench.runs.files import at, whole_file
from workbench.runs.history import Array
from workbench.runs.loaded import LoadedRun, RunView
from workbench.runs.metrics import METRICS

# Seconds between two looks at a run that is under way.
LOOK_S = 1.0


class Tracker(Protocol):
    """What a run is written to."""

    def settings(self, values: Mapping[str, Any]) -> None:
        """Called first, once: every setting by dotted name, with mode and lag."""

    def scalars(self, name: str, steps: Array, times: Array, values: Array) -> None:
        """What is new of a curve, (n,) each: epochs or updates, seconds since 1970, mean or sum of the agents."""

    def figure(self, name: str, png: bytes) -> None:
        """A picture, once the run has ended."""

    def close(self) -> None:
        """Called last."""


class TensorBoard:
    """Event files that ``tensorboard --logdir FOLDER`` shows while the run is under way.

    Args:
        folder: that gets the files.

    Raises:
        ExportError: tensorboard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        self._writer: Any = need("torch.utils.tensorboard").SummaryWriter(str(at(folder)))

    def settings(self, values: Mapping[str, Any]) -> None:
        """As a table of text."""
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}")

    def scalars(self, name: str, steps: Array, times: Array, values: Array) -> None:
        """One point each."""
        for step, when, value in zip(steps.tolist(), times.tolist(), values.tolist(), strict=True):
            self._writer.add_scalar(name, value, step, walltime=when)
        self._writer.flush()

    def figure(self, name: str, png: bytes) -> None:
        """As an image."""
        from PIL import Image

        self._writer.add_image(name, np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def log_to(run: RunView, tracker: Tracker) -> threading.Thread:
    """Write a run to a tracker as it goes: ``run.log_to(wb.export.TensorBoard("logs"))``; returns at once.

    Args:
        run: live or loaded.
        tracker: anything with the methods of :class:`Tracker`; it is closed in the end.

    Returns:
        The thread that writes; ``join()`` waits for the last point.
    """
    thread = threading.Thread(target=_follow, args=(run, tracker), name=f"tracker of {run.name}", daemon=True)
    thread.start()
    return thread


def _follow(run: RunView, tracker: Tracker) -> None:
    from workbench.view.figures import side_by_side
    from workbench.view.picture import to_png

    with closing(tracker):
        tracker.settings({**run.config.flat(), "mode": run.mode, "lag": run.lag})
        told, over = dict[str, int](), False
        while not over:
            if isinstance(run, LoadedRun):
                run.refresh()
            over = run.ended  # before the last look, so that nothing is missed
            for name in run.history:
                agents = np.unique(run.history.table(run.history.schema.metric(name).table)["agent"])
                (steps, values), (times, _) = run.history.series(name), run.history.series(name, over="time")
                # what was told stays: before all have begun a mean would be that of some, and the newest point may be
                # replaced, as an evaluation by the final one of the same epoch
                of_all = over or name not in METRICS or len(agents) == run.config.num_agents
                new = slice(told.get(name, 0), min(len(steps), len(times)) - (0 if over else 1))
                if of_all and new.stop > new.start:
                    tracker.scalars(name, steps[new], times[new], values[new])
                    told[name] = new.stop
            time.sleep(0 if over else LOOK_S)
        tracker.figure("charts", to_png(side_by_side(run)))


def to_tensorboard(run: RunView, out: Path | str) -> list[Path]:
    """Write event files for a run; ``tensorboard --logdir OUT`` shows them.

    Args:
        run: live or loaded.
        out: folder that gets a folder named after the run. Event files of that run in it are replaced.

    Returns:
        The files, that of all agents together first.

    Raises:
        ExportError: nothing is recorded yet, or tensorboard is not installed.
    """
    writer: Any = need("tensorboard.summary.writer.record_writer").RecordWriter
    check(any(len(run.history.series(name)[0]) for name in run.history), said("trackers.nothing", run=run))
    parts: dict[str, int | None] = {"all": None} | {f"agent-{agent}": agent for agent in range(run.config.num_agents)}
    paths = [at(out) / run.name / part / f"events.out.tfevents.{run.name}" for part in parts]
    for path, agent in zip(paths, parts.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            records = writer(file)
            for event in _events(run, agent):
                records.write(event.SerializeToString(deterministic=True))
    return paths


def _events(run: RunView, agent: int | None) -> Iterator[Any]:
    """The curves of one agent, or of all together, as they are drawn; time is in seconds since 1970, UTC."""
    event_pb2, summary = need("tensorboard.compat.proto.event_pb2"), need("torch.utils.tensorboard.summary")
    curves = {name: run.history.series(name, agent, over="time") for name in run.history}
    first = min((float(times[0]) for times, _ in curves.values() if len(times)), default=0.0)
    yield event_pb2.Event(wall_time=first, file_version="brain.Event:2")
    if agent is None:
        settings = f"{run.label}, seed {run.config.seed}\n\n```json\n{run.config.to_json()}\n```"  # Markdown
        yield event_pb2.Event(wall_time=first, step=0, summary=summary.text("settings", settings))
    for name, (times, values) in curves.items():
        steps, _ = run.history.series(name, agent)
        # a live run may have more steps by now
        for when, step, value in zip(times.tolist(), steps.tolist(), values.tolist(), strict=False):
            yield event_pb2.Event(wall_time=when, step=step, summary=summary.scalar(name, value))
