"""A single block of shared memory."""

from __future__ import annotations

from workbench.core.processes.shared_memory import Block, allocate
from workbench.core.shared.layout import Layout


def block_of(layout: Layout) -> Block:
    """A block in a file of its own."""
    return allocate({layout.title: layout})[layout.title]
