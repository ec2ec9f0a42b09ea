"""A run as event files that TensorBoard opens: every metric as a curve, with the times at which it was recorded.

All agents together are one run of TensorBoard, each agent another one, so that their curves lie in the same charts:

    OUT/NAME/all        the agents' mean or sum, as the metric says, and the settings as text
    OUT/NAME/agent-0    one agent

The same run gives the same bytes: a file is named by the run, not by time, host and process.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.export.needed import ExportError, need
from workbench.runs.files import at, whole_file
from workbench.runs.loaded import RunView


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
    if not any(len(run.history.series(name)[0]) for name in run.history):
        raise ExportError(f"run {run.name} is {run.status} and has recorded no curve; there is nothing to export")
    agents: list[int | None] = [None, *range(run.config.num_agents)]
    return [_write(writer, run, agent, at(out) / run.name) for agent in agents]


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
        for time, step, value in zip(times.tolist(), steps.tolist(), values.tolist(), strict=True):
            yield event_pb2.Event(wall_time=time, step=step, summary=summary.scalar(name, value))
