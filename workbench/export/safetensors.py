"""The weights of a run as safetensors: a file that other programs read, and that runs no code when it is opened."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.export.needed import need
from workbench.runs.files import at, write_whole
from workbench.runs.loaded import RunView, unpadded


def to_safetensors(run: RunView, out: Path | str) -> list[Path]:
    """Write the newest weights of all agents, by name: ``agent-0/online/LAYER.weight`` and ``agent-0/target/...``.

    Args:
        run: live or loaded.
        out: folder that gets ``NAME.safetensors``.

    Returns:
        The file. Its metadata has the run's label and its settings, as JSON.

    Raises:
        ExportError: safetensors is not installed.
        RunError: the run has no weights yet.
    """
    save: Any = need("safetensors.numpy").save
    config, tensors = run.config, dict[str, NDArray[np.float32]]()
    for agent, vector in enumerate(unpadded(run.newest_weights, config)):
        layout = config.agent.layout(config.spec.agents[agent])
        for half, part in enumerate(("online", "target")):
            named = layout.views(vector[half * layout.size : (half + 1) * layout.size])
            tensors |= {f"agent-{agent}/{part}/{name}": np.ascontiguousarray(value) for name, value in named.items()}
    path = at(out) / f"{run.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    # one value, as several have no order
    write_whole(path, save(tensors, {"workbench": json.dumps({"run": run.label, "config": config.to_dict()})}))
    return [path]
