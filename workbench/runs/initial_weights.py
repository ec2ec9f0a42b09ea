"""Weights that a run starts from: out of another run, a checkpoint or a file, refused if they are of other networks."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents.flat_parameters import ParameterLayout, unpadded
from workbench.core.config import Config, ConfigError
from workbench.runs.folder import RecordError
from workbench.runs.loaded import LoadedRun, RunError, RunView, weights_in
from workbench.runs.recovery.checkpoint import read_checkpoint

# Where weights may come from: an array of :attr:`RunView.weights`, a run, or the path of a run folder (its final
# weights, or those of its newest checkpoint), of a checkpoint (``.npz``) or of an array (``.npy``).
WeightSource: TypeAlias = NDArray[np.float32] | RunView | Path | str


def initial_weights(source: WeightSource, config: Config) -> NDArray[np.float32]:
    """The weights of a source, (agents, vector size) float32, online and target network of every agent.

    Raises:
        RunError: the source has none, or they are those of other networks; the message gives both layouts.
        RecordError: a file is missing or damaged.
    """
    weights, made_by = _read(source)
    if made_by is not None and (theirs := _layouts(made_by)) != (ours := _layouts(config)):
        agent = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), None)
        differ = (
            f"they are of {len(theirs)} agents and this configuration has {len(ours)}" if agent is None
            else f"agent {agent} was made of {_said(theirs[agent])}; this configuration makes it of "
            f"{_said(ours[agent])}"
        )  # fmt: skip
        raise RunError(f"the weights do not fit: {differ}; take them from a run with the same world and agent")
    try:
        unpadded(weights, config)
    except ValueError as error:
        raise RunError(str(error)) from None
    return np.ascontiguousarray(weights, np.float32)


def _read(source: WeightSource) -> tuple[NDArray[np.float32], Config | None]:
    """The weights, and the configuration that they were made by, where it is known."""
    if isinstance(source, np.ndarray):
        return source, None
    if isinstance(source, RunView):
        return source.newest_weights, source.config
    path = Path(source).expanduser()
    if path.is_dir():
        run = LoadedRun(path)
        return (run.weights if (path / "weights.npy").exists() else run.weights_at("newest")), run.config
    if path.suffix == ".npz":
        checkpoint = read_checkpoint(path)
        try:
            config = Config.from_dict(checkpoint.description["config"])
        except (KeyError, TypeError, ConfigError) as error:
            raise RunError(f"{path} does not say what it was made of ({error}); give the run, or its weights") from None
        return weights_in(checkpoint, config.num_agents), config
    try:
        return np.load(path, allow_pickle=False), None
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(
            f"{path} holds no weights ({error}); give a run folder, a checkpoint (.npz) or an array (.npy)"
        ) from None


def _layouts(config: Config) -> list[ParameterLayout]:
    return [config.agent.layout(spec) for spec in config.spec.agents]


def _said(layout: ParameterLayout) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in zip(layout.names, layout.shapes, strict=True))
