"""Buffers of every usual kind are watched by one line: what goes in is known again when it comes out."""

import random
from collections import deque, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.watch.findings import Evidence

PARTS = ("state", "action", "reward", "next_state", "done")
Transition = namedtuple("Transition", "state action next_state reward")


@dataclass
class Step:
    obs: Any
    action: int
    reward: float
    next_obs: Any
    done: bool
    log_prob: float = 0.0


class Deque(deque):
    """A deque, from which rows are drawn as lists of them."""

    def sample(self, count):
        return random.sample(self, count)


class Columns(Deque):
    """What it returns is columns."""

    def sample(self, count):
        return tuple(np.array(column) for column in zip(*super().sample(count), strict=True))


class Named(Deque):
    """Takes its parts in another order than the usual, and returns them by name."""

    def add(self, state, action, next_state, reward, done):
        self.append((state, action, reward, next_state, done))

    def sample(self, count):
        return dict(zip(PARTS, map(np.array, zip(*super().sample(count), strict=True)), strict=True))


class Pushed(Deque):
    """Takes what it is given, without names; a last state has no next one."""

    def push(self, *given):
        self.append(Transition(*given))


class Attributes(Named):
    """Returns an object."""

    def sample(self, count):
        return SimpleNamespace(**super().sample(count))


def tensor(row):
    state, action, reward, following, done = row
    after = None if done else torch.tensor(following)[None]
    return torch.tensor(state)[None], torch.tensor([[action]]), after, torch.tensor([reward])


def dictionary(row):
    state, action, reward, following, done = row
    cut = [{"left": each[:1], "right": each[1:]} for each in (state, following)]
    return {"obs": cut[0], "act": action, "rew": reward, "next_obs": cut[1], "done": done}


def named(row):
    state, action, reward, following, done = row
    return {"state": state, "action": action, "next_state": following, "reward": reward, "done": done}


# name: the buffer, and how a row is put into it
KINDS = {
    "tuples": (Deque, lambda buffer, row: buffer.append(row)),
    "columns": (Columns, lambda buffer, row: buffer.append(row)),
    "dictionaries": (Deque, lambda buffer, row: buffer.append(dictionary(row) | {"obs": row[0], "next_obs": row[3]})),
    "objects": (Deque, lambda buffer, row: buffer.append(Step(*row))),
    "named arguments": (Named, lambda buffer, row: buffer.add(**named(row))),
    "names of parameters": (Named, lambda buffer, row: buffer.add(*named(row).values())),
    "tensors without done": (Pushed, lambda buffer, row: buffer.push(*tensor(row))),
    "attributes": (Attributes, lambda buffer, row: buffer.add(*named(row).values())),
}


def rows(count):
    """Episodes of ten steps."""
    rng, state = np.random.default_rng(0), np.zeros(4, np.float32)
    for step in range(1, count + 1):
        following = rng.random(4, dtype=np.float32)
        yield state, int(rng.integers(4)), float(step), following, step % 10 == 0
        state = following


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_into_a_buffer_is_known_again_when_it_comes_out(tmp_path, kind):
    make, put = KINDS[kind]
    with wb.Watch("rows", out=tmp_path) as watch:
        buffer = watch.buffer(0, make())
        for row in rows(200):
            put(buffer, row)
        for _ in range(20):
            buffer.sample(16)
    evidence, found = Evidence(wb.load(watch.path)), wb.doctor(watch.path)
    stored = evidence.of("stored")
    assert stored["reward"].tolist() == list(range(1, 201)) and stored["done"].sum() == 20
    assert [row[1] for row in rows(200)] == stored["action"].tolist() and len(evidence.of("sampled")) > 100
    assert {name: found[name].verdict for name in ("rows", "done", "windows")} == dict.fromkeys(
        ("rows", "done", "windows"), "pass"
    )


def test_observations_of_several_parts_are_watched_too(tmp_path):
    with wb.Watch("parts", out=tmp_path) as watch:
        for row in rows(200):
            given = dictionary(row)
            watch.store(0, given["obs"], given["act"], given["rew"], given["done"], next_obs=given["next_obs"])
        for _ in range(20):
            drawn = [dictionary(row) for row in random.sample([*rows(200)], 16)]
            states, following = (
                {part: np.array([row[name][part] for row in drawn]) for part in ("left", "right")}
                for name in ("obs", "next_obs")
            )
            actions, rewards, done = (np.array([row[name] for row in drawn]) for name in ("act", "rew", "done"))
            watch.sample(0, states, actions, rewards, following, done)
    assert wb.doctor(watch.path)["rows"].verdict == "pass"


def test_a_deque_is_still_a_sequence_that_can_be_drawn_from(tmp_path):
    with wb.Watch("drawn", out=tmp_path) as watch:
        buffer = watch.buffer(0, deque(maxlen=3))
        for row in rows(5):
            buffer.append(row)
        assert len(random.sample(buffer, 2)) == 2 and buffer[-1] is row


@pytest.mark.parametrize(
    ("given", "says"),
    [((1, 2), "a row of 2 parts"), ((np.zeros(3), 0, np.ones(3), np.ones(3), False), "a row of 5 parts")],
)
def test_a_row_of_which_nothing_is_known_is_told_by_the_doctor_and_stored_all_the_same(tmp_path, given, says):
    with wb.Watch("unknown", out=tmp_path) as watch:
        buffer = watch.buffer(0, deque())
        buffer.append(given)
    found = wb.doctor(watch.path)
    assert len(buffer) == 1 and "and `recording` says why" in found["rows"].sentence
    assert found["recording"].sentence.startswith("1 records could not be taken: ValueError") and says in str(found)
