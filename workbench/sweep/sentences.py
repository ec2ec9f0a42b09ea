"""What sweeps say of their cells and when they refuse something, out of ``sentences.toml``."""

from workbench.runs.sentences import sentences

said = sentences(__file__)
