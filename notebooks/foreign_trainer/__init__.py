"""A small trainer of one actor and several learners that knows nothing of the workbench, and its defects on switches.

It is written as many such trainers are: modules of plain torch, shared tensors, a lock for each agent. Lines that end
in ``# +`` were added to watch it; without a name for the watch they do nothing.
"""

from .config import DEFECTS, ONLY_BETWEEN_PROCESSES, Config
from .system import train

__all__ = ["DEFECTS", "ONLY_BETWEEN_PROCESSES", "Config", "train"]
