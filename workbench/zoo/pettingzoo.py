"""Any parallel environment of PettingZoo as a world: ``world="pettingzoo:mpe2.simple_spread_v3"``.

One whose agents act one after the other is converted by PettingZoo itself, where that is possible.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.core.config import ConfigError
from workbench.zoo.environment import Environment, EnvironmentConfig, importable
from workbench.zoo.sentences import said


@dataclass(frozen=True)
class PettingZooConfig(EnvironmentConfig):
    """An environment of PettingZoo, with any number of agents.

    Attributes:
        env_id: An id of PettingZoo's registry (classic/rps-v2); a module that has parallel_env or env
            (mpe2.simple_spread_v3); or module:Name for a class, or for an id that importing the module registers.
    """

    env_id: str = "classic/rps-v2"

    @classmethod
    def module_of(cls, env_id: str) -> str:
        """The module in front of a colon, or the whole if it is one; PettingZoo's own are in its registry."""
        module, colon, _ = env_id.rpartition(":")
        whole = all(part.isidentifier() for part in env_id.split(".")) and not env_id.startswith("pettingzoo.")
        return env_id if whole and not colon else module

    def find(self) -> dict[str, Any]:
        """Arguments of PettingZoo's EnvSpec, and the kind of environment."""
        import pettingzoo

        module, name = self.module_of(self.env_id), self.env_id.rpartition(":")[2]
        if module:
            members = vars(importlib.import_module(module))  # trusted, or named by the caller
            for attribute in ("parallel_env", "env") if module == name else (name,):
                found = members.get(attribute)
                ours = isinstance(found, type) and issubclass(found, pettingzoo.ParallelEnv | pettingzoo.AECEnv)
                if ours or (module == name and callable(found)):
                    return {"id": name, "entry_point": f"{module}:{attribute}"}
        env_id = name.removeprefix("pettingzoo.").replace(".", "/") if name.startswith("pettingzoo.") else name
        try:
            spec = pettingzoo.spec("parallel", env_id)
        except pettingzoo.env_registry.exceptions.PettingZooRegistryError:
            spec = pettingzoo.spec("aec", env_id)
        entry_point, kwargs = importable(f"world {self.title}:", spec.entry_point), dict(spec.kwargs)
        return {"id": spec.id, "entry_point": entry_point, "kwargs": kwargs, "max_cycles": spec.max_cycles}

    def open(self, recipe: Mapping[str, Any]) -> Environment:
        """The environment; converted if its agents act one after the other."""
        import pettingzoo

        made = pettingzoo.env_registry.spec.EnvSpec(**recipe).make(**self.env_args)
        if not isinstance(made, pettingzoo.AECEnv):
            return made
        if not made.metadata.get("is_parallelizable"):
            raise ConfigError(said("environment.in turn", config=self))
        return pettingzoo.utils.aec_to_parallel(made)
