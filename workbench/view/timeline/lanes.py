"""The timeline as a figure: a lane per process, in which every piece of work and of waiting has its place.

A lane has two rows: what the process did, and below it, thinner, what that was made of. Where there are more pieces
than an eye can tell apart, a row shows for every column of the picture how much of its time went into what. Waiting is
pale and hatched, work is solid, and what is long enough has its name in it: nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from workbench.core.records import Records
from workbench.view.picture import DPI, Picture
from workbench.view.style import FAINT, GREY, INK, SMALL_SIZE, TITLE_SIZE
from workbench.view.timeline.shares import Shares
from workbench.view.timeline.span_kinds import SpanKind
from workbench.view.timeline.spans import depths, of_process, time_of_kinds

WIDTH, LANE, MARGIN = 11.0, 0.62, 1.25
"""Width of the figure, height of a lane, and height of all that is no lane, in inches."""
LEFT, RIGHT = 0.095, 0.875
"""Sides of the lanes, as shares of the width."""
ROWS = ((0.30, 0.92), (0.08, 0.28))
"""Lower and upper side of the two rows of a lane that is 1 high."""
MAX_PIECES = 600
"""Pieces of a row that are drawn one by one."""
COLUMNS = 300
"""Columns of a row that has more."""
_LABEL_INCHES = 0.0097
"""Room that a letter of a label takes, for each point of its size."""


@dataclass(frozen=True)
class _Look:
    """How a kind is drawn."""

    colour: str
    hatch: str = ""
    line: str = "white"
    """Colour of the hatch."""
    text: str = "white"
    """Colour of a label."""


LOOKS = {
    SpanKind.STARTING: _Look("#eeeeee", "..", "#999999", INK),
    SpanKind.WAITING: _Look("#fdf1ea", "////", "#D55E00", "#8a3d00"),
    SpanKind.ACTING: _Look("#00578a"),
    SpanKind.SYNCING: _Look("#000000"),
    SpanKind.EVALUATING: _Look("#CC79A7", "..", text=INK),
    SpanKind.LEARNING: _Look("#4cbb9d", text=INK),
    SpanKind.SAMPLING: _Look("#c9a227", "", INK, INK),
    SpanKind.UPDATING: _Look("#a9e0d0", "", INK, INK),
    SpanKind.PUBLISHING: _Look("#8a4b08"),
    SpanKind.CHECKPOINTING: _Look("#56B4E9", "xx", "white", INK),
}
"""Kinds that are drawn in the same row differ in lightness or in hatch, so a copy in grey can be read too."""
_SHORT = (SpanKind.SYNCING, SpanKind.PUBLISHING, SpanKind.CHECKPOINTING)
"""Kinds that are drawn a hair wide at least, since where they happen matters more than how long they take."""


def strip(spans: Records, shares: Shares, origin_ns: int, title: str) -> Picture:
    """The figure.

    Args:
        spans: (n,) of all processes.
        shares: those of the stretch of time that is drawn; they are written beside the lanes.
        origin_ns: the moment that is 0 s.
        title: written above.
    """
    lanes = len(shares.processes)
    height = MARGIN + LANE * lanes
    picture = Picture(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    axes = picture.add_axes((LEFT, 0.48 / height, RIGHT - LEFT, LANE * lanes / height))
    axes.set_xlim(shares.start, shares.end)
    axes.set_ylim(lanes, 0)
    drawn: set[SpanKind] = set()
    for lane in range(lanes):
        drawn |= draw_lane(axes, lane, of_process(spans, lane), origin_ns, WIDTH * (RIGHT - LEFT), SMALL_SIZE - 1)
    _dress(axes, shares)
    picture.text(0.012, 1 - 0.2 / height, title, fontsize=TITLE_SIZE, color=INK, va="center")
    _key(picture, sorted(drawn), 1 - 0.5 / height)
    picture.alt = describe(shares)
    return picture


def describe(shares: Shares) -> str:
    """The figure in words."""
    lanes = [
        f"{name} works {share['working']:.0%} of the time and is on a core for {share['on a core']:.0%} of it, "
        f"waits {share['waiting']:.0%}"
        for name, share in ((name, shares.of(name)) for name in shares.processes)
    ]
    return f"What each process did from {shares.start:.2f} s to {shares.end:.2f} s after the start: {'; '.join(lanes)}."


def draw_lane(axes: Axes, lane: int, spans: Records, origin_ns: int, inches: float, size: float) -> set[SpanKind]:
    """Draw both rows of a process.

    Args:
        axes: their x axis is seconds since the start, with its limits set, their y axis counts lanes downwards.
        lane: place of the lane.
        spans: (n,) of the process, in the order of :func:`~workbench.view.timeline.spans.of_process`.
        origin_ns: the moment that is 0 s.
        inches: width of the axes.
        size: of the names in long pieces, in points.

    Returns:
        The kinds that are seen.
    """
    start, end = axes.get_xlim()
    depth = depths(spans)
    bottom, top = lane + 1 - ROWS[0][0], lane + 1 - ROWS[0][1]
    axes.add_patch(Rectangle((start, top), end - start, bottom - top, fill=False, edgecolor=FAINT, linewidth=0.7))
    drawn: set[SpanKind] = set()
    for level, (low, high) in enumerate(ROWS):
        row = spans[depth == level]
        seconds = (row["start"] - origin_ns) / 1e9
        row = row[(seconds < end) & (seconds + row["duration"] / 1e9 > start)]
        sides = lane + 1 - low, lane + 1 - high
        if len(row) > MAX_PIECES:
            drawn |= _columns(axes, sides, row, origin_ns)
            continue
        drawn |= _pieces(axes, sides, row, origin_ns)
        if level == 0:
            _label(axes, sides, row, origin_ns, inches, size)
    return drawn


def _pieces(axes: Axes, sides: tuple[float, float], row: Records, origin_ns: int) -> set[SpanKind]:
    """Every span by itself."""
    left = (row["start"] - origin_ns) / 1e9
    right = left + row["duration"] / 1e9
    kinds = sorted({SpanKind(kind) for kind in row["kind"].tolist()})
    for kind in kinds:
        own = row["kind"] == kind
        _fill(axes, kind, left[own], right[own], np.full(own.sum(), sides[0]), np.full(own.sum(), sides[1]))
    return set(kinds)


def _columns(axes: Axes, sides: tuple[float, float], row: Records, origin_ns: int) -> set[SpanKind]:
    """For every column of the picture, how its time was spent, one kind above the other."""
    edges = np.linspace(*axes.get_xlim(), COLUMNS + 1)
    spent = time_of_kinds(row, edges * 1e9 + origin_ns) / (1e9 * np.diff(edges))
    bottom = np.full(COLUMNS, sides[0])
    kinds = [kind for kind in SpanKind if spent[kind].any()]
    for kind in kinds:
        top = bottom + (sides[1] - sides[0]) * spent[kind]
        _fill(axes, kind, edges[:-1], edges[1:], bottom, top)
        bottom = top
    return set(kinds)


Edges = np.ndarray[tuple[int], np.dtype[np.float64]]


def _fill(axes: Axes, kind: SpanKind, left: Edges, right: Edges, bottom: Edges, top: Edges) -> None:
    """Boxes of one kind."""
    look = LOOKS[kind]
    corners = list(np.stack([left, bottom, left, top, right, top, right, bottom], axis=1).reshape(-1, 4, 2))
    axes.add_collection(
        PolyCollection(
            corners, facecolors=look.colour, edgecolors=look.colour if kind in _SHORT else look.line, hatch=look.hatch,
            linewidths=0.8 if kind in _SHORT else 0.0, antialiaseds=True, zorder=3 if kind in _SHORT else 2,
        ),
        autolim=False,
    )  # fmt: skip


def _label(
    axes: Axes, sides: tuple[float, float], row: Records, origin_ns: int, inches: float, size: float
) -> None:  # fmt: skip
    """Name what is long enough to hold its name."""
    start, end = axes.get_xlim()
    seconds = (row["start"] - origin_ns) / 1e9
    left, right = np.maximum(seconds, start), np.minimum(seconds + row["duration"] / 1e9, end)
    room, letter = (right - left) / (end - start) * inches, _LABEL_INCHES * size
    for place in np.flatnonzero(room > 4 * letter):
        span, kind = row[place], SpanKind(row["kind"][place])
        text = next((each for each in _texts(kind, span) if len(each) * letter < room[place]), "")
        look = LOOKS[kind]
        box = {"facecolor": look.colour, "edgecolor": "none", "pad": 1.2} if look.hatch else None
        axes.text(
            (left[place] + right[place]) / 2, sum(sides) / 2, text, ha="center", va="center", fontsize=size,
            color=look.text, bbox=box if text else None, zorder=4, clip_on=True,
        )  # fmt: skip


def _texts(kind: SpanKind, span: np.void) -> Sequence[str]:
    """What may be written into a box, the longest first."""
    name = {
        SpanKind.WAITING: "waits",
        SpanKind.ACTING: "acts",
        SpanKind.LEARNING: "learns",
        SpanKind.EVALUATING: "evaluates",
    }.get(kind, kind.name.lower())
    if kind == SpanKind.LEARNING:
        return f"{name}, agent {span['agent']}", f"agent {span['agent']}", f"{span['agent']}"
    if span["epoch"] >= 0:
        return f"{name}, epoch {span['epoch']}", name
    return (name,)


def _dress(axes: Axes, shares: Shares) -> None:
    """Names on the left, shares on the right, seconds below."""
    axes.set_xlabel("seconds since the start", fontsize=SMALL_SIZE, color=GREY, labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(labelsize=SMALL_SIZE, color=GREY, labelcolor=INK, length=3)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.grid(True, axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
    middle = 1 - sum(ROWS[0]) / 2
    for lane, name in enumerate(shares.processes):
        share = shares.of(name)
        beside = axes.get_yaxis_transform()
        axes.text(-0.012, lane + middle, name, transform=beside, ha="right", va="center", fontsize=9, color=INK)
        axes.text(
            1.01, lane + middle,
            f"works {share['working']:.0%}\non a core {share['on a core']:.0%}\nwaits {share['waiting']:.0%}",
            transform=beside, ha="left", va="center", fontsize=SMALL_SIZE, color=INK, linespacing=1.25,
        )  # fmt: skip


def key_of(kinds: Sequence[SpanKind]) -> list[Patch]:
    """A box for each kind, and one for what was not recorded, for a legend."""
    boxes = [
        Patch(
            facecolor=LOOKS[kind].colour, edgecolor=LOOKS[kind].line, hatch=LOOKS[kind].hatch, linewidth=0,
            label=kind.name.lower(),
        )
        for kind in kinds
    ]  # fmt: skip
    return [*boxes, Patch(facecolor="white", edgecolor=FAINT, linewidth=0.7, label="other")]


def _key(picture: Picture, kinds: list[SpanKind], top: float) -> None:
    boxes = key_of(kinds)
    picture.legend(
        handles=boxes, loc="center left", bbox_to_anchor=(LEFT - 0.005, top), ncols=len(boxes), frameon=False,
        fontsize=SMALL_SIZE, labelcolor=INK, handlelength=1.8, handleheight=0.9, columnspacing=1.2, handletextpad=0.5,
        borderpad=0,
    )  # fmt: skip
