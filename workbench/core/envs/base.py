"""What a world is: what it says of itself, and the turns in which it is played.

An epoch is a ``reset`` and then ``max_turns`` turns, in all copies at once. A turn is::

    world.begin_turn()
    for agent in range(agents):
        observation = world.observe(agent)   # (num_worlds, *shape): frame t of the agent
        world.act(agent, actions)            # (num_worlds,) int64
    turn = world.end_turn()                  # rewards, terminated, truncated, valid

so it serves agents that act one after the other, each seeing what the earlier ones did, and agents that act at once.
After the last turn every agent observes once more. The end of an epoch truncates whatever episode is under way: values
bootstrap from that last observation.

**Episodes that end inside an epoch.** An agent's part of an episode ends in a copy with the turn that says
``terminated`` (no value follows) or ``truncated`` (the value of what follows counts). Its next frame is the last one of
that episode, which a truncated row bootstraps from. Until the copy begins a new episode the agent takes no part: its
turns are not ``valid``, they are stored and never drawn, and what it chooses is ignored. A copy in which every agent's
part has ended begins a new episode in the next turn, its reset turn, which is valid for no agent; the first frame of
the new episode is seen in the turn after that. This is next-step autoreset as in Gymnasium::

    turn             t          t + 1            t + 2
    observation      s_t        s_T, the last    s_0 of the next episode
    terminated       True       False            False
    valid            True       False            True

A turn that is not valid for an agent without an end before it (it is another's move) belongs to its episode: what it
earns then counts in the returns that span the turn. Where agents move one by one, ``learning.n_step`` must be a
multiple of the moves in a round: then every row bootstraps from a frame in which the agent moves itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.core import registry
from workbench.core.settings import Choice, Rule, Settings, at_least, between, whole

# From the observations of one agent, (num_worlds, *shape), and a generator to its actions, (num_worlds,) int64.
ReferencePolicy = Callable[[NDArray[Any], np.random.Generator], NDArray[np.int64]]

# NumPy reads short codes of dtypes itself; a word that it does not know is misspelt.
_DTYPE = Rule("NumPy's name of one, such as 'float32'", lambda x: str(x) in np.sctypeDict or not str(x)[:3].isalpha())
_SHAPE = Rule("whole numbers above 0", lambda x: all(isinstance(n, int | np.integer) and whole(n) and n > 0 for n in x))


@dataclass(frozen=True)
class AgentSpec(Settings, group="AgentSpec"):
    """What one agent sees and can do.

    Attributes:
        shape: Shape of one observation.
        dtype: NumPy name of its dtype, in which observations are stored. Agents take bytes without codes for pixels.
        num_actions: Its actions are 0 to this, exclusive.
        num_codes: If an observation is made of codes of kinds: how many kinds. Codes are 1 to this, 0 is nothing at
            all.
        action_names: What its actions are called, if they have names.
        code_names: What codes stand for, from 0 on, if they have names.
    """

    shape: Annotated[tuple[int, ...], _SHAPE]
    dtype: Annotated[str | type | np.dtype[Any], _DTYPE]
    num_actions: Annotated[int, between(1, 32768, "actions")]
    num_codes: Annotated[int | None, between(0, 4096, "kinds, or None", also=None)] = None
    action_names: tuple[str, ...] = ()
    code_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnvSpec(Settings, group="EnvSpec"):
    """What a world is, known before there is one.

    Attributes:
        agents: One for each agent, in the order in which they act.
        max_turns: Turns of an epoch.
        whole_epochs: Whether every episode lasts for its epoch, every agent taking part throughout; no end is stored.
        reward_bound: Largest size of one reward, if it is known.
        max_copies: Most copies that one process should play side by side.
        discount: The only one that its rewards may be learned with, if they are made for one.
        at_once: Whether what an agent sees in a turn does not depend on what the others do in it.
    """

    agents: Annotated[tuple[AgentSpec, ...], Rule("one AgentSpec or more", lambda x: {*map(type, x)} == {AgentSpec})]
    max_turns: Annotated[int, at_least(1, "turn")]
    whole_epochs: bool = False
    reward_bound: float | None = None
    max_copies: int = 65536
    discount: float | None = None
    at_once: bool = False


class Turn(NamedTuple):
    """What a turn has brought; arrays of shape (agents, num_worlds), good until the next turn begins.

    Attributes:
        terminated: The agent's part of the episode has come to its natural end with this turn.
        truncated: It was cut off with this turn, by a time limit for instance. Where it has also ended, the end counts.
        valid: The agent took part in this turn.
    """

    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    valid: NDArray[np.bool_]


class World(Protocol):
    """Any number of copies of a world, ready to play once made. See the head of this file for the order of calls.

    Attributes:
        rng: The only source of chance, a PCG64.
        num_worlds: Copies.
    """

    rng: np.random.Generator
    num_worlds: int

    def reset(self) -> None:
        """Begin an epoch: a new episode in every copy."""

    def begin_turn(self) -> None:
        """Let the world move before the agents do."""

    def observe(self, agent: int) -> NDArray[Any]:
        """What one agent sees: (num_worlds, *shape) of its spec's dtype, good until the turn ends."""

    def act(self, agent: int, actions: NDArray[np.int64]) -> None:
        """Take one agent's actions, (num_worlds,) int64. Those of agents that take no part are ignored.

        Raises:
            ValueError: there is no such action.
        """

    def end_turn(self) -> Turn:
        """Let the world answer, when every agent has acted."""

    def get_state(self) -> dict[str, Any]:
        """A copy of all that the future depends on, by name; "rng" is the state of the generator.

        Only asked for between two epochs, where a world that a reset sets up has its generator alone, as by default.
        """
        return {"rng": self.rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned, with the next reset."""
        self.rng.bit_generator.state = state["rng"]


@dataclass(frozen=True)
class WorldConfig(Choice, group="world"):
    """Arguments of a world. A world's own dataclass is derived from it and says what the world is and how it is made.

    Attributes:
        num_worlds: Copies of the world that run side by side and feed the same replays.
    """

    num_worlds: Annotated[int, between(1, 65536, "copies")] = 1

    @property
    def title(self) -> str:
        """What the world is called in a sentence."""
        return registry.name_of(type(self))

    def reference_policies(self) -> Mapping[str, ReferencePolicy]:
        """Policies that have learned nothing, to measure a trained agent against, by name."""
        return {}

    def spec(self) -> EnvSpec:
        """What the world is. It is asked for often: keep it, if it takes long to find out."""
        raise self.lacks("spec")

    def unseeded(self) -> str:
        """Why runs of the same seed may differ in this world, in a sentence; "" where its generator decides all."""
        return ""

    def make(self, rng: np.random.Generator) -> World:
        """A world of ``num_worlds`` copies that is ready to play; ``rng`` is its only source of chance."""
        raise self.lacks("make")
