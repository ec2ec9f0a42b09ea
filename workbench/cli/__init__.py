"""The package from a terminal: progress goes to stderr, results to stdout."""

from workbench.cli.main import main

__all__ = ["main"]
