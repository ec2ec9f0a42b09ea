"""The timeline as a figure: a lane per process, in which every piece of work and of waiting has its place.

A lane has two rows: what the process did, and below it, thinner, what that was made of. Where there are more pieces
than an eye can tell apart, a row shows for every column of the picture how much of its time went into what. Waiting is
pale and hatched, work is solid, and what is long enough has its name in it: nothing is told by colour alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from workbench.core.records import Records
from workbench.runs.sentences import beside
from workbench.view.picture import Picture
from workbench.view.style import FAINT, INK, Sizes, few_ticks, legend_above, style_axes
from workbench.view.timeline.spans import Shares, SpanKind, depths, of_process, time_of_kinds

# Lower and upper side of the two rows of a lane that is 1 high.
ROWS = ((0.30, 0.92), (0.08, 0.28))
# Pieces of a row that are drawn one by one.
MAX_PIECES = 600
# Columns of a row that has more.
COLUMNS = 300
_MIDDLE = 1 - sum(ROWS[0]) / 2
# Room that a letter of a label takes, for each point of its size.
_LABEL_INCHES = 0.0097
# Room that a kind takes in the key.
_KEY_INCHES = 1.1


@dataclass(frozen=True)
class _Look:
    """How a kind is drawn.

    Attributes:
        line: Colour of the hatch.
        text: Colour of a label.
        short: Whether it is drawn a hair wide at least.
    """

    colour: str
    hatch: str = ""
    line: str = "white"
    text: str = "white"
    short: bool = False


# How each kind is drawn, as ``lanes.toml`` says.
LOOKS = {SpanKind[kind.upper()]: _Look(**about) for kind, about in beside(__file__).items()}
# How shares are called beside a lane and kinds within one, where that is not their name.
SAID = {"working": "works", "waiting": "waits", "acting": "acts", "learning": "learns", "evaluating": "evaluates"}
# (n,) float64, seconds.
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """A stretch of time of one run, as it is drawn.

    Attributes:
        spans: (n,) of all processes.
        origin_ns: The moment that is 0 s.
        stretch: What is drawn.
        beside: What is written beside the lanes, which may be about a longer stretch.
    """

    title: str
    spans: Records
    origin_ns: int
    stretch: Shares
    beside: Shares


def draw_strips(picture: Picture, strips: Sequence[Strip], sizes: Sizes, told: Sequence[str]) -> None:
    """Draw strips below each other, with one key above them; within :func:`~workbench.view.style.own_settings`.

    Args:
        picture: empty, with a constrained layout, which is carried out here: what is written into a lane depends on its
            width.
        strips: one at least.
        sizes: of the text.
        told: names of the shares that are written beside each lane.
    """
    lanes = [len(strip.stretch.processes) for strip in strips]
    all_axes = picture.subplots(len(strips), 1, squeeze=False, gridspec_kw={"height_ratios": lanes})[:, 0]
    for axes, strip in zip(all_axes, strips, strict=True):
        _dress(axes, strip, sizes, told)
    key = [
        Patch(facecolor=look.colour, edgecolor=look.line, hatch=look.hatch, linewidth=0, label=kind.name.lower())
        for kind, look in LOOKS.items() if any(strip.stretch.kinds[:, kind].any() for strip in strips)
    ]  # fmt: skip
    key.append(Patch(facecolor="white", edgecolor=FAINT, linewidth=0.7, label="other"))
    legend_above(picture, key, max(1, int(picture.get_figwidth() / _KEY_INCHES)), sizes)
    picture.draw_without_rendering()
    picture.set_layout_engine("none")
    for axes, strip, count in zip(all_axes, strips, lanes, strict=True):
        inches = axes.get_position().width * picture.get_figwidth()
        for lane in range(count):
            _draw_lane(axes, lane, of_process(strip.spans, lane), strip.origin_ns, inches, sizes.small - 1)


def _draw_lane(axes: Axes, lane: int, spans: Records, origin_ns: int, inches: float, size: float) -> None:
    """Draw both rows of a process.

    Args:
        axes: their x axis is seconds since the start, with its limits set, their y axis counts lanes downwards.
        lane: place of the lane.
        spans: (n,) of the process, in the order of :func:`~workbench.view.timeline.spans.of_process`.
        origin_ns: the moment that is 0 s.
        inches: width of the axes.
        size: of the names in long pieces, in points.
    """
    start, end = axes.get_xlim()
    left, right = (spans["start"] - origin_ns) / 1e9, (spans["start"] + spans["duration"] - origin_ns) / 1e9
    seen, depth = (left < end) & (right > start), depths(spans)
    bottom, top = lane + 1 - ROWS[0][0], lane + 1 - ROWS[0][1]
    axes.add_patch(Rectangle((start, top), end - start, bottom - top, fill=False, edgecolor=FAINT, linewidth=0.7))
    for level, (low, high) in enumerate(ROWS):
        inside = seen & (depth == level)
        row, sides = spans[inside], (lane + 1 - low, lane + 1 - high)
        if len(row) > MAX_PIECES:
            _columns(axes, sides, row, origin_ns)
            continue
        for kind in sorted({SpanKind(kind) for kind in row["kind"].tolist()}):
            own, ends = row["kind"] == kind, np.ones((row["kind"] == kind).sum())
            _fill(axes, kind, left[inside][own], right[inside][own], sides[0] * ends, sides[1] * ends)
        if level == 0:
            _label(axes, sides, row, left[inside], right[inside], inches, size)


def _columns(axes: Axes, sides: tuple[float, float], row: Records, origin_ns: int) -> None:
    """For every column of the picture, how its time was spent, one kind above the other."""
    edges = np.linspace(*axes.get_xlim(), COLUMNS + 1)
    spent = time_of_kinds(row, edges * 1e9 + origin_ns) / (1e9 * np.diff(edges))
    bottom = np.full(COLUMNS, sides[0])
    for kind in (kind for kind in SpanKind if spent[kind].any()):
        top = bottom + (sides[1] - sides[0]) * spent[kind]
        _fill(axes, kind, edges[:-1], edges[1:], bottom, top)
        bottom = top


def _fill(axes: Axes, kind: SpanKind, left: Array, right: Array, bottom: Array, top: Array) -> None:
    """Boxes of one kind."""
    look, short = LOOKS[kind], LOOKS[kind].short
    boxes = PolyCollection(
        list(np.stack([left, bottom, left, top, right, top, right, bottom], axis=1).reshape(-1, 4, 2)),
        facecolors=look.colour, edgecolors=look.colour if short else look.line, hatch=look.hatch,
        linewidths=0.8 if short else 0.0, antialiaseds=True, zorder=3 if short else 2,
    )  # fmt: skip
    axes.add_collection(boxes, autolim=False)


def _label(
    axes: Axes, sides: tuple[float, float], row: Records, left: Array, right: Array, inches: float, size: float
) -> None:  # fmt: skip
    """Name what is long enough to hold its name."""
    start, end = axes.get_xlim()
    left, right = np.clip((left, right), start, end)
    room, letter = (right - left) / (end - start) * inches, _LABEL_INCHES * size
    for place in np.flatnonzero(room > 4 * letter):
        span, kind = row[place], SpanKind(row["kind"][place])
        text = next((each for each in _texts(kind, span) if len(each) * letter < room[place]), "")
        look = LOOKS[kind]
        box = {"facecolor": look.colour, "edgecolor": "none", "pad": 1.2} if look.hatch and text else None
        axes.text(
            (left[place] + right[place]) / 2, sum(sides) / 2, text, ha="center", va="center", fontsize=size,
            color=look.text, bbox=box, zorder=4, clip_on=True,
        )  # fmt: skip


def _texts(kind: SpanKind, span: np.void) -> Sequence[str]:
    """What may be written into a box, the longest first."""
    name = SAID.get(kind.name.lower(), kind.name.lower())
    if kind == SpanKind.LEARNING:
        return f"{name}, agent {span['agent']}", f"agent {span['agent']}", f"{span['agent']}"
    return (f"{name}, epoch {span['epoch']}", name) if span["epoch"] >= 0 else (name,)


def _dress(axes: Axes, strip: Strip, sizes: Sizes, told: Sequence[str]) -> None:
    """Names on the left, shares on the right, seconds below."""
    names = strip.stretch.processes
    style_axes(axes, strip.title, "seconds since the start", "", sizes)
    axes.set_xlim(strip.stretch.start, strip.stretch.end)
    axes.set_ylim(len(names), 0)
    few_ticks(axes.xaxis, 5 if sizes.line < 1 else 10)
    axes.set_yticks([lane + _MIDDLE for lane in range(len(names))], names)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    for lane, name in enumerate(names):
        shares = strip.beside.of(name)
        lines = (f"{SAID.get(share, share)} {shares[share]:.0%}" for share in told)
        axes.text(
            1.01, lane + _MIDDLE, "\n".join(lines), transform=axes.get_yaxis_transform(), ha="left", va="center",
            fontsize=sizes.small, color=INK, linespacing=1.2,
        )  # fmt: skip
