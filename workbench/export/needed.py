"""Packages that only an export needs: found when they are used, and named with their extra when they are missing."""

import importlib
from typing import Any

from workbench.export.sentences import said
from workbench.runs.folder import RecordError


class ExportError(RecordError):
    """A run cannot be exported or an archive cannot be opened. The message says why, and the remedy."""


check = ExportError.unless


def need(module: str) -> Any:
    """A module of an optional package.

    Args:
        module: dotted name; its first part is the package.

    Raises:
        ExportError: the package is not installed; the message names the extra that brings it.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there, and broken
        raise ExportError(said("needed.missing", package=package)) from None
