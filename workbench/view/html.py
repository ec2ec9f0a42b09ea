"""HTML that the package makes: lines and tables of the panel, and the page that an object shows in a notebook.

Every text that comes from elsewhere is escaped here. What matters is said in words; colour only repeats it.
"""

import dataclasses
import functools
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import docstring_parser

from workbench.core.config import Config
from workbench.core.settings import Settings, fields_of
from workbench.diagnose.checks import CheckResult
from workbench.diagnose.doctor import Diagnosis
from workbench.runs.compare import Comparison
from workbench.runs.listing import RunList
from workbench.runs.loaded import RunError, RunView
from workbench.runs.result import Result, cell, listed_in
from workbench.runs.table import Table, escaped, html_table
from workbench.view.panel.feed import change_text
from workbench.view.sentences import beside, counted, said, sizes
from workbench.view.style import GREY, WARNING

_FAILURE = f"border-left: 3px solid var(--wb-warning, {WARNING}); padding: 4px 8px; white-space: pre-wrap"
# What the page of a result shows.
_RESULT = listed_in(Path(__file__).with_name("result.md"))
# Rows of the page of a run, and marks of verdicts in the order in which checks are shown, as ``html.toml`` says.
_ROWS, _MARKS = (beside(__file__)[part] for part in ("run", "marks"))

# --- pieces ----------------------------------------------------------------------------------------------------------


def failure(name: str, words: str) -> str:
    """What went wrong, whole, with its line breaks."""
    return f'<pre role="alert" style="{_FAILURE}">{escaped(name)}: {escaped(words)}</pre>'


def warning(words: str) -> str:
    """One line that asks for attention."""
    return f'<span role="alert">{marked(words)}</span>'


def attempt(action: Callable[[], object]) -> str:
    """Do what a user asks for; a warning that says what went wrong, or nothing."""
    try:
        action()
    except Exception as error:
        return warning(str(error) or type(error).__name__)
    return ""


def marked(words: str) -> str:
    """One line with the mark of a warning, which a screen reader does not read again each time it is redrawn."""
    return f'<span style="color: var(--wb-warning, var(--jp-error-color1, {WARNING}))">&#9888; {escaped(words)}</span>'


def quiet(words: str) -> str:
    """One line that does not."""
    return f'<span style="color: var(--wb-grey, var(--jp-ui-font-color2, {GREY}))">{escaped(words)}</span>'


# --- the panel -------------------------------------------------------------------------------------------------------


def incident_lines(runs: Sequence[RunView], names: Sequence[str], most: int = 3) -> str:
    """The newest deaths of processes, a few of each run; nothing while there are none."""
    lines = []
    for run, name in zip(runs, names, strict=True):
        incidents = run.incidents  # once: more may come at any time
        if (before := len(incidents) - most) > 0:
            lines.append(quiet(f"{name}: {counted(before, 'death')} before these, listed in run.incidents"))
        lines += [marked(f"{name}: {incident}") for incident in incidents[-most:]]
    return "".join(f'<div style="line-height: 1.6">{line}</div>' for line in lines)


def process_table(runs: Sequence[RunView], names: Sequence[str]) -> str:
    """Every process of the runs that tell of theirs."""
    rows = []
    for run, name in zip(runs, names, strict=True):
        for process in getattr(run, "processes", None) or ():
            agents = ", ".join(map(str, process.agents)) or "-"
            state = ("&#10003; alive" if process.alive else "&#10007; <b>gone</b>") if process.pid else "not started"
            cells = [name, process.name, process.role, agents, process.pid or "-"]
            rows.append([*map(escaped, cells), state, f"{process.silence_s:.1f} s ago", escaped(process.restarts)])
    if not rows:
        return quiet("No process is there yet.")
    return html_table(("run", "process", "role", "agents", "pid", "state", "last heartbeat", "restarts"), rows)


def change_list(runs: Sequence[RunView], names: Sequence[str]) -> str:
    """The changes that were made while the runs were running."""
    rows = tuple(
        (name, f"{epoch:,}", change_text(values))
        for run, name in zip(runs, names, strict=True)
        for _, epoch, values in run.changes
    )
    if not rows:
        return quiet("Nothing was changed so far.")
    return Table(("run", "epoch", "changed to"), rows, numbers=False).html


# --- what objects show -----------------------------------------------------------------------------------------------


@functools.singledispatch
def page(shown: object) -> str:
    """The page of an object in a notebook; what has none of its own shows its ``repr``."""
    return f"<pre>{escaped(repr(shown))}</pre>"


@page.register
def _config(config: Config) -> str:
    """Every setting with its meaning; those that differ from the default first, and said to do so."""
    values, defaults, notes = config.flat(), Config().flat(), field_notes(config)
    changed = [name for name in values if values[name] != defaults.get(name)]

    def row(name: str) -> list[str]:
        value = f"<code>{escaped(repr(values[name]))}</code>"
        default = f"<b>{value}</b>, default <code>{escaped(repr(defaults.get(name)))}</code>"
        return [f"<code>{escaped(name)}</code>", default if name in changed else value, escaped(notes.get(name, ""))]

    head = ("setting", "value", "meaning")
    summary, differ = said("page.config", config=config, **sizes(config)), quiet("All settings: default.")
    if changed:
        differ = html_table(head, map(row, changed), "Differs from the default")
    return (
        f"<div><b>{escaped(summary)}</b></div>{differ}"
        f"<details><summary>All {len(values)} settings</summary>{html_table(head, map(row, values))}</details>"
    )


@page.register
def _result(result: Result) -> str:
    """Every quantity of a result, with its unit."""
    run = ("run", f"{RunView.label_of(result.mode, result.lag)}, seed {result.seed}: {result.status}")
    digests = ((f"digest of {name}", f"{value[:16]}...") for name, value in result.digest.items())
    rows = (run, *((name, cell(result, paths)) for name, paths in _RESULT.items()), *digests)
    return Table(("quantity", "value"), rows, "Result", numbers=False).html


@page.register
def _run(run: RunView) -> str:
    about = {"run": run, "progress": run.progress, "folder": _short(run.folder.path)}
    rows = tuple((name, words.format(**about)) for name, words in _ROWS.items())
    head = Table(("", f"Run {run.name}"), rows, numbers=False).html
    error = failure(run.label, str(run.error)) if run.error else ""
    return head + error + f"<details><summary>Configuration</summary>{page(run.config)}</details>"


@page.register
def _comparison(pair: Comparison) -> str:
    """Both results and what they say together; before the end, where the runs are."""
    try:
        return pair.table.html
    except RunError:  # one has not ended, or was stopped before it began
        states = tuple((run.label, run.status) for run in pair.runs)
        return Table(("run", "status"), states, "Comparison", numbers=False).html


# A press on a head, or Enter there, sorts the rows by that column, and the other way round when it comes again.
_SORT = """const head = event.target.closest('th'); if (head && ['Enter', undefined].includes(event.key)) {
  const rows = this.querySelector('tbody'), at = head.cellIndex, up = head.ariaSort !== 'ascending';
  for (const each of head.parentNode.cells) each.ariaSort = null;
  head.ariaSort = up ? 'ascending' : 'descending';
  const key = row => row.cells[at].textContent.replaceAll(',', '');
  const order = (a, b) => isNaN(a - b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
  rows.append(...[...rows.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
}"""
_FILTER = """for (const row of this.querySelector('tbody').rows)
  row.hidden = !row.textContent.toLowerCase().includes(event.target.value.toLowerCase());"""


@page.register
def _runs(found: RunList) -> str:
    """The table of runs; its rows can be sorted and filtered where the page may run scripts."""
    if not found:
        return quiet(repr(found))
    shown = '<input type="search" placeholder="filter" aria-label="Show the runs that contain these words">'
    about = quiet(f"{counted(len(found), 'run')}; click a column heading to sort by it")
    table = found.table.html.replace("<th ", '<th tabindex="0" ')
    sorts = " ".join(f'{event}="{escaped(_SORT)}"' for event in ("onclick", "onkeydown"))
    return f'<div {sorts} oninput="{escaped(_FILTER)}">{shown} {about}{table}</div>'


@page.register
def _diagnosis(diagnosis: Diagnosis) -> str:
    """Answer, conclusion, checks, stages, methods and hypothesis; what failed comes first."""
    first, last = (f'<p style="line-height: 1.35">{escaped(words)}</p>' * bool(words)
                   for words in (diagnosis.conclusion, diagnosis.hypothesis.sentence))  # fmt: skip
    parts = {"Stages, each computed again": diagnosis.chain, "Methods of sync verification": diagnosis.methods}
    more = (f"<details{' open' * any(each.verdict == 'fail' for each in found)}><summary>{title}</summary>"
            f"{_checks(found)}</details>" for title, found in parts.items() if found)  # fmt: skip
    answer = f"<div><b>{escaped(diagnosis.run)}</b>. {escaped(diagnosis.answer)}</div>"
    return f"{answer}{first}{_checks(diagnosis.checks)}{''.join(more)}{last}"


def _checks(results: Iterable[CheckResult]) -> str:
    order = list(_MARKS)
    rows = [
        [escaped(each.name), _MARKS[each.verdict], escaped(each.figure), escaped(each.threshold),
         escaped(f"[{' '.join(each.ids)}] {each.told}" if each.ids else each.told)]
        for each in sorted(results, key=lambda each: order.index(each.verdict))
    ]  # fmt: skip
    return html_table(("check", "verdict", "found", "must hold", "in words"), rows)


# --- what the pages are made of --------------------------------------------------------------------------------------


def field_notes(settings: Settings, prefix: str = "") -> dict[str, str]:
    """What every setting means, under its dotted name: the words of its class's docstring."""
    own = ChainMap(*(_notes_of(kind) for kind in type(settings).__mro__ if dataclasses.is_dataclass(kind)))
    notes: dict[str, str] = {}
    for name in fields_of(type(settings)):
        value = getattr(settings, name)
        inner = isinstance(value, Settings)
        notes |= field_notes(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": own.get(name, "")}
    return notes


@functools.cache
def _notes_of(kind: type) -> dict[str, str]:
    described = docstring_parser.parse_from_object(kind).params
    return {each.arg_name: " ".join((each.description or "").split()) for each in described}


def _short(path: Path) -> str:
    """A path as it would be typed here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
