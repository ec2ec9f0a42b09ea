"""A live view of a run's world: a game that is played with its newest weights, to see what they do.

The game is its own (``game.py``): nothing that is clicked here can touch a run. One picture widget is
redrawn, by a click or by a thread that plays at a quiet pace and takes newer weights as each epoch begins.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from workbench.runs.compare import Comparison
from workbench.runs.loaded import RunError, RunView
from workbench.view import html as pages
from workbench.view.naming import labels
from workbench.view.picture import DRAWING, Picture, to_png
from workbench.view.world.board import WorldPicture, describe
from workbench.view.world.game import Game

# Dots per inch of a frame.
DPI = 80
# Seconds between two turns while it plays.
TURN_S = 0.5
# Largest share of a core that playing may take.
MAX_SHARE = 0.2


class WorldView:
    """One world, played greedily with the newest weights of a run, step by step or by itself.

    Show it by naming it in the last line of a cell. Everything that a button does is a method too.

    Attributes:
        widget: what is displayed; it holds all the others.
        image: the picture, a PNG that changes.
        step_button, play_button, epoch_button: do what they say; ``play_button.value`` says whether it plays.
        agent, run: lists to choose from.
        message: what went wrong, if anything did.
        game: the game that is shown.
    """

    def __init__(self, runs: Comparison | RunView | Sequence[RunView], agent: int = 0, seed: int = 0) -> None:
        """Begin an epoch and draw it.

        Args:
            runs: a run, live, ended or loaded; of several, one is chosen in the view.
            agent: whose eyes to look through.
            seed: of the view's own random stream.

        Raises:
            ValueError: there are no runs, or no such agent.
            RunError: the run has no weights yet, or its world cannot be drawn.
        """
        given = runs.runs if isinstance(runs, Comparison) else [runs] if isinstance(runs, RunView) else runs
        self.runs, self._seed = tuple(given), seed
        if not self.runs:
            raise ValueError("there are no runs to look at; give at least one")
        self._watched = next((run for run in self.runs if _has_weights(run)), self.runs[0])
        self._check_agent(agent)
        self._agent, self._lock, self._pause = agent, threading.RLock(), threading.Event()
        self._player: threading.Thread | None = None
        self.game = self._new_game()
        self._picture = WorldPicture(self.game, DPI)
        self._build_widgets()
        self._go_to_agent()
        self._show()

    def step(self) -> None:
        """Continue to the next turn of the agent; at the end of an epoch, begin another."""
        with self._lock:
            if self.game.over:
                self._begin()
            else:
                self.game.play_to(self._agent)
            self._show()

    def play(self) -> None:
        """Play by itself until :meth:`pause`, epoch after epoch; returns at once."""
        if self._player is None or not self._player.is_alive():
            self._pause.clear()
            self._player = threading.Thread(target=self._play, name="world view", daemon=True)
            self._player.start()
        self.play_button.value = True

    def pause(self) -> None:
        """Play no longer."""
        self._pause.set()
        if self._player is not None and threading.current_thread() is not self._player:
            self._player.join()
        self.play_button.value = False

    close = pause

    def new_epoch(self) -> None:
        """Begin an epoch with the newest weights."""
        with self._lock:
            self._begin()
            self._show()

    def look_through(self, agent: int) -> None:
        """See the world as another agent sees it from now on.

        Raises:
            ValueError: there is no such agent.
        """
        self._check_agent(agent)
        with self._lock:
            self._agent = agent
            self._go_to_agent()
            self._show()
        self.agent.value = agent

    def watch(self, run: RunView) -> None:
        """Look at another of the runs, in a new epoch of the same random stream.

        Raises:
            RunError: it has no weights yet.
        """
        with self._lock:
            before, self._watched = self._watched, run
            try:
                self.game = self._new_game()
            except RunError:
                self._watched = before
                raise
            self._agent = min(self._agent, self.game.num_agents - 1)
            self._picture = WorldPicture(self.game, DPI)
            self._go_to_agent()
            self._show()
            self._list_agents()

    def figure(self) -> Picture:
        """A still figure of the game as it is now."""
        with self._lock:
            picture = WorldPicture(self.game, 2 * DPI)
            picture.show(self.game, self._name)
        return picture.figure

    def __repr__(self) -> str:
        return f"<WorldView of {self._name}: live in a running notebook>"

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**settings)
        return shown | {"text/plain": repr(self)}

    # --- the game --------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return labels(self.runs)[self.runs.index(self._watched)]

    def _new_game(self) -> Game:
        run = self._watched
        return Game(run.config, run.newest_weights, self._seed)

    def _begin(self) -> None:
        self.game.load(self._watched.newest_weights)
        self.game.begin()
        self._go_to_agent()

    def _go_to_agent(self) -> None:
        if self.game.agent != self._agent:
            self.game.play_to(self._agent)

    def _check_agent(self, agent: int) -> None:
        count = self._watched.config.num_agents
        if agent not in range(count):
            raise ValueError(f"agent is {agent!r}; the world has agents 0 to {count - 1}")

    def _play(self) -> None:
        try:
            while not self._pause.is_set():
                began = time.thread_time()
                self.step()
                self._pause.wait(max(TURN_S, (time.thread_time() - began) / MAX_SHARE))
        except Exception as error:
            self.message.value = pages.failure("the view stands still", "".join(traceback.format_exception(error)))
            self.play_button.value = False

    # --- widgets ---------------------------------------------------------------------------------------------------

    def _build_widgets(self) -> None:
        self.step_button = button("Step", "step-forward", "On to the next turn")
        self.play_button = widgets.ToggleButton(
            description="Play", icon="play", tooltip="Play by itself", layout=widgets.Layout(width="auto")
        )
        self.epoch_button = button("New epoch", "refresh", "Start a new epoch with the newest weights")
        self.agent = widgets.Dropdown(description="agent", layout=widgets.Layout(width="auto"))
        self.run = widgets.Dropdown(
            options=list(zip(labels(self.runs), self.runs, strict=True)), value=self._watched, description="run",
            layout=widgets.Layout(width="auto", display=None if len(self.runs) > 1 else "none"),
        )  # fmt: skip
        self.message, self._alt = widgets.HTML(), widgets.HTML()
        self.image = widgets.Image(value=b"", format="png")
        self.image.layout = widgets.Layout(align_self="flex-start", max_width="100%", object_fit="contain")
        self.image.add_class("wb-world")
        self._list_agents()
        self.step_button.on_click(lambda _: self._try(self.step))
        self.epoch_button.on_click(lambda _: self._try(self.new_epoch))
        self.play_button.observe(self._toggle, "value")
        self.agent.observe(lambda change: self._choose_agent(change["new"]), "value")
        self.run.observe(lambda change: self._try(self.watch, change["new"]), "value")
        controls = [self.step_button, self.play_button, self.epoch_button, self.agent, self.run]
        self.widget = widgets.VBox([row(controls), self.message, self.image, self._alt])

    def _list_agents(self) -> None:
        agents = range(self.game.num_agents)
        if tuple(self.agent.options) != tuple(agents):
            self.agent.options = tuple(agents)
        self.agent.value = self._agent

    def _choose_agent(self, agent: int | None) -> None:
        if agent is not None and agent != self._agent:
            self._try(self.look_through, agent)

    def _toggle(self, change: Any) -> None:
        self.play_button.icon = "pause" if change["new"] else "play"
        self.play_button.description = "Pause" if change["new"] else "Play"
        if change["new"]:
            self.play()
        else:
            self._pause.set()  # the player leaves by itself: the kernel must not wait for it

    def _try(self, action: Any, *arguments: Any) -> None:
        self.message.value = ""
        try:
            action(*arguments)
        except Exception as error:
            self.message.value = pages.warning(str(error) or type(error).__name__)

    def _show(self) -> None:
        with DRAWING:
            self._picture.show(self.game, self._name)
            self.image.value = to_png(self._picture.figure)
        self._alt.value = pages.hidden(describe(self.game, self._name))


def button(text: str, icon: str, tooltip: str) -> Any:
    """A button as wide as its text."""
    return widgets.Button(description=text, icon=icon, tooltip=tooltip, layout=widgets.Layout(width="auto"))


def row(parts: Sequence[Any]) -> Any:
    """Widgets in a row that wraps where the page is narrow."""
    return widgets.HBox(list(parts), layout=widgets.Layout(flex_flow="row wrap", align_items="center"))


def _has_weights(run: RunView) -> bool:
    try:
        return bool(len(run.newest_weights))
    except RunError:
        return False
