"""A game to look at: one world of its own, played greedily with the weights of a run, one agent's move at a time.

It has its own random stream (role "viewing"), its own replay to stack frames with and its own copies of the weights, so
that looking changes nothing in any run. What is seen of the world is its map, or the picture that it draws of itself;
where it offers neither, the values are seen alone. The moves are those of the value function alone: the mean of its
quantiles at :data:`FRACTIONS`, evenly spread, so that the same weights and seed always play the same game.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.core.agents.iqn import QuantileNetwork
from workbench.core.config import Config, ConfigError
from workbench.core.seeding import stream
from workbench.core.shared.replay import Replay
from workbench.runs.evaluation import evaluation_config
from workbench.runs.loaded import RunError, unpadded
from workbench.runs.table import fixed
from workbench.view.sentences import counted, said, sizes

# (32,) float32: quantile fractions at which the network is asked.
FRACTIONS = (np.arange(32, dtype=np.float32) + 0.5) / 32

# What a world offers that can be drawn as a map: its ``cells``, (num_worlds, height, width) uint8, the ``positions`` of
# its agents, (agents, num_worlds, 2) rows and columns, and ``window(agent)``, (num_worlds, side, side) uint8, what one
# sees, itself in the centre. Its agents' :class:`AgentSpec` says what the codes stand for.
MAP = ("cells", "positions", "window")
_OFFERED = "a map (cells, positions and window(agent)) nor a picture (render())"


@dataclass(frozen=True)
class Sight:
    """What an agent sees when it is its turn, and what it makes of it.

    Attributes:
        quantiles: (32 or 1, A) float32: quantiles of the return of each move, or its value, in units of scaled reward.
        row: Where it stands, in cells from the top of the map, border included; -1 without a map.
        frame: (side, side) uint8: entity codes of its window; the agent itself is in the centre. Empty without a map.
    """

    agent: int
    turn: int
    quantiles: NDArray[np.float32]
    row: int
    column: int
    frame: NDArray[np.uint8]

    @property
    def q(self) -> NDArray[np.float32]:
        """(A,) float32: value of each move, the mean of its quantiles."""
        return np.asarray(self.quantiles.mean(axis=0))

    @property
    def choice(self) -> int:
        """The move with the greatest value."""
        return int(self.q.argmax())

    def spread(self, low: float = 0.1, high: float = 0.9) -> NDArray[np.float32]:
        """(2, A) float32: between which two quantiles the return of each move lies."""
        return np.asarray(np.quantile(self.quantiles, (low, high), axis=0), np.float32)


class Game:
    """One world and the policies of all its agents.

    Attributes:
        mapped: Whether the world has a map.
        unseen: Why there is no picture of a world without a map, in one line; "" while there is.
    """

    def __init__(self, config: Config, weights: NDArray[np.float32], seed: int = 0) -> None:
        """Begin an epoch.

        Args:
            config: that of the run.
            weights: (agents, vector size) float32, such as ``run.weights``.
            seed: of the game's own stream; two games of one seed meet the same gems as long as they move alike.

        Raises:
            RunError: the weights are those of another number of agents.
        """
        self.config = evaluation_config(config, worlds=1)
        self.num_agents = config.num_agents
        self._world: Any
        try:  # environments of other libraries draw themselves only if they were made to
            self.unseen, drawn = "", getattr(self.config.world, "drawn", self.config.world)
            self._world = drawn.make(stream(seed, "viewing"))
        except ConfigError as error:
            self.unseen, self._world = _line(error), self.config.world.make(stream(seed, "viewing"))
        self.mapped = all(hasattr(self._world, each) for each in MAP)
        self.code_names = config.spec.agents[0].code_names
        device, rng = torch.device("cpu"), stream(seed, "viewing", 1)  # what a policy draws moves nothing in the world
        policy = config.agent.policy_class
        self._policies: list[Any] = [
            policy(self.config, index, device, rng, rng, noise=False) for index in range(self.num_agents)
        ]
        self._replays = [
            Replay(self.config, spec, Replay.layout(self.config, spec).allocate()) for spec in self.config.spec.agents
        ]
        self._taus = torch.from_numpy(FRACTIONS)[None]
        self.load(weights)
        self.begin()

    def load(self, weights: NDArray[np.float32]) -> None:
        """Play on with other weights, (agents, vector size) float32."""
        for policy, vector in zip(self._policies, unpadded(weights, self.config), strict=True):
            policy.load(np.ascontiguousarray(vector))
        vars(self).pop("sight", None)

    def begin(self) -> None:
        """Begin an epoch: no gems, agents anywhere, and the first turn's gems."""
        self._world.reset()
        for replay in self._replays:
            replay.begin_epoch()  # never committed: nothing is ever drawn from it
        self.turn, self.agent, self.rewards = 0, 0, np.zeros(self.num_agents)
        self._world.begin_turn()
        self._see()

    @property
    def over(self) -> bool:
        """Whether the epoch has come to its end."""
        return self.turn == self.config.max_turns

    @property
    def moves(self) -> tuple[str, ...]:
        """What the agent whose turn it is can do."""
        spec = self.config.spec.agents[self.agent]
        return spec.action_names or tuple(f"action {number}" for number in range(spec.num_actions))

    @property
    def picture(self) -> NDArray[np.uint8] | None:
        """(height, width, 3) uint8: what the world draws of itself now; None, with the reason in ``unseen``."""
        if self.unseen:
            return None
        try:
            RunError.unless(hasattr(self._world, "render"), f"{self.config.world.title} offers neither {_OFFERED}")
            picture: NDArray[np.uint8] = np.asarray(self._world.render())
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise RunError(f"render() gave {picture.dtype} of shape {picture.shape}; it must give RGB as uint8")
        except Exception as error:  # whatever a renderer lacks, most often a package
            self.unseen = _line(error)
            return None
        return picture

    @property
    def cells(self) -> NDArray[np.uint8]:
        """(height, width) uint8: the map as it is now, border included."""
        return np.array(self._world.cells[0])

    @property
    def positions(self) -> NDArray[np.intp]:
        """(agents, 2) rows and columns of the agents, in cells of :attr:`cells`."""
        return np.asarray(self._world.positions[:, 0])

    @property
    def gems(self) -> int:
        """How many gems lie on the map."""
        return int((self.cells == self.code_names.index("gem")).sum()) if "gem" in self.code_names else 0

    @functools.cached_property
    @torch.no_grad()
    def sight(self) -> Sight:
        """What the agent whose turn it is sees, and the value it gives to each move; forgotten when it has moved."""
        agent, policy = self.agent, self._policies[self.agent]
        stack = self._replays[agent].newest_stack(self.turn)
        if isinstance(network := getattr(policy, "network", None), QuantileNetwork):
            quantiles = network.quantiles(network.embed(network.encode(torch.from_numpy(stack))), self._taus)[0].numpy()
        else:  # the value alone: all of its quantiles are one
            quantiles = policy.act(stack, 0.0).q
        row, column = self.positions[agent].tolist() if self.mapped else (-1, -1)
        frame = self._world.window(agent)[0] if self.mapped else np.zeros((0, 0), np.uint8)
        return Sight(agent, self.turn, quantiles, row, column, frame)

    def move(self) -> None:
        """Let the agent whose turn it is make its move. At the end of the epoch nothing happens."""
        if self.over:
            return
        self._world.act(self.agent, np.array([self.sight.choice]))
        self.agent += 1
        if self.agent == self.num_agents:
            outcome = self._world.end_turn()
            for replay, of_agent in zip(self._replays, zip(*outcome, strict=True), strict=True):
                replay.write_outcome(self.turn, *of_agent)
            self.rewards += outcome.rewards[:, 0]
            self.turn, self.agent = self.turn + 1, 0
            if not self.over:
                self._world.begin_turn()
        self._see()  # the last frame of an epoch is only looked at

    def play_to(self, agent: int) -> None:
        """Play at least one move, up to the next turn of an agent or the end of the epoch."""
        self.move()
        while not self.over and self.agent != agent:
            self.move()

    def _see(self) -> None:
        self._replays[self.agent].write_frame(self.turn, self._world.observe(self.agent))
        vars(self).pop("sight", None)


def title_of(game: Game, name: str) -> str:
    """Which turn it is, and what was earned so far, in words."""
    earned = f"reward so far {fixed(game.rewards.sum())}, of agent {game.agent}: {fixed(game.rewards[game.agent])}"
    return f"{name}   ·   {when(game)}   ·   {earned}"


def describe(game: Game, name: str) -> str:
    """A game in words, for those who cannot see the picture."""
    seeing = game.sight
    values = ", ".join(f"{move} {fixed(value, 2)}" for move, value in zip(game.moves, seeing.q, strict=True))
    gems = f"{counted(game.gems, 'gem')}, " if game.mapped else ""
    place = f" in row {seeing.row}, column {seeing.column}" if game.mapped else ""
    about = sizes(game.config) | {"choice": game.moves[seeing.choice], "reward": fixed(game.rewards.sum())}
    told = said("world.words", name=name, turn=when(game), gems=gems, game=game, place=place, values=values, **about)
    return told + f" No picture: {game.unseen}." * bool(game.unseen)


def when(game: Game) -> str:
    """Which turn it is, in words."""
    turns = game.config.max_turns
    return f"end of {turns} turns" if game.over else f"turn {game.turn + 1} of {turns}"


def _line(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
