"""Weights that a run starts from: out of another run, a checkpoint or a file, refused if they are of other networks."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from workbench.core.config import Config
from workbench.core.processes.blocks import Plan, Shared
from workbench.core.processes.worker import Parts
from workbench.core.shared.layout import Field, Layout
from workbench.core.train.hooks import Hook
from workbench.core.train.loop import Trainer
from workbench.runs.files import plain_file
from workbench.runs.folder import RecordError, named_path
from workbench.runs.loaded import LoadedRun, RunError, RunView, unpadded, weights_in
from workbench.runs.recovery.checkpoint import read_checkpoint
from workbench.runs.sentences import said

# Where weights may come from: an array of :attr:`RunView.weights`, a run, or the path of a run folder (its final
# weights, or those of its newest checkpoint), of a checkpoint (``.npz``) or of an array (``.npy``).
WeightSource: TypeAlias = NDArray[np.float32] | RunView | Path | str


# Name of the block of memory that they lie in.
BLOCK = "weights to start from"


class InitialWeights(Hook):
    """Has every agent start from given weights. What recovery keeps of an agent is newer, so this comes first."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self._weights = weights

    def __getstate__(self) -> dict[str, Any]:
        return {}  # too much to send to every child: they lie in shared memory

    def layouts(self, plan: Plan) -> dict[str, Layout]:
        """One block for all."""
        return {BLOCK: Layout(BLOCK, (Field("weights", self._weights.shape, np.float32, 0),))}

    def on_shared(self, shared: Shared) -> None:
        """Lay them there."""
        shared.blocks[BLOCK].open()["weights"][:] = self._weights

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Put them in place of each agent's own."""
        weights = unpadded(parts.blocks[BLOCK].open()["weights"], parts.config)
        for index, agent in trainer.agents.items():
            agent.set_state({**agent.get_state(), "vector": weights[index]})


def initial_weights(source: WeightSource, config: Config) -> NDArray[np.float32]:
    """The weights of a source, (agents, vector size) float32, online and target network of every agent.

    Raises:
        RunError: the source has none, or they are those of other networks; the message gives both layouts.
        RecordError: a file is missing or damaged.
    """
    weights, made_by = _read(source)
    theirs, ours = _layouts(made_by or config), _layouts(config)
    for agent, (its, wanted) in enumerate(zip(theirs, ours, strict=False)):
        RunError.unless(its == wanted, said("initial_weights.layout", agent=agent, its=its, ours=wanted))
    RunError.unless(len(theirs) == len(ours), said("initial_weights.agents", theirs=len(theirs), ours=len(ours)))
    weights = np.ascontiguousarray(weights, np.float32)
    vectors = unpadded(weights, config)  # which refuses those of another shape
    if bad := [agent for agent, vector in enumerate(vectors) if not np.isfinite(vector).all()]:
        raise RunError(said("initial_weights.finite", agent=bad[0]))
    return weights


def _read(source: WeightSource) -> tuple[NDArray[np.float32], Config | None]:
    """The weights, and the configuration that they were made by, where it is known."""
    if isinstance(source, RunView):
        return source.newest_weights, source.config
    if not isinstance(source, str | Path):
        return np.asarray(source), None
    path = named_path(source)
    if path.is_dir():
        return _read(LoadedRun(path))
    if path.suffix == ".npz":
        checkpoint = read_checkpoint(path)
        config = checkpoint.config()
        return weights_in(checkpoint, config.num_agents), config
    try:
        with plain_file(path) as file:
            return np.lib.format.read_array(file, allow_pickle=False), None
    except (OSError, ValueError) as error:
        raise RecordError(said("initial_weights.none", path=path, error=error)) from None


def _layouts(config: Config) -> list[str]:
    """What the parameters of each agent are called, and their shapes."""
    layouts = [config.agent.layout(spec) for spec in config.spec.agents]
    return [", ".join(map("{} {}".format, layout.names, layout.shapes)) for layout in layouts]
