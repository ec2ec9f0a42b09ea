"""What the doctor says of weights that were copied whole, in parts, without effect, or by lines that nobody wrapped.

``tests/watch`` has a whole trainer with its defects.
"""

import copy

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.watch import tables, watch
from workbench.watch.findings import Evidence


class Copies:
    """A learner, a shared model and an actor's model, whose copies are watched."""

    def __init__(self, watch, agent=0):
        self.watch, self.agent = watch, agent
        self.learner, self.shared, self.actor = (torch.nn.Linear(4, 3) for _ in range(3))

    def publish(self, wrapped=True):
        with torch.no_grad():
            for parameter in self.learner.parameters():
                parameter.add_(1.0)
        if wrapped:
            with self.watch.publish(self.agent, source=self.learner, target=self.shared):
                self.shared.load_state_dict(self.learner.state_dict())
        else:
            self.shared.load_state_dict(self.learner.state_dict())

    def sync(self, source=None):
        with self.watch.sync(self.agent, source=self.shared, target=self.actor):
            if source is not None:
                self.actor.load_state_dict(source)


@pytest.fixture
def copies(tmp_path):
    with wb.Watch("copies", out=tmp_path) as watch:
        yield Copies(watch)


def judged(copies):
    copies.watch.close()
    return wb.doctor(copies.watch.path)


def test_whole_publications_are_taken_for_what_they_are(copies):
    copies.sync(copies.shared.state_dict())  # initial weights are legitimate
    for _ in range(3):
        copies.publish()
        copies.sync(copies.shared.state_dict())
    found = judged(copies)
    assert (found.verdict, found["torn"].verdict, found["sync"].verdict) == ("true", "pass", "pass")
    assert found.text.startswith("The actor acts with what the learner published: TRUE.")


def test_tensors_of_two_publications_are_torn_weights(copies):
    copies.publish()
    earlier = copy.deepcopy(copies.shared.state_dict())
    copies.publish()
    copies.sync({"weight": copies.shared.weight, "bias": earlier["bias"]})
    found = judged(copies)
    assert found["torn"].broken == ("mixed",) and found["torn"].agents == (0,)
    assert found.verdict == "false" and found.exit_code == 1


def test_weights_of_another_agent_are_foreign_and_not_torn(tmp_path):
    with wb.Watch("two", agents=2, out=tmp_path) as both:
        own, other = Copies(both), Copies(both, agent=1)
        for _ in range(3):
            own.publish()
            other.publish()
            with both.publish(0, source=own.learner, target=own.shared):  # while it is being written
                with both.sync(0, source=other.shared, target=own.actor):
                    own.actor.load_state_dict(other.shared.state_dict())
    found = judged(own)
    assert found["sync"].broken == ("other agent",) and found["torn"].verdict == "pass"


def test_a_write_that_nobody_wrapped_is_no_accusation(copies):
    copies.publish()
    copies.publish(wrapped=False)
    copies.sync(copies.shared.state_dict())
    assert "a write that you did not wrap" in judged(copies)["torn"].sentence


def test_a_sync_without_effect_is_seen(copies):
    copies.publish()
    copies.sync()
    assert judged(copies)["sync"].broken == ("no effect",)


def test_what_was_not_recorded_is_asked_for(copies):
    found = judged(copies)
    assert {check.verdict for check in found.checks} == {"cannot tell", "pass"} and not found.failed
    assert found["rows"].sentence == "Cannot tell: add `watch.store(...)` to the actor."
    assert found.verdict == "cannot tell" and found.exit_code == 2


def explore(copies, own_decay, every):
    """Three hundred actions, and an update after each; the actor's epsilon is copied, and changed by itself or not."""
    for model in (copies.learner, copies.shared, copies.actor):
        model.epsilon = 1.0
    for step in range(300):
        if step % every == 0:
            with copies.watch.sync(0, source=copies.learner, target=copies.actor):
                if not own_decay:
                    copies.actor.epsilon = copies.learner.epsilon
        with copies.watch.act(0, model=copies.actor) as act:
            act.action = 0
        copies.actor.epsilon *= 0.99 if own_decay else 1.0
        copies.learner.epsilon *= 0.995


def test_an_epsilon_that_is_counted_twice_is_seen(copies):
    explore(copies, own_decay=True, every=10)
    found = judged(copies)["epsilon"]
    assert found.verdict == "fail" and found.broken == ("actor",) and "both change, each by itself" in found.sentence


@pytest.mark.parametrize("every", [1, 10, 100])
def test_an_epsilon_that_comes_with_the_syncs_is_right_however_old(copies, every):
    explore(copies, own_decay=False, every=every)
    assert judged(copies)["epsilon"].verdict == "pass"


def test_without_time_to_look_what_arrives_is_still_known(copies, monkeypatch):
    monkeypatch.setattr(watch, "BUDGET", 0.0)
    updates = 1500
    for _ in range(updates):
        with copies.watch.update(0, online=copies.learner):
            copies.publish()
        copies.sync(copies.shared.state_dict())
    found, evidence = judged(copies), Evidence(wb.load(copies.watch.path))
    assert (found.verdict, found["torn"].verdict, found["sync"].verdict) == ("true", "pass", "pass")
    looked = {role: len(evidence.looks[role, 0]) for role in (tables.ONLINE, *watch.ARRIVED)}
    assert looked[tables.ONLINE] < 0.15 * updates and {looked[role] for role in watch.ARRIVED} == {updates}
    assert f"published {updates} times" in found["publish"].sentence
    late = evidence.looks[tables.ONLINE, 0].key & 0xFFFF_FFFF
    assert np.count_nonzero(late > late.max() // 2) >= 8  # now and then it is looked at to the end
