"""The package from a terminal: progress goes to stderr, results to stdout."""

try:
    from workbench.cli.main import main
except KeyboardInterrupt:  # Ctrl-C in the second that this takes
    raise SystemExit(130) from None

__all__ = ["main"]
