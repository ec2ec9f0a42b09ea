"""What exports say when they refuse something, out of ``sentences.toml``."""

from workbench.runs.sentences import sentences

said = sentences(__file__)
