"""Cheap frames of the side-by-side figure, for a panel that must not take the cores from the runs it shows.

Nearly all the time of a drawing goes into axes and text. They are drawn once and kept as pixels; a frame puts the lines
on top, and only new limits ask for a full drawing (about 30 ms a frame in place of 130).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from workbench.view.panel.drawing import SideBySide
from workbench.view.picture import DRAWING

LIVE_DPI = 80
"""Dots per inch of a live frame: small enough for a slow connection, large enough to read."""


class LiveFrames:
    """PNG frames of one figure, drawn in place."""

    def __init__(self, drawing: SideBySide) -> None:
        self._drawing = drawing
        self._canvas: Any = drawing.figure.canvas
        self._still: tuple[Any, ...] | None = None
        self._background: Any = None

    def png(self) -> bytes:
        """The figure as it is now."""
        with DRAWING:
            return self._png()

    def _png(self) -> bytes:
        moving, still = self._drawing.moving, self._drawing.still
        if still != self._still:
            self._draw_background()
            self._still = still
        self._canvas.restore_region(self._background)
        for line in moving:
            if line.axes is not None:
                line.axes.draw_artist(line)
        target, pixels = io.BytesIO(), np.asarray(self._canvas.buffer_rgba())
        Image.fromarray(pixels[:, :, :3]).save(target, "png", compress_level=1)
        return target.getvalue()

    def _draw_background(self) -> None:
        for line in self._drawing.moving:
            line.set_animated(True)  # left out of a drawing of the figure
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self._drawing.figure.bbox)
        for line in self._drawing.moving:
            line.set_animated(False)
