"""Small environments of Gymnasium and PettingZoo, as a user would write them, and ones that must be refused."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pettingzoo
from gymnasium import spaces


class Walk(gymnasium.Env):
    """Shows a number that the seed draws and the step; earns the action; ends or is cut off after ``length`` steps."""

    def __init__(self, length=5, cut_off=False, luck=True, seen=None, done=None):
        self.length, self.cut_off, self.luck = length, cut_off, luck
        self.observation_space = seen or spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = done or spaces.Discrete(3, start=1)
        self.observation = np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        rng = self.np_random if self.luck else np.random.default_rng()
        self.observation[:] = rng.integers(1, 1000), 0
        return self.observation, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.observation[1] += 1  # the array that was given out before, as some environments do it
        over = self.observation[1] >= self.length
        return self.observation, float(action), bool(over and not self.cut_off), bool(over and self.cut_off), {}


class Counting(Walk):
    """Counts its steps over all episodes, and pays for every so many."""

    def __init__(self, every=2):
        super().__init__(length=1000)
        self.every, self.steps = every, 0

    def step(self, action):
        self.steps += 1
        seen, _, *over = super().step(action)
        return seen, float(self.steps % self.every == 0), *over


class Late(Walk):
    """Pays an array of one number, and says in a word whether it is over once an episode has come that far."""

    def __init__(self, after=30):
        super().__init__(length=1000)
        self.after = after

    def step(self, action):
        seen, reward, ended, *rest = super().step(action)
        return seen, np.array([reward]), str(ended) if seen[1] > self.after else ended, *rest


class Drawing(Walk):
    """Draws itself: as red as it has made steps."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None, broken=False):
        super().__init__()
        self.render_mode, self.broken = render_mode, broken

    def render(self):
        if self.broken:
            raise ModuleNotFoundError("no brush is installed,\n  run `pip install brush`")
        picture = np.zeros((20, 30, 3), np.uint8)
        picture[..., 0] = self.observation[1]
        return picture


class Simulator(Walk):
    """Starts something that must be ended, and writes a line down for each start and end."""

    def __init__(self, log):
        super().__init__()
        self.log = Path(log)
        self.write("started\n")

    def close(self):
        self.write("ended\n")

    def write(self, line):
        with self.log.open("a") as file:
            file.write(line)


class Pictures(Walk):
    """Shows a picture of noise, and pays for naming the brightest third of its first row."""

    def __init__(self, shape=(5, 6, 3)):
        super().__init__(length=9, seen=spaces.Box(0, 255, tuple(shape), np.uint8), done=spaces.Discrete(3))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.draw(), {}

    def step(self, action):
        earned = float(action == self.picture.reshape(len(self.picture), -1)[0].argmax() % 3)
        return self.draw(), earned, *super().step(action)[2:]

    def draw(self):
        self.picture = self.np_random.integers(256, size=self.observation_space.shape, dtype=np.uint8)
        return self.picture


class Talking(Walk):
    """Sees a Dict that has a text in it."""

    def __init__(self):
        super().__init__()
        text = spaces.Text(5)
        self.observation_space = spaces.Dict(
            {"place": self.observation_space, "kind": spaces.Discrete(3), "told": text}
        )

    def reset(self, *, seed=None, options=None):
        place, about = super().reset(seed=seed)
        return {"place": place, "kind": 2, "told": "hello"}, about

    def step(self, action):
        place, *rest = super().step(action)
        return {"place": place, "kind": 1, "told": "hello"}, *rest


class Jumping(Walk):
    """Can do much."""

    def __init__(self):
        super().__init__(done=spaces.Discrete(40))


class Steering(Walk):
    """Acts continuously."""

    def __init__(self):
        super().__init__(done=spaces.Box(-1, 1, (1,)))


class Leaving(pettingzoo.ParallelEnv):
    """Agent k leaves after 2 (k + 1) steps, the last one because it is cut off; each sees and does something else."""

    metadata = {"name": "leaving"}  # noqa: RUF012

    def __init__(self, render_mode=None, short=False):
        self.possible_agents = ["a", "b", "c"]
        self.render_mode, self.short = render_mode, short

    def observation_space(self, agent):
        return {
            "a": spaces.Box(-np.inf, np.inf, (2,)),
            "b": spaces.Discrete(50),
            "c": spaces.Box(0, 255, (2, 1), np.uint8),
        }[agent]

    def action_space(self, agent):
        return spaces.Discrete(2 + self.possible_agents.index(agent))

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(self.possible_agents), 0
        self.luck = int(np.random.default_rng(seed).integers(1, 200))
        return self.seen(), {agent: {} for agent in self.agents}

    def seen(self):
        told = {"a": np.array([self.luck, self.steps], np.float32), "b": self.steps,
                "c": np.array([[self.luck], [self.steps]], np.uint8)}  # fmt: skip
        if self.short and self.steps == 3:
            told["c"] = told["c"][:1]
        return {agent: told[agent] for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self.steps += 1
        seen = self.seen()
        over = {agent: self.steps >= 2 * (self.possible_agents.index(agent) + 1) for agent in self.agents}
        terminated = {agent: over[agent] and agent != "c" for agent in self.agents}
        truncated = {agent: over[agent] and agent == "c" for agent in self.agents}
        rewards = {agent: 10.0 + actions[agent] for agent in self.agents}
        self.agents = [agent for agent in self.agents if not over[agent]]
        return seen, rewards, terminated, truncated, {agent: {} for agent in seen}


def parallel_env(**named):
    """What PettingZoo's own modules offer."""
    return Leaving(**named)


SPACES = {
    "bytes": spaces.Box(0, 255, (2,), np.uint8), "wide": spaces.Box(-(2**62), 2**62, (2,), np.int64),
    "choice": spaces.Discrete(5, start=-1), "choices": spaces.Tuple((spaces.Discrete(3), spaces.MultiDiscrete([2, 2]))),
    "both": spaces.Dict({"bytes": spaces.Box(0, 255, (2,), np.uint8), "choice": spaces.Discrete(2)}),
    "swapped": spaces.Box(-9, 9, (2,), np.dtype(">f4")), "flags": spaces.Box(0, 1, (2,), np.uint8),
    "nothing": spaces.Box(0, 1, (0,), np.float32), "empty": spaces.Dict({}), "endless": spaces.Discrete(2**40),
}  # fmt: skip


class Odd(Walk):
    """Shows what its space does not say, or does what no environment should."""

    def __init__(self, space="", shows="", does=""):
        super().__init__()
        if space:
            self.observation_space = SPACES[space]
        self.observation_space.seed(0)
        self.sound, self.shows, self.does = self.observation_space.sample(), shows, does

    def reset(self, *, seed=None, options=None):
        if self.does == "no pair":
            return np.zeros(3, np.float32)
        return self.sound, {}

    def step(self, action):
        if self.does == "exit":
            raise SystemExit(3)
        told = eval(self.shows, {"np": np}) if self.shows else self.sound, 1.0, False, False, {}
        return told[:4] if self.does == "four" else told


class Endless(Walk):
    """Shows, or pays, what is not finite in its third step."""

    def __init__(self, shows=0.0, pays=1.0):
        super().__init__()
        self.shows, self.pays = float(shows), float(pays)

    def step(self, action):
        (number, step), _, *over = super().step(action)
        third = step == 3
        return np.array([self.shows if third else number, step], np.float32), self.pays if third else 1.0, *over
