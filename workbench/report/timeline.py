"""What each process did when: a strip of a few epochs of a run of each mode, with the shares of the whole training."""

import textwrap

from workbench.report.material import Material, ReportFigure, new_picture, panel_title
from workbench.report.selection import demand
from workbench.report.sentences import said
from workbench.runs.folder import RecordError
from workbench.runs.table import Table
from workbench.view.style import COLUMN_WIDTHS, PRINT
from workbench.view.timeline.lanes import Strip, draw_strips
from workbench.view.timeline.spans import Shares, columns_of
from workbench.view.timeline.timeline import Timeline

# Epochs that are shown if no stretch of time is asked for.
EPOCHS = 4
# Heights in inches: a lane, what is above and below the lanes of a run, the key.
LANE, REST, KEY = 0.31, 0.57, 0.3


def timeline(material: Material) -> ReportFigure:
    """A lane per process of the first run of each mode that recorded a timeline, all over equally many seconds.

    Raises:
        ReportError: no run recorded one.
        ConfigError: the stretch of time that was asked for is not within a run.
    """
    shown = _timelines(material)
    windows, training = _windows(shown, material), [each.shares() for each in shown]
    letters = int(COLUMN_WIDTHS[material.columns] / 0.085)
    titles = [textwrap.fill(panel_title(at, len(shown), each.run.label), letters) for at, each in enumerate(shown)]
    lines = sum(title.count("\n") for title in titles)
    height = KEY + 0.14 * lines + sum(REST + LANE * len(each.processes) for each in shown)
    picture = new_picture(material.columns, height)
    lanes = zip(titles, shown, windows, training, strict=True)
    strips = [Strip(title, each.spans, each.origin_ns, window, shares) for title, each, window, shares in lanes]
    draw_strips(picture, strips, PRINT, ("working", "waiting"))
    told = "; ".join(f"{each.run.label}: {shares.words}" for each, shares in zip(shown, training, strict=True))
    drawn = zip(shown, windows, strict=True)
    stretches = "; ".join(said("timeline.stretch", run=each.run, window=window) for each, window in drawn)
    caption = said("timeline.caption", stretches=stretches, told=told)
    picture.alt = said("timeline.alt", told=told)
    return ReportFigure(picture, caption, _table(shown, training))


def _timelines(material: Material) -> list[Timeline]:
    found, reasons = dict[str, Timeline](), list[str]()
    for run in material.selection.runs:
        try:
            if run.mode not in found:
                found[run.mode] = Timeline(run)
        except RecordError as error:
            reasons.append(str(error))
    demand(len(found) > 0, said("timeline.none", count=len(material.selection.runs), why=next(iter(reasons), "")))
    return list(found.values())


def _windows(shown: list[Timeline], material: Material) -> list[Shares]:
    """The stretch of time of each: as asked for, or some epochs in the middle of training, as long in all."""
    if material.last is not None or material.until is not None:
        return [each.shares(material.last, material.until) for each in shown]
    length = max(EPOCHS * each.trained / each.run.config.epochs for each in shown)
    lengths = [min(length, each.trained) for each in shown]
    return [each.shares(own, (each.trained + own) / 2) for each, own in zip(shown, lengths, strict=True)]


def _table(shown: list[Timeline], training: list[Shares]) -> Table:
    """A row per process; kinds that did not occur in any run are left out."""
    columns = columns_of(training)
    rows = tuple(
        (each.run.label, name, *(f"{100 * shares.of(name)[column]:.1f} %" for column in columns))
        for each, shares in zip(shown, training, strict=True)
        for name in shares.processes
    )
    return Table(("run", "process", *columns), rows)
