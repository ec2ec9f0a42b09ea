"""What the doctor says of weights that were copied whole, in parts, without effect, or by lines that nobody wrapped.

``tests/watch`` has a whole trainer with its defects.
"""

import copy

import pytest
import torch

import workbench as wb


class Copies:
    """A learner, a shared model and an actor's model, whose copies are watched."""

    def __init__(self, watch):
        self.watch = watch
        self.learner, self.shared, self.actor = (torch.nn.Linear(4, 3) for _ in range(3))

    def publish(self, wrapped=True):
        with torch.no_grad():
            for parameter in self.learner.parameters():
                parameter.add_(1.0)
        if wrapped:
            with self.watch.publish(0, source=self.learner, target=self.shared):
                self.shared.load_state_dict(self.learner.state_dict())
        else:
            self.shared.load_state_dict(self.learner.state_dict())

    def sync(self, source=None):
        with self.watch.sync(0, source=self.shared, target=self.actor):
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
