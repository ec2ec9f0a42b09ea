"""The widgets of the panel: buttons, blocks that open, and the forms that choose curves and change a run.

Nothing here knows what a click does; each part calls what it was given. All parts are native buttons, boxes and lists,
so that they are reached with the keyboard. (An ``Accordion`` is not: its titles take no focus.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from workbench.view.html import quiet, warning
from workbench.view.panel.charts import AXIS_LABELS, STANDARD, Chart, Choices

SMOOTHINGS = {"none": 0.0, "1 %": 0.01, "4 %": 0.04, "10 %": 0.1, "25 %": 0.25}
"""Windows of the moving average that the form offers, as shares of a run's length."""
_FLOW = {"flex_flow": "row wrap", "align_items": "center"}


def button(text: str, icon: str, tooltip: str, style: str = "") -> Any:
    """A button as wide as its text."""
    return widgets.Button(description=text, icon=icon, tooltip=tooltip, button_style=style, layout=_free())


class Blocks:
    """A row of buttons; each opens and closes what belongs to it below. All are closed at first.

    Attributes:
        buttons: by title, widgets whose ``value`` says whether the block is open.
        widget: what is displayed; it holds row and blocks.
    """

    def __init__(self, blocks: Mapping[str, Any], on_open: Callable[[], None]) -> None:
        """Take the blocks by title, and what to call when one was opened."""
        self._contents, self._on_open = dict(blocks), on_open
        self.buttons = {title: self._button(title) for title in blocks}
        row = widgets.HBox(list(self.buttons.values()), layout=widgets.Layout(**_FLOW))
        self.widget = widgets.VBox([row, *self._contents.values()])

    def is_open(self, title: str) -> bool:
        """Whether a block is shown."""
        return bool(self.buttons[title].value)

    def offer(self, title: str, offered: bool) -> None:
        """Show the button of a block, or hide it and the block where there is nothing to see."""
        self.buttons[title].layout.display = None if offered else "none"
        self._contents[title].layout.display = None if offered and self.is_open(title) else "none"

    def _button(self, title: str) -> Any:
        made = widgets.ToggleButton(
            value=False, description=title, icon="caret-right", tooltip=f"Show or hide: {title}", layout=_free()
        )
        self._contents[title].layout.display = "none"
        made.observe(lambda change: self._toggle(title, change["new"]), "value")
        return made

    def _toggle(self, title: str, opened: bool) -> None:
        self.buttons[title].icon = "caret-down" if opened else "caret-right"
        self._contents[title].layout.display = None if opened else "none"
        if opened:
            self._on_open()


class ChoicesForm:
    """Which curves, over what, of whom, how smooth.

    Attributes:
        boxes: by name of the chart, a check box.
        over, agents, smoothing: lists to choose from.
        log: a check box.
        message: why a choice cannot be drawn.
        widget: what is displayed; it holds all the others.
    """

    def __init__(
        self, choices: Choices, charts: Mapping[str, Chart], num_agents: int, on_change: Callable[[Choices], None]
    ) -> None:
        """Show some choices among charts; call ``on_change`` with the new ones when the user has changed something."""
        self._choices, self._on_change, self._filling = choices, on_change, False
        self.boxes = {name: _box(chart.name) for name, chart in charts.items()}
        self.over = widgets.Dropdown(
            options=[(label, axis) for axis, label in AXIS_LABELS.items()], description="x axis", layout=_free()
        )
        whose: list[tuple[str, int | str]] = [("together", "together"), ("each", "each")]
        whose += [(f"agent {agent}", agent) for agent in range(num_agents)]
        self.agents = widgets.Dropdown(options=whose, description="agents", layout=_free())
        shares = {f"{choices.smoothing:.3g} of the run": choices.smoothing} | SMOOTHINGS
        known = {share: label for label, share in shares.items()}  # a name of ours wins over a made one
        self.smoothing = widgets.Dropdown(
            options=[(label, share) for share, label in sorted(known.items())], description="smoothing", layout=_free()
        )
        self.log = _box("log scale")
        self.standard = button("Standard charts", "undo", "Choose the charts that are drawn at first")
        self.standard.on_click(lambda _: self._choose(charts=STANDARD))
        self.message = widgets.HTML()
        self.show(choices)
        for each in (*self.boxes.values(), self.over, self.agents, self.smoothing, self.log):
            each.observe(lambda _: self._read(), "value")
        settings = widgets.HBox(
            [self.over, self.agents, self.smoothing, self.log, self.standard], layout=widgets.Layout(**_FLOW)
        )
        charts = widgets.HBox(list(self.boxes.values()), layout=widgets.Layout(**_FLOW))
        self.widget = widgets.VBox([charts, settings, self.message])

    def show(self, choices: Choices) -> None:
        """Fill the form in."""
        self._choices, self._filling = choices, True
        try:
            for name, box in self.boxes.items():
                box.value = name in choices.charts
            self.over.value, self.agents.value = choices.over, choices.agents
            self.smoothing.value, self.log.value = choices.smoothing, choices.log
        finally:
            self._filling = False

    def _read(self) -> None:
        if self._filling:
            return
        wanted = [name for name, box in self.boxes.items() if box.value]
        charts = [name for name in self._choices.charts if name in wanted]  # in the order that is shown
        charts += [name for name in wanted if name not in charts]
        self._choose(
            charts=tuple(charts), over=self.over.value, agents=self.agents.value, smoothing=self.smoothing.value,
            log=self.log.value,
        )  # fmt: skip

    def _choose(self, **wanted: Any) -> None:
        try:
            choices = dataclasses.replace(self._choices, **wanted)
            self._on_change(choices)
        except ValueError as error:
            self.message.value = warning(str(error))
            return
        self.message.value = ""
        self.show(choices)


class ChangeForm:
    """Settings that may be changed while a run goes on.

    Attributes:
        fields: by name of the setting, a text to edit.
        apply: makes the changes.
        message: why a change was refused.
        made: the changes so far.
        widget: what is displayed; it holds all the others.
    """

    def __init__(self, on_apply: Callable[[dict[str, Any]], None]) -> None:
        """Call ``on_apply`` with the fields whose text was edited and their new values."""
        self._on_apply = on_apply
        self.fields: dict[str, Any] = {}
        self._shown: dict[str, str] = {}
        self.apply = button("Apply", "check", "Make the changes; the runs go on", "primary")
        self.apply.on_click(lambda _: self._read())
        self.message, self.made = widgets.HTML(), widgets.HTML()
        self._form = widgets.VBox()
        foot = widgets.HBox([self.apply, self.message])
        self.widget = widgets.VBox([self._form, foot, self.made])

    def offer(self, values: Mapping[str, Any]) -> None:
        """Offer the settings with their present values. A text that is just being edited is left alone."""
        if set(values) != set(self.fields):
            style = {"description_width": "18em"}
            self.fields = {name: widgets.Text(description=name, style=style) for name in values}
            self._shown = dict.fromkeys(values, "")
            self._form.children = tuple(self.fields.values())
        for name, value in values.items():
            field, now = self.fields[name], repr(value)
            if field.value == self._shown[name]:
                field.value = now
            self._shown[name] = now

    def _read(self) -> None:
        edited = {name: field.value for name, field in self.fields.items() if field.value != self._shown[name]}
        if not edited:
            self.message.value = quiet("Nothing was edited.")
            return
        try:
            values = {name: number(name, words) for name, words in edited.items()}
            self._on_apply(values)
        except Exception as error:  # whatever the run has against it is told here
            self.message.value = warning(str(error) or type(error).__name__)
            return
        self._shown |= edited  # from here on they follow what is in force
        self.message.value = quiet("Done.")


def number(name: str, words: str) -> int | float:
    """A number as it was typed.

    Raises:
        ValueError: it is none.
    """
    for kind in (int, float):
        try:
            return kind(words.replace("_", ""))
        except ValueError:
            continue
    raise ValueError(f"{name} is {words!r}; it must be a number, such as 0.0005 or 5e-4")


def _free() -> Any:
    """As wide as its text; a new one each time, since widgets that share a layout are hidden together."""
    return widgets.Layout(width="auto")


def _box(text: str) -> Any:
    return widgets.Checkbox(description=text, indent=False, layout=widgets.Layout(width="auto", margin="0 14px 0 2px"))


def row(parts: Sequence[Any]) -> Any:
    """Widgets in a row that wraps where the page is narrow."""
    return widgets.HBox(list(parts), layout=widgets.Layout(**_FLOW))
