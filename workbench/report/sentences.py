"""What captions and refusals of a report say, out of ``sentences.toml``."""

from workbench.runs.sentences import sentences

said = sentences(__file__)
