"""What figures say beside what they draw, and when they refuse something, out of ``sentences.toml``."""

from workbench.core.config import Config
from workbench.runs.sentences import beside as beside
from workbench.runs.sentences import counted as counted
from workbench.runs.sentences import sentences

said = sentences(__file__)


def sizes(config: Config) -> dict[str, str]:
    """How many agents and epochs a run has, in words by these names."""
    return {"agents": counted(config.num_agents, "agent"), "epochs": counted(config.epochs, "epoch")}
