"""Runs to choose from in a notebook: what opens of those that are chosen appears below the list."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import ipywidgets as widgets
from IPython.display import display

from workbench.runs.listing import RunList
from workbench.runs.loaded import LoadedRun
from workbench.view.html import attempt, quiet
from workbench.view.picture import Live
from workbench.view.sentences import counted, said

# Makes what is shown of some runs, in its order.
Opener: TypeAlias = Callable[[list[LoadedRun]], tuple[object, ...]]
PLAIN = ("name", "status", "run", "created", "note", "tags", "related")  # columns whose cells need no name
LINES = 12  # of the list that are seen at once


class RunPicker(Live):
    """A list of runs with a filter, and a button for everything that can be opened of them.

    Show it by naming it in the last line of a cell.

    Attributes:
        widget: what is displayed; it holds all the others.
        filter: words that a line must contain to be listed.
        choice: the runs that are listed; several can be chosen.
        buttons: by what they open.
        opened: what was opened last.
    """

    def __init__(self, found: RunList, openers: Mapping[str, Opener]) -> None:
        """``openers`` make what is shown out of the chosen runs, by the words on their buttons."""
        self.found = found
        self.opened: tuple[object, ...] = ()
        table = found.table
        self._lines = [(_line(table.head, row), place) for place, row in enumerate(table.rows)]
        self.filter = widgets.Text(placeholder="filter", layout=widgets.Layout(width="98%"))
        self.choice = widgets.SelectMultiple(
            options=self._lines, rows=min(LINES, max(2, len(found))), layout=widgets.Layout(width="98%")
        )
        self.buttons = {word: widgets.Button(description=word) for word in openers}
        self._said, self._below = widgets.HTML(), widgets.Output()
        about = widgets.HTML(quiet(f"{counted(len(found), 'run')}; choose one or more"))
        row = widgets.HBox([*self.buttons.values(), self._said])
        self.widget = widgets.VBox([about, self.filter, self.choice, row, self._below])
        self.filter.observe(lambda _: self._list(), "value")
        for word, opener in openers.items():
            self.buttons[word].on_click(lambda _, opener=opener: self._open(opener))

    @property
    def chosen(self) -> RunList:
        """The runs that are chosen, or all that are listed if none is."""
        places = self.choice.value or [place for _, place in self.choice.options]
        return RunList([self.found[place] for place in places])

    def _list(self) -> None:
        self.choice.options = [line for line in self._lines if self.filter.value.lower() in line[0].lower()]
        self._said.value = "" if self.choice.options else quiet(said("run_picker.none", words=self.filter.value))

    def _open(self, opener: Opener) -> None:
        def opening() -> None:
            """Make it, and show it in place of what was open."""
            before, self.opened = self.opened, opener(self.chosen.load())
            for each in before:  # a panel that no page shows any more need not watch its runs
                getattr(each, "close", bool)()
            self._below.clear_output(wait=True)
            with self._below:
                display(*self.opened)

        self._said.value = attempt(opening)

    def still(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The table of the runs, for a notebook that is read without a kernel."""
        return {"text/html": self.found.table.html}, {}

    def __repr__(self) -> str:
        return f"<{counted(len(self.found), 'run')} to choose from: live in a running notebook>"


def _line(head: Sequence[str], row: Sequence[str]) -> str:
    """What is known of a run, with the names of those columns that need one."""
    said = zip(head, row, strict=True)
    return " · ".join(cell if name in PLAIN else f"{name} {cell}" for name, cell in said if cell != "-")
