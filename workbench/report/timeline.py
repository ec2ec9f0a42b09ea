"""What each process did when: a strip of a few epochs of a run of each mode, with the shares of the whole training."""

from __future__ import annotations

from typing import Any

from matplotlib.ticker import MaxNLocator, NullLocator

from workbench.report.material import Material, ReportFigure, new_picture, panel_title
from workbench.report.selection import ReportError
from workbench.report.table import Table
from workbench.runs.folder import RecordError
from workbench.view.picture import Picture
from workbench.view.style import FAINT, GREY, INK, PRINT
from workbench.view.timeline.lanes import draw_lane, key_of
from workbench.view.timeline.shares import SEEN, Shares
from workbench.view.timeline.span_kinds import SpanKind
from workbench.view.timeline.spans import of_process
from workbench.view.timeline.timeline import Timeline

EPOCHS = 4
"""Epochs that are shown if no stretch of time is asked for."""
LANE, HEAD, FOOT, KEY_ROW = 0.31, 0.21, 0.36, 0.12
"""Heights in inches: a lane, what is above the lanes of a run, what is below them, a row of the key."""
KEY_COLUMN = 1.1
"""Room for a kind in the key, in inches."""
RIGHT = 0.62
"""Room for the shares beside the lanes, in inches."""
LETTER = 0.058
"""Room that a letter of a process's name takes, in inches."""
_FIRST = ("working", "on a core", "waiting", "other")


def timeline(material: Material) -> ReportFigure:
    """A lane per process of the first run of each mode that recorded a timeline, all over equally many seconds.

    Raises:
        ReportError: no run recorded one.
        ConfigError: the stretch of time that was asked for is not within a run.
    """
    shown = _timelines(material)
    windows = _windows(shown, material)
    training = [each.shares() for each in shown]
    picture = _draw(material, shown, windows, training)
    table = _table(shown, training)
    told = "; ".join(
        f"{each.run.label}: {_told(shares)}" for each, shares in zip(shown, training, strict=True)
    )  # fmt: skip
    stretches = "; ".join(
        f"{each.run.name} from {window.start:.3f} s to {window.end:.3f} s"
        for each, window in zip(shown, windows, strict=True)
    )
    caption = (
        f"Timeline: what each process did, in seconds after all were ready ({stretches}), one run of each mode. Upper "
        "row of a lane: what it did, with the number of the agent; lower row: what that was made of; where pieces are "
        "too many to tell apart, how each column's time was spent. Syncing, publishing and checkpointing are at least "
        "a hair wide. Beside the lanes and in the table: shares of the whole training, in which working is what was "
        f"recorded as work, on a core or not, and other is what was not recorded. {told}."
    )
    picture.alt = f"A strip per process with its pieces of work and of waiting. {told}."
    return ReportFigure(picture, caption, table)


def _timelines(material: Material) -> list[Timeline]:
    found: dict[str, Timeline] = {}
    reasons = []
    for run in material.selection.runs:
        if run.mode in found:
            continue
        try:
            found[run.mode] = Timeline(run)
        except RecordError as error:
            reasons.append(str(error))
    if not found:
        raise ReportError(
            f"figure timeline needs a run that recorded what its processes did when; none of the "
            f"{len(material.selection.runs)} runs did: {reasons[0] if reasons else 'there are none'}"
        )
    return list(found.values())


def _windows(shown: list[Timeline], material: Material) -> list[Shares]:
    """The stretch of time of each: as asked for, or some epochs in the middle of training, as long in all."""
    if material.last is not None or material.until is not None:
        return [each.shares(material.last, material.until) for each in shown]
    length = max(EPOCHS * each.trained / each.run.config.epochs for each in shown)
    lengths = [min(length, each.trained) for each in shown]
    return [
        each.shares(own, (each.trained + own) / 2) for each, own in zip(shown, lengths, strict=True)
    ]  # fmt: skip


def _draw(
    material: Material, shown: list[Timeline], windows: list[Shares], training: list[Shares]
) -> Picture:  # fmt: skip
    """The lanes of each run, below each other."""
    lanes = [LANE * len(each.processes) for each in shown]
    kinds = _kinds(shown, windows)
    key = KEY_ROW * -(-(len(kinds) + 1) // _key_columns(material)) + 0.05
    height = key + sum(lanes) + (HEAD + FOOT) * len(shown)
    picture = new_picture(material, height)
    picture.set_layout_engine("none")  # every part has its place
    left = 0.1 + LETTER * max(len(name) for each in shown for name in each.processes)
    inches = material.width - left - RIGHT
    top = height - key
    for place, (each, window, shares) in enumerate(zip(shown, windows, training, strict=True)):
        own = lanes[place]
        axes: Any = picture.add_axes(
            (left / material.width, (top - HEAD - own) / height, inches / material.width, own / height)
        )
        axes.set_xlim(window.start, window.end)
        axes.set_ylim(len(each.processes), 0)
        for lane in range(len(each.processes)):
            draw_lane(axes, lane, of_process(each.spans, lane), each.origin_ns, inches, PRINT.small - 1)
        _dress(axes, shares, left / inches, panel_title(place, len(shown), each.run.label))
        top -= HEAD + own + FOOT
    _add_key(picture, material, kinds)
    return picture


def _dress(axes: Any, shares: Shares, left: float, title: str) -> None:
    """Names on the left, the shares of the training on the right, seconds below."""
    beside = axes.get_yaxis_transform()
    axes.text(
        -left + 0.01, 1, title, transform=axes.transAxes, va="bottom", fontsize=PRINT.title, color=INK
    )  # fmt: skip
    axes.set_xlabel("seconds since the start", fontsize=PRINT.text, color=GREY, labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(labelsize=PRINT.small, color=GREY, labelcolor=INK, length=3, width=0.8 * PRINT.line, pad=1.5)
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.grid(True, axis="x", color=FAINT, linewidth=0.7 * PRINT.line)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
        spine.set_linewidth(0.8 * PRINT.line)
    for lane, name in enumerate(shares.processes):
        share = shares.of(name)
        axes.text(-0.012, lane + 0.45, name, transform=beside, ha="right", va="center", fontsize=PRINT.small, color=INK)
        axes.text(
            1.012, lane + 0.45, f"works {share['working']:.0%}\nwaits {share['waiting']:.0%}", transform=beside,
            ha="left", va="center", fontsize=PRINT.small, color=INK, linespacing=1.15,
        )  # fmt: skip


def _kinds(shown: list[Timeline], windows: list[Shares]) -> list[SpanKind]:
    """Kinds that occur in what is drawn."""
    found = set[int]()
    for each, window in zip(shown, windows, strict=True):
        start = (each.spans["start"] - each.origin_ns) / 1e9
        seen = (start < window.end) & (start + each.spans["duration"] / 1e9 > window.start)
        found |= set(each.spans["kind"][seen].tolist())
    return [kind for kind in SpanKind if kind in found]


def _key_columns(material: Material) -> int:
    return int(material.width / KEY_COLUMN)


def _add_key(picture: Picture, material: Material, kinds: list[SpanKind]) -> None:
    picture.legend(
        handles=key_of(kinds), loc="upper left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=PRINT.small,
        ncols=_key_columns(material), labelcolor=INK, handlelength=1.8,
        handleheight=0.9, columnspacing=1.0, handletextpad=0.5, labelspacing=0.3, borderaxespad=0.2, borderpad=0.1,
    )  # fmt: skip


def _told(shares: Shares) -> str:
    """Each process's share of work and of waiting."""
    each = ((name, shares.of(name)) for name in shares.processes)
    return ", ".join(f"{name} works {of['working']:.1%} and waits {of['waiting']:.1%}" for name, of in each)


def _table(shown: list[Timeline], training: list[Shares]) -> Table:
    """A row per process; kinds that did not occur in any run are left out."""
    kinds = [
        kind.name.lower() for kind in SpanKind
        if kind != SpanKind.WAITING and any((shares.kinds[:, kind] > SEEN).any() for shares in training)
    ]  # fmt: skip
    columns = (*_FIRST, *kinds)
    rows = tuple(
        (each.run.label, name, *(f"{100 * shares.of(name)[column]:.1f} %" for column in columns))
        for each, shares in zip(shown, training, strict=True)
        for name in shares.processes
    )
    return Table(("run", "process", *columns), rows)
