"""A run as event files that TensorBoard opens: every metric as a curve, with the times at which it was recorded.

All agents together are one run of TensorBoard, each agent another one, so that their curves lie in the same charts:

    OUT/NAME/all        the agents' mean or sum, as the metric says, and the settings as text
    OUT/NAME/agent-0    one agent

The same run gives the same bytes: a file is named by the run, not by time, host and process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench.export.needed import ExportError, need
from workbench.runs.files import whole_file
from workbench.runs.loaded import RunView


class Point(NamedTuple):
    """One value of a curve.

    Attributes:
        time: Seconds since 1970, UTC.
        step: Update or epoch, as the metric's table has it.
    """

    time: float
    step: int
    value: float


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
    writer = need("tensorboard.summary.writer.record_writer")
    if not any(len(run.history.series(name)[0]) for name in run.history):
        raise ExportError(f"run {run.name} is {run.status} and has recorded no curve; there is nothing to export")
    agents: list[int | None] = [None, *range(run.config.num_agents)]
    return [_write(writer.RecordWriter, run, agent, Path(out) / run.name) for agent in agents]


def points(run: RunView, metric: str, agent: int | None) -> list[Point]:
    """A metric of one agent, or of all together, as it is drawn."""
    steps, values = run.history.series(metric, agent)
    times, _ = run.history.series(metric, agent, over="time")
    return [Point(float(time), int(step), float(value)) for time, step, value in zip(times, steps, values, strict=True)]


def _write(record_writer: Any, run: RunView, agent: int | None, folder: Path) -> Path:
    folder = folder / ("all" if agent is None else f"agent-{agent}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{run.name}"
    with whole_file(path) as file:
        writer = record_writer(file)
        for event in _events(run, agent):
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()
    return path


def _events(run: RunView, agent: int | None) -> Iterator[Any]:
    event_pb2, summary_pb2 = need("tensorboard.compat.proto.event_pb2"), need("tensorboard.compat.proto.summary_pb2")
    curves = {name: found for name in run.history if (found := points(run, name, agent))}
    first = min((found[0].time for found in curves.values()), default=0.0)
    yield event_pb2.Event(wall_time=first, file_version="brain.Event:2")
    if agent is None:
        yield event_pb2.Event(wall_time=first, step=0, summary=_text(summary_pb2, "settings", _settings(run)))
    for name, found in curves.items():
        for point in found:
            value = summary_pb2.Summary.Value(tag=name, simple_value=np.float32(point.value))
            summary = summary_pb2.Summary(value=[value])
            yield event_pb2.Event(wall_time=point.time, step=point.step, summary=summary)


def _settings(run: RunView) -> str:
    """Label and settings in Markdown, which TensorBoard renders."""
    return f"{run.label}, seed {run.config.seed}\n\n```json\n{run.config.to_json()}\n```"


def _text(summary_pb2: Any, tag: str, text: str) -> Any:
    """A summary that TensorBoard's text dashboard shows."""
    tensor_pb2, types_pb2 = need("tensorboard.compat.proto.tensor_pb2"), need("tensorboard.compat.proto.types_pb2")
    metadata = need("tensorboard.plugins.text.metadata").create_summary_metadata(display_name=tag, description="")
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[text.encode()])
    value = summary_pb2.Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
    return summary_pb2.Summary(value=[value])
