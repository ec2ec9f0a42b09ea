"""What shows itself in a notebook: a figure, which saves the same bytes every time, and what has a widget.

Matplotlib's figure and its Agg canvas are used directly, never pyplot: nothing depends on the backend of a notebook,
and no figure is kept alive behind the caller's back.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from workbench.runs.files import at, whole_file, write_whole
from workbench.runs.table import plain
from workbench.view.style import own_settings

# Dots per inch of a still figure.
DPI = 110
# Colours of a picture in a notebook. An eye sees no more of them in a chart, and the file is a third as large.
NOTEBOOK_COLOURS = 256


class Live:
    """Something that is shown as its widget while the notebook's kernel runs, and else as it was when it was shown."""

    widget: Any

    def still(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What readers without a kernel see, and what is said of it, both by MIME type; nothing by default."""
        return {}, {}

    def _repr_mimebundle_(self, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, about = self.still()
        return {**data, **self.widget._repr_mimebundle_(**settings), "text/plain": repr(self)}, about


class Picture(Figure):
    """A figure that draws itself: shown as PNG in any notebook, whatever the backend, and saved the same every time.

    Attributes:
        alt: What the picture shows, for readers who cannot see it.
    """

    alt: str = ""

    def __init__(self, dpi: float = DPI, facecolor: str = "white", **settings: Any) -> None:
        super().__init__(dpi=dpi, facecolor=facecolor, **settings)
        FigureCanvasAgg(self)  # the figure keeps it as its canvas

    def draw(self, renderer: Any) -> None:
        """As every figure's; what a run folder says is text, and neither steers a file nor is a formula."""
        for text in self.findobj(Text):
            text.set(text=plain(text.get_text()), parse_math=False)
        super().draw(renderer)

    def save(self, path: Path | str, dpi: float | None = None) -> Path:
        """Write the figure as the suffix says: ``.png``, ``.svg`` or ``.pdf``. The same figure gives the same bytes.

        Args:
            path: where to; what is there is replaced.
            dpi: dots per inch of a PNG; None for the figure's own.

        Raises:
            ValueError: the suffix is another.
        """
        path, alt = at(path), plain(self.alt) or None
        about = {".svg": {"Date": None, "Title": alt}, ".pdf": {"CreationDate": None, "Subject": alt}}
        if path.suffix == ".png":
            write_whole(path, to_png(self, dpi))
        elif path.suffix in about:
            with own_settings(), whole_file(path) as file:
                self.savefig(file, format=path.suffix[1:], metadata=about[path.suffix], bbox_inches=None)
        else:
            raise ValueError(f"cannot save a figure as {path.name!r}; the name must end in .png, .svg or .pdf")
        return path

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        return to_png(self, colours=NOTEBOOK_COLOURS), {"alt": self.alt}


def to_png(figure: Figure, dpi: float | None = None, colours: int | None = None) -> bytes:
    """The figure as the bytes of a PNG file.

    Args:
        figure: any figure.
        dpi: dots per inch; None for the figure's own.
        colours: number of colours at most, up to 256; None for all.
    """
    own, target = figure.dpi, io.BytesIO()
    canvas: Any = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    with own_settings():
        try:
            figure.dpi = own if dpi is None else dpi
            canvas.draw()
            picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
            if colours is not None:
                picture = picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            picture.save(target, "png", dpi=(figure.dpi, figure.dpi))
        finally:
            figure.dpi = own
    return target.getvalue()
