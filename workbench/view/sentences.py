"""What figures say beside what they draw, and when they refuse something, out of ``sentences.toml``."""

from workbench.core.config import Config
from workbench.runs.sentences import beside as beside
from workbench.runs.sentences import sentences

said = sentences(__file__)


def counted(count: int, word: str) -> str:
    """A number of things: "1 agent", "2 agents"."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def sizes(config: Config) -> dict[str, str]:
    """How many agents and epochs a run has, in words by these names."""
    return {"agents": counted(config.num_agents, "agent"), "epochs": counted(config.epochs, "epoch")}
