"""A live view of a run's world: a game that is played with its newest weights, to see what they do.

The game is its own (``game.py``): nothing that is clicked here can touch a run. One widget with an SVG is
redrawn, by a click or by a thread that plays and takes newer weights as each epoch begins.
"""

import threading
import traceback
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython
from PIL.Image import Image

from workbench.core.settings import require
from workbench.runs.compare import runs_of
from workbench.runs.loaded import RunView
from workbench.runs.naming import labels
from workbench.view import html as pages
from workbench.view.panel.watching import Watcher
from workbench.view.picture import Live
from workbench.view.sentences import said
from workbench.view.world.drawing import image, svg
from workbench.view.world.game import Game, describe

# Turns in a second while it plays.
SPEEDS = (2, 5, 10)
# Largest share of a core that playing may take.
MAX_SHARE = 0.5
# The views that play now.
_playing: "set[WorldView]" = set()


class WorldView(Live):
    """One world, played greedily with the newest weights of a run, step by step or by itself.

    Show it by naming it in the last line of a cell. Everything that a button does is a method too.

    Attributes:
        widget: what is displayed; it holds all the others.
        image: the picture, an SVG that changes.
        step_button, play_button, epoch_button: do what they say; ``play_button.value`` says whether it plays.
        agent, speed: lists to choose from.
        message: what went wrong, if anything did.
        run: whose weights play.
        game: the game that is shown.

    Example:
        ``wb.WorldView(run)``
    """

    def __init__(self, run: RunView, agent: int = 0, seed: int = 0) -> None:
        """Begin an epoch and draw it.

        Args:
            run: live, ended or loaded.
            agent: whose eyes to look through.
            seed: of the view's own random stream.

        Raises:
            ValueError: it is not one run, or there is no such agent.
            RunError: the run has no weights yet.
        """
        self.run, *more = runs_of(run, "look at")
        require(not more, "number of runs", 1 + len(more), said("world.one"))
        (self._name,) = labels([self.run])
        self._check_agent(agent)
        self._lock = threading.RLock()
        self._player: Watcher | None = None
        self.game = Game(self.run.config, self.run.newest_weights, seed)
        self._build_widgets(agent)
        self._show()
        asked: dict[str, Any] = getattr(get_ipython(), "get_parent", dict)()  # of which cell, and when, if that is told
        self._cell, self._execution = asked.get("metadata", {}).get("cellId"), asked.get("header", {}).get("msg_id")
        for other in [*_playing] if self._cell else ():
            if other._cell == self._cell and other._execution != self._execution:  # this view takes its place
                other.play_button.value = False

    def step(self) -> None:
        """Continue to the next turn of the agent; at the end of an epoch, begin another."""
        with self._lock:
            if self.game.over:
                self.new_epoch()
            else:
                self.game.play_to(self.agent.value)
                self._show()

    def play(self) -> None:
        """Play by itself until :meth:`pause`, or until the cell that made the view is run again; returns at once."""
        self.play_button.value = True

    def pause(self) -> None:
        """Play no longer."""
        self.play_button.value = False
        if self._player is not None:
            self._player.close()

    close = pause

    def new_epoch(self) -> None:
        """Begin an epoch with the newest weights."""
        with self._lock:
            self.game.load(self.run.newest_weights)
            self.game.begin()
            self._show()

    def look_through(self, agent: int) -> None:
        """See the world as another agent sees it from now on.

        Raises:
            ValueError: there is no such agent.
        """
        self._check_agent(agent)
        self.agent.value = agent  # which shows it

    def figure(self) -> Image:
        """A still picture of the game as it is now, which a notebook shows and ``save`` writes."""
        with self._lock:
            return image(self.game, self._name)

    def still(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The picture and what it shows in words, for a notebook that is read without a kernel."""
        with self._lock:  # both of the same turn
            return {"image/png": self.figure()._repr_png_()}, {"image/png": {"alt": describe(self.game, self._name)}}

    def __repr__(self) -> str:
        return f"<WorldView of {self._name}: live in a running notebook>"

    # --- the game --------------------------------------------------------------------------------------------------

    def _check_agent(self, agent: int) -> None:
        count = self.run.config.num_agents
        require(agent in range(count), "agent", agent, f"the world has agents 0 to {count - 1}")

    def _give_up(self, error: Exception) -> None:
        self.message.value = pages.failure("the view stands still", "".join(traceback.format_exception(error)))
        self.play_button.value = False

    # --- widgets ---------------------------------------------------------------------------------------------------

    def _build_widgets(self, agent: int) -> None:
        def made(kind: Any, description: str, **settings: Any) -> Any:
            """A control as wide as its text."""
            return kind(description=description, layout=widgets.Layout(width="auto"), **settings)

        self.step_button = made(widgets.Button, "Step", icon="step-forward", tooltip="On to the next turn")
        self.play_button = made(widgets.ToggleButton, "Play", icon="play", tooltip="Play by itself")
        newest = "Start a new epoch with the newest weights"
        self.epoch_button = made(widgets.Button, "New epoch", icon="refresh", tooltip=newest)
        self.agent = made(widgets.Dropdown, "agent", options=tuple(range(self.game.num_agents)), value=agent)
        speeds = [(f"{speed} turns/s", speed) for speed in SPEEDS]
        self.speed = made(widgets.Dropdown, "", options=speeds, tooltip="How fast it plays")
        self.message, self.image = widgets.HTML(), widgets.HTML()
        self.image.add_class("wb-world")
        self.step_button.on_click(lambda _: self._try(self.step))
        self.epoch_button.on_click(lambda _: self._try(self.new_epoch))
        self.play_button.observe(lambda _: self._play(), "value")
        self.agent.observe(lambda _: self._try(self._show), "value")
        self.speed.observe(lambda _: self._play(), "value")
        row = widgets.HBox([self.step_button, self.play_button, self.speed, self.epoch_button, self.agent])
        row.layout = widgets.Layout(flex_flow="row wrap", align_items="center")  # wraps where the page is narrow
        self.widget = widgets.VBox([row, self.message, self.image])

    def _play(self) -> None:
        """Play as fast as was chosen, or no longer, as the button says."""
        playing = self.play_button.value
        self.play_button.description = "Pause" if playing else "Play"
        self.play_button.icon = self.play_button.description.lower()
        if self._player is not None:
            self._player.close(wait=False)  # it leaves by itself: the kernel must not wait for it
        (_playing.add if playing else _playing.discard)(self)
        if playing:
            self._player = Watcher(self.step, self._give_up, "world view", 1 / self.speed.value, MAX_SHARE)

    def _try(self, action: Callable[[], None]) -> None:
        self.message.value = pages.attempt(action)

    def _show(self) -> None:
        """Draw the game, at the agent's turn or at the end of the epoch."""
        with self._lock:
            if self.game.agent != self.agent.value:
                self.game.play_to(self.agent.value)
            self.image.value = svg(self.game, self._name)
