"""What figures say beside what they draw, and when they refuse something, out of ``sentences.toml``."""

from workbench.runs.sentences import beside as beside
from workbench.runs.sentences import sentences

said = sentences(__file__)
