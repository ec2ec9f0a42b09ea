"""What the doctor says, out of ``sentences.toml``."""

from workbench.runs.sentences import beside as beside
from workbench.runs.sentences import sentences

said = sentences(__file__)
