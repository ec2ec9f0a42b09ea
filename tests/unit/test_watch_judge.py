"""What the doctor says of weights that were copied whole, in parts, without effect, or by lines that nobody wrapped.

``tests/watch`` has a whole trainer with its defects.
"""

import copy
import multiprocessing as mp
import os

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.watch import tables, tensors, watch
from workbench.watch.findings import Evidence, Looks, together
from workbench.watch.tensors import Layout


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
            writing = both.publish(0, source=own.learner, target=own.shared)
            with writing, both.sync(0, source=other.shared, target=own.actor):
                own.actor.load_state_dict(other.shared.state_dict())
    found = judged(own)
    assert found["sync"].broken == ("other agent",) and found["torn"].verdict == "pass"


def test_a_write_that_nobody_wrapped_is_no_accusation(copies):
    copies.publish()
    copies.publish(wrapped=False)
    copies.sync(copies.shared.state_dict())
    assert "a write that you did not wrap" in judged(copies)["torn"].sentence


def test_looks_of_events_that_overlap_are_paired_event_by_event():
    def looks(*keys):
        many = len(keys)
        sums = np.array(keys)[:, None]
        return Looks(np.arange(many), np.array(keys), np.zeros(many), sums, sums, np.zeros(many), ("w",), "p", "cpu")

    source, target = together(looks(3, 5, 8, 6), looks(5, 3, 6, 7))  # two processes copy at the same time
    assert source.key.tolist() == target.key.tolist() == [3, 5, 6]
    assert source.sums.tolist() == target.sums.tolist()


@pytest.mark.parametrize(("moves", "broken"), [(True, ()), (False, ("no effect",))])
def test_two_processes_that_each_keep_their_first_weights_never_take_new_ones(copies, moves, broken):
    copies.shared.share_memory()

    def act(number):
        first = {name: each + number for name, each in copies.shared.state_dict().items()}
        for _ in range(30):
            copies.publish()
            copies.sync(copies.shared.state_dict() if moves else first)

    for number in range(2):
        child = mp.get_context("fork").Process(target=act, args=(number,))
        child.start()
        child.join()
    assert judged(copies)["sync"].broken == broken


def test_an_actor_that_acts_with_what_is_published_into_needs_no_sync(copies):
    copies.shared.share_memory()

    def act():
        for _ in range(60):
            with copies.watch.act(0, model=copies.shared) as act:
                act.action = 0

    for _ in range(3):
        with copies.watch.update(0, online=copies.learner):
            copies.publish()
    child = mp.get_context("fork").Process(target=act)
    child.start()
    child.join()
    found = judged(copies)
    assert found.verdict == "true" and "acts with the memory that is published into" in found["sync"].sentence


def test_processes_that_train_one_network_are_not_said_to_be_one(copies):
    copies.shared.share_memory()

    def learn():
        for _ in range(5):
            with copies.watch.sync(0, source=copies.shared, target=copies.actor):
                copies.actor.load_state_dict(copies.shared.state_dict())
            with copies.watch.update(0, online=copies.shared), torch.no_grad():
                copies.shared.weight.add_(1.0)

    for _ in range(2):
        child = mp.get_context("fork").Process(target=learn)
        child.start()
        child.join()
    assert judged(copies)["sharing"].sentence.startswith("Agent 0: 2 processes train one network")


@pytest.mark.parametrize(("apart", "verdict"), [(False, "pass"), (True, "fail")])
def test_what_is_published_may_lie_on_a_card_unless_another_process_reads_it(copies, monkeypatch, apart, verdict):
    monkeypatch.setattr(tensors, "Layout", lambda *said: Layout(*said[:3], "cuda:0", said[4]))
    with copies.watch.update(0, online=copies.learner):
        copies.publish()
    child = mp.get_context("fork").Process(target=copies.sync)
    if apart:
        child.start()
        child.join()
    else:
        copies.sync()
    found = judged(copies)["device"]
    assert (found.verdict, "what is published lies on cuda:0" in found.sentence) == (verdict, apart)


@pytest.mark.parametrize(("following", "verdict"), [("next", "pass"), ("same", "fail"), ("before", "fail")])
def test_next_states_that_were_stored_wrong_are_seen(tmp_path, following, verdict):
    with wb.Watch("next", out=tmp_path) as made:
        rows, ends = np.arange(300.0).reshape(-1, 1) + 1, np.arange(300) % 20 == 19
        step = {"next": 1, "same": 0, "before": -1}[following]
        after = np.roll(rows, -step, axis=0)
        for k in range(300):
            made.store(0, rows[k], 0, 0.0, bool(ends[k]), next_obs=after[k])
        for k in range(20):
            picked = np.random.default_rng(k).integers(0, 299, 32)
            made.sample(0, rows[picked], np.zeros(32), np.zeros(32), after[picked], ends[picked])
    found = wb.doctor(made.path)["windows"]
    assert found.verdict == verdict, found.sentence


@pytest.mark.parametrize(("times", "verdict"), [(1, "pass"), (2, "fail")])
def test_rows_that_are_stored_twice_are_told_from_those_of_an_agent_that_stands_where_it_wants_to_be(
    tmp_path, times, verdict
):
    with wb.Watch("still", out=tmp_path) as made:
        walked = np.array([20 * epoch + min(step, 8) for epoch in range(20) for step in range(20)], float).reshape(
            -1, 1
        )
        rows, ends = np.repeat(walked, times, axis=0), np.repeat(np.arange(400) % 20 == 19, times)
        for row, end in zip(rows, ends, strict=True):
            made.store(0, row, 0, 0.0, bool(end))
        for k in range(20):
            picked = np.random.default_rng(k).integers(0, len(rows) - 1, 32)
            made.sample(0, rows[picked], np.zeros(32), np.zeros(32), rows[picked + 1], ends[picked])
    found = wb.doctor(made.path)["rows"]
    assert (found.verdict, "every row is stored more than once" in found.sentence) == (verdict, times == 2)


@pytest.mark.parametrize("told", [False, True])
def test_rows_without_any_end_are_no_proof_that_ends_are_marked(tmp_path, told):
    with wb.Watch("ends", out=tmp_path) as made:
        for step in range(10_500):
            if told and step % 500 == 0:
                made.episode()
            made.store(0, np.array([float(step)]), 0, 0.0, False)
    assert wb.doctor(made.path)["done"].verdict == ("fail" if told else "cannot tell")


def test_a_sync_without_effect_is_seen(copies):
    copies.publish()
    copies.sync()
    assert judged(copies)["sync"].broken == ("no effect",)


@pytest.mark.parametrize(("mine", "verdict"), [(False, "true"), (True, "false")])
def test_an_actor_that_acts_with_another_network_than_its_syncs_go_to_is_seen(copies, mine, verdict):
    model = torch.nn.Linear(4, 3) if mine else copies.actor
    for _ in range(6):
        copies.publish()
        copies.sync(copies.shared.state_dict())
        with copies.watch.act(0, model=model):
            model(torch.zeros(1, 4))
    found = judged(copies)
    assert found.verdict == verdict
    assert ("acts with a network that no sync brings weights to" in found["sync"].sentence) == mine


def test_what_was_not_recorded_is_asked_for(copies):
    found = judged(copies)
    assert {check.verdict for check in found.checks} == {"cannot tell", "pass"} and not found.failed
    assert found["rows"].sentence == "Cannot tell: add `watch.store(...)` to the actor."
    assert found.verdict == "cannot tell" and found.exit_code == 2


def explore(copies, own_decay, every):
    """Three hundred actions, with the learner's epsilon lower at each; the actor's is copied, or changes by itself."""
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


@pytest.mark.parametrize("stale", [False, True])
def test_an_epsilon_that_no_object_has_is_asked_for(copies, stale):
    assert "set `model.epsilon` to it before the block" in wb.doctor(copies.watch.path)["epsilon"].sentence
    for step in range(60):
        copies.actor.epsilon, copies.learner.epsilon = 0.9 if stale else 0.99**step, 0.99**step
        with copies.watch.act(0, model=copies.actor) as act:
            act.action = 0
        with copies.watch.update(0, online=copies.learner):
            pass
    found = judged(copies)["epsilon"]
    assert found.verdict == ("fail" if stale else "pass") and ("0.9 from beginning to end" in found.sentence) is stale


def test_a_hard_copy_that_never_comes_is_told_once_no_trainer_would_wait_that_long(tmp_path):
    online, target = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    with wb.Watch("hard", tau=1.0, out=tmp_path) as watch:
        for made in (1_000, 19_000):
            for _ in range(20):
                with watch.update(0, online=online, target=target, count=made // 20), torch.no_grad():
                    online.bias.add_(0.1)
            found = wb.doctor(watch.path)["target"]
            assert found.verdict == ("cannot tell" if made == 1_000 else "fail"), found.sentence
    assert "never moved in 20,000 updates" in found.sentence or "never moved in 20000 updates" in found.sentence


def test_a_hard_copy_that_no_look_has_met_is_no_accusation(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "BUDGET", 0.0)
    online, target = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    with wb.Watch("hard", tau=1.0, out=tmp_path) as watched:
        for update in range(1200):
            with watched.update(0, online=online, target=target, count=100), torch.no_grad():
                online.bias.add_(0.1)
            if update == 250:  # between two looks
                target.load_state_dict(online.state_dict())
            if update in (300, 1199):  # no look has come since, and one has
                assert wb.doctor(tmp_path / "hard")["target"].verdict == "cannot tell"


class Clock:
    """A clock that stands still unless it is set: what the watch takes for ``time``."""

    def __init__(self):
        self.now = 1_000_000.0

    def time(self):
        self.now += 1e-4
        return self.now

    perf_counter = time
    time_ns = staticmethod(lambda: 7)


@pytest.fixture
def hurried(copies, monkeypatch):
    """A watch that has no time to look at anything but in the seconds that are for looking."""
    clock = Clock()
    for name, value in (("BUDGET", 0.0), ("BUDGET_ARRIVED", 0.0), ("ALWAYS_ARRIVED", 20), ("time", clock)):
        monkeypatch.setattr(watch, name, value)
    return clock


def test_without_time_to_look_what_arrives_is_looked_at_in_some_seconds(copies, hurried):
    updates = 1500
    for _ in range(updates):
        hurried.now += 0.05
        with copies.watch.update(0, online=copies.learner):
            copies.publish()
        copies.sync(copies.shared.state_dict())
    copies.watch.result(copies.actor)
    found, evidence = judged(copies), Evidence(wb.load(copies.watch.path))
    for check in ("torn", "sync", "publish", "parts", "result"):
        assert found[check].verdict == "pass", found[check].sentence
    assert found.verdict == "true" and found["result"].sentence.endswith("newest weights.")
    looked = {role: len(evidence.looks[role, 0]) for role in (tables.ONLINE, *watch.ARRIVED)}
    assert looked[tables.ONLINE] < 0.15 * updates
    assert all(0.1 * updates < looked[role] < 0.2 * updates for role in watch.ARRIVED)
    seconds = {int(time) for role in watch.ARRIVED for time in evidence.looks[role, 0].time[30:-1]}
    assert {second % watch.SECONDS for second in seconds} == {0} and len(seconds) > 5
    assert f"published {updates} times" in found["publish"].sentence
    assert f"synced {updates} times and took new weights {updates} times" in found["sync"].sentence
    copied = sum(looked[role] for role in watch.ARRIVED) / (2 * updates)
    assert f"{copied:.0%} of the copies" in found["recording"].sentence
    late = evidence.looks[tables.ONLINE, 0].key & 0xFFFF_FFFF
    assert np.count_nonzero(late > late.max() // 2) >= 8  # now and then it is looked at to the end


def publish_around(copies, hurried, between, keep=0.01):
    """Publish, and let the actor sync while the next publication is half done: ``between`` gives what it takes."""
    with torch.no_grad():
        for parameter in copies.learner.parameters():
            parameter.add_(1.0)
    before, after = copy.deepcopy(copies.shared.state_dict()), copies.learner.state_dict()
    with copies.watch.publish(0, source=copies.learner, target=copies.shared):
        hurried.now += keep
        copies.sync(between(before, after))
        hurried.now += keep
        copies.shared.load_state_dict(after)


def whole_before(before, after):
    return before


def half_of_each(before, after):
    return {"weight": after["weight"], "bias": before["bias"]}


def test_without_time_to_look_half_a_copy_is_seen_in_the_seconds_for_looking(copies, hurried):
    torn = 0
    for update in range(1500):
        hurried.now += 0.03
        takes = half_of_each if update > 100 and update % 7 == 0 else whole_before
        torn += takes is half_of_each
        publish_around(copies, hurried, takes)
    found = judged(copies)["torn"]
    assert found.broken == ("mixed",), found.sentence
    seen = int(found.figure.split()[0])
    assert 0.05 * torn < seen < 0.25 * torn


def test_a_whole_copy_beside_a_publication_is_not_torn_though_few_were_looked_at(copies, hurried):
    for _ in range(1500):
        hurried.now += 0.03
        publish_around(copies, hurried, whole_before)
    assert judged(copies)["torn"].verdict == "pass"


def test_half_a_copy_of_unknown_origin_is_not_called_whole_where_few_were_looked_at(copies, hurried):
    known, copies.shared = copies.shared, torch.nn.Linear(4, 3)
    for update in range(1500):
        hurried.now += 0.03
        with torch.no_grad():
            for parameter in copies.learner.parameters():
                parameter.add_(1.0)
        before, after = copy.deepcopy(known.state_dict()), copies.learner.state_dict()
        with copies.watch.publish(0, source=copies.learner, target=known):
            if update > 300:
                with copies.watch.sync(0, target=copies.actor):
                    copies.actor.load_state_dict(half_of_each(before, after))
            known.load_state_dict(after)
    found = judged(copies)
    assert (found.verdict, found["torn"].verdict) == ("cannot tell", "cannot tell")
    assert "syncs took weights that nobody has looked at" in found["torn"].sentence


@pytest.mark.parametrize(("places", "behind"), [(2, 0), (2, 1), (8, 5)])
def test_publications_to_several_places_in_turn_are_not_torn_though_few_were_looked_at(copies, hurried, places, behind):
    models = [torch.nn.Linear(4, 3) for _ in range(places)]
    for update in range(1500):
        hurried.now += 0.04
        copies.shared = models[(update - behind - 1) % places]  # the actor reads it while another one is written
        with torch.no_grad():
            for parameter in copies.learner.parameters():
                parameter.add_(1.0)
        with copies.watch.publish(0, source=copies.learner, target=models[update % places]):
            if update >= places:
                copies.sync(copies.shared.state_dict())
            models[update % places].load_state_dict(copies.learner.state_dict())
    found = judged(copies)["torn"]
    assert found.verdict == "pass" and "syncs were looked at, and each took one whole publication" in found.sentence


def test_a_sync_that_copies_nothing_is_not_torn_beside_a_publication(copies):
    for _ in range(40):
        with copies.watch.publish(0, source=copies.learner, target=copies.shared):
            copies.sync()
            copies.shared.load_state_dict(copies.learner.state_dict())
    found = judged(copies)
    assert (found["sync"].broken, found["torn"].broken) == (("no effect",), ())


def test_syncs_more_often_than_publications_are_not_rare_behind_the_last_look(copies, hurried):
    for _ in range(260):
        hurried.now += 0.05
        with copies.watch.update(0, online=copies.learner):
            copies.publish()
        for _ in range(3):
            copies.sync(copies.shared.state_dict())
    assert judged(copies)["sync"].verdict == "pass"


def test_a_source_without_tensors_hides_no_sync_that_is_not_looked_at(copies, monkeypatch):
    monkeypatch.setattr(copies.watch._call(), "looks", lambda *_: False)
    for _ in range(30):
        copies.publish()
        with copies.watch.sync(0, source={"step": 3}, target=copies.actor):
            copies.actor.load_state_dict(copies.shared.state_dict())
    found = judged(copies)
    assert "synced 30 times and took new weights 30 times" in found["sync"].sentence
    assert found["torn"].verdict == "pass", found["torn"].sentence
    assert found["recording"].verdict == "pass", found["recording"].sentence


def test_syncs_after_the_last_look_are_as_new_as_that_one(copies, hurried):
    for _ in range(500):
        hurried.now += 0.05
        copies.sync(copies.shared.state_dict())
    assert "synced 500 times and took new weights 1 times" in judged(copies)["sync"].sentence


def test_a_source_that_was_trained_in_place_until_the_first_publication_is_no_sharing(copies, hurried):
    for _ in range(30):
        copies.publish(wrapped=False)
        with copies.watch.sync(0, source=copies.learner, target=copies.actor):
            copies.actor.load_state_dict(copies.learner.state_dict())
    for _ in range(30):
        with copies.watch.update(0, online=copies.learner):
            copies.publish()
        copies.sync(copies.shared.state_dict())
    assert judged(copies)["sharing"].sentence == "Agent 0: the learner trains memory of its own."


@pytest.mark.parametrize(("held", "verdict"), [("shared", "pass"), ("copy", "cannot tell"), ("initial", "fail")])
def test_a_parent_that_holds_what_was_published_into_needs_no_last_look(copies, hurried, held, verdict):
    copies.shared.share_memory()
    initial = copy.deepcopy(copies.shared)

    def learn():
        for _ in range(100):
            copies.publish()
            hurried.now += 0.05
        os._exit(0)  # as one that is terminated, without a last look

    child = mp.get_context("fork").Process(target=learn)
    child.start()
    child.join()
    models = {"shared": copies.shared, "copy": copy.deepcopy(copies.shared), "initial": initial}
    copies.watch.result(models[held])
    assert judged(copies)["result"].verdict == verdict


def test_an_old_publication_that_somebody_handed_on_is_not_torn_though_few_were_looked_at(copies, hurried):
    known, handed_on = [], copies.shared
    for _ in range(600):
        hurried.now += 0.1
        known.append(copy.deepcopy(copies.shared.state_dict()))
        copies.shared = torch.nn.Linear(4, 3)  # the actor copies from memory that nobody watches being filled
        copies.shared.load_state_dict(known[max(0, len(known) - 25)])
        taken, copies.shared = copies.shared, handed_on
        with torch.no_grad():
            for parameter in copies.learner.parameters():
                parameter.add_(1.0)
        with copies.watch.publish(0, source=copies.learner, target=handed_on):
            handed_on.load_state_dict(copies.learner.state_dict())
            with copies.watch.sync(0, source=taken, target=copies.actor):
                copies.actor.load_state_dict(taken.state_dict())
    found = judged(copies)["torn"]
    assert found.verdict != "fail", found.sentence


def test_agents_of_one_network_take_their_own_weights_though_few_were_looked_at(tmp_path, hurried):
    with wb.Watch("shared", agents=2, out=tmp_path) as watched:
        both = Copies(watched, 0), Copies(watched, 1)
        both[1].learner, both[1].shared = both[0].learner, both[0].shared
        for _ in range(1500):
            hurried.now += 0.09
            both[0].publish()
            with watched.publish(1, source=both[1].learner, target=both[1].shared):
                hurried.now += 0.05
            for each in both:
                each.sync(each.shared.state_dict())
    assert {name: judged(both[0])[name].verdict for name in ("sync", "torn")} == {"sync": "pass", "torn": "pass"}


@pytest.mark.parametrize("what", ["sync", "publish"])
def test_copies_that_stop_are_told_though_few_were_looked_at(copies, hurried, what):
    for update in range(1500):
        hurried.now += 0.05
        with copies.watch.update(0, online=copies.learner):
            pass
        if what == "sync" or update < 600:
            copies.publish()
        if what == "publish" or update < 600:
            copies.sync(copies.shared.state_dict())
    found = judged(copies)
    assert found[what].broken == ("rarely",)
    assert found.hypothesis.sentence.count(found[what].sentence) == 1  # and not once more among the likely reasons


@pytest.mark.parametrize(
    ("epochs", "every", "says"), [(4, 1, None), (20, 10, "50% of all updates were made, in 10 epochs,")]
)
def test_epochs_with_many_updates_are_not_taken_for_rare_copies(copies, epochs, every, says):
    for epoch in range(epochs):
        if epoch % every == 0:
            copies.sync(copies.shared.state_dict())
        for _ in range(100):
            with copies.watch.update(0, online=copies.learner):
                pass
        if epoch % every == 0:
            copies.publish()
        copies.watch.epoch(epoch, agent=0, reward=1.0)
    found = judged(copies)
    assert found["sync"].verdict == "pass"
    assert found["publish"].verdict == "pass" if says is None else says in found["publish"].sentence


class BothNetworks:
    """A shared model of two networks, which an actor copies from while the learner trains in the very same memory."""

    def __init__(self):
        self.local, self.other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)


def test_a_model_of_two_networks_that_is_trained_in_place_is_not_torn_by_what_nobody_looked_at(copies, monkeypatch):
    shared, actor = BothNetworks(), BothNetworks()
    with copies.watch.publish(0, source=shared, target=shared):  # what is published is itself what is trained
        pass
    for step in range(20):
        if step == 6:
            monkeypatch.setattr(copies.watch._call(), "looks", lambda *_: False)
        with copies.watch.update(0, online=shared.local, target=shared.other), torch.no_grad():
            shared.local.weight += 1
            shared.other.weight += 0.1
            if step == 4 or step > 10:  # the actor reads in the middle of an update
                take_all(copies, shared, actor)
            shared.local.bias += 1
        take_all(copies, shared, actor)
    torn = judged(copies)["torn"]
    assert torn.broken == ("mixed",) and torn.figure == "1 of 30 syncs"


def take_all(copies, shared, actor):
    with copies.watch.sync(0, source=shared, target=actor):
        actor.local.load_state_dict(shared.local.state_dict())
        actor.other.load_state_dict(shared.other.state_dict())


def test_a_sync_that_never_brings_anything_is_seen_where_its_sources_were_not_looked_at(copies, monkeypatch):
    monkeypatch.setattr(watch, "BUDGET", 0.0)
    monkeypatch.setattr(watch, "ALWAYS_COPIES", 0)
    copies.actor.load_state_dict(copies.shared.state_dict())
    for _ in range(3):
        copies.sync()
    monkeypatch.setattr(copies.watch._call(), "looks", lambda *_: False)
    for _ in range(20):
        copies.publish()
        copies.sync()
    assert judged(copies)["sync"].broken == ("no effect",)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_that_leave_by_a_queue_are_published_without_a_target(copies, whole):
    queue = []
    for _ in range(5):
        copies.publish(wrapped=False)
        with copies.watch.publish(0, source=copies.learner):
            queue.append(copy.deepcopy(copies.learner.state_dict()))
        taken = queue[-1] if whole else {"weight": queue[-1]["weight"], "bias": queue[0]["bias"]}
        with copies.watch.sync(0, target=copies.actor):
            copies.actor.load_state_dict(taken)
    found = judged(copies)
    assert found["publish"].verdict == "pass" and found["sharing"].verdict == "cannot tell"
    assert found["torn"].verdict == ("pass" if whole else "fail")
    assert "show what is sent" in found["parts"].sentence


def play(watch, seed, steps, n_step=1, summed=False, spoil=1.0, following=True):
    """Episodes of ten steps into rows, and batches of all of them, whose rewards are summed over n steps."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(steps // 10):
        seen, rewards = rng.random((11, 3)).astype(np.float32), rng.random(10)
        sums = [sum(0.9**k * rewards[t + k] for k in range(n_step)) for t in range(10 - n_step)]
        for t, total in enumerate(sums):
            rows.append((seen[t], 0, spoil * total, seen[t + n_step], 0))
            reward, span = (total, n_step) if summed else (rewards[t], 1)
            watch.store(0, seen[t], 0, reward, False, next_obs=seen[t + span] if following else None)
        watch.episode(0)
    for _ in range(4):
        watch.sample(0, *(np.array(each) for each in zip(*rows, strict=True)))


@pytest.mark.parametrize(("summed", "says"), [(True, "already summed"), (False, "span 3 steps")])
def test_rows_that_were_summed_before_they_were_stored_are_not_taken_for_rows_of_one_step(tmp_path, summed, says):
    with wb.Watch("rows", out=tmp_path, gamma=0.9, n_step=3) as made:
        play(made, 0, 200, n_step=3, summed=summed)
    found = wb.doctor(made.path)["n_step"]
    assert found.verdict != "fail" and says in found.sentence


def test_rewards_that_fit_no_number_of_steps_are_shown(tmp_path):
    with wb.Watch("rows", out=tmp_path, gamma=0.9, n_step=3) as made:
        play(made, 0, 200, n_step=3, spoil=2.0)
    assert "where the steps sum up to" in wb.doctor(made.path)["n_step"].sentence


def test_actors_that_play_for_one_agent_each_have_episodes_of_their_own(tmp_path):
    with wb.Watch("rows", out=tmp_path, gamma=0.9, n_step=1) as made:
        actors = [
            mp.get_context("fork").Process(target=play, args=(made, k, 100, 1, False, 1.0, False)) for k in range(2)
        ]
        for each in actors:
            each.start()
        for each in actors:
            each.join()
    found = wb.doctor(made.path)
    assert found["windows"].verdict == "pass" and found["n_step"].verdict == "pass"


def test_a_buffer_that_grew_while_it_was_sampled_was_sampled_from_all_over(tmp_path):
    rng = np.random.default_rng(0)
    with wb.Watch("rows", out=tmp_path, n_step=1) as made:
        seen = rng.random((2001, 3)).astype(np.float32)
        for t in range(2000):
            made.store(0, seen[t], 0, 0.0, False, next_obs=seen[t + 1])
            if 100 <= t < 300 or t % 50 == 0:  # mostly early
                drawn = rng.integers(0, t + 1, 16)
                made.sample(0, seen[drawn], np.zeros(16), np.zeros(16), seen[drawn + 1], np.zeros(16))
    assert wb.doctor(made.path)["coverage"].verdict == "pass"


def drawn_after(place, rows, arrived):
    """What the doctor says of batches that are drawn of the rows that had arrived by then."""
    rng = np.random.default_rng(0)
    with wb.Watch("rows", out=place, n_step=1) as made:
        seen = rng.random((rows + 1, 3)).astype(np.float32)
        for t in range(rows):
            made.store(0, seen[t], 0, 0.0, False, next_obs=seen[t + 1])
            if t >= 100 and t % 20 == 0:
                drawn = rng.integers(0, arrived(t), 16)
                made.sample(0, seen[drawn], np.zeros(16), np.zeros(16), seen[drawn + 1], np.zeros(16))
    return wb.doctor(made.path)["coverage"]


def test_rows_that_may_wait_in_a_queue_are_not_said_to_be_sampled_wrongly(tmp_path):
    found = drawn_after(tmp_path, 2000, lambda t: t // 3)
    assert found.verdict == "fail" and "as in a queue" in found.sentence and "cannot tell which" in found.sentence


def test_a_copy_of_the_buffer_that_gets_no_new_rows_is_no_queue(tmp_path):
    found = drawn_after(tmp_path, 2000, lambda t: 100)
    assert found.verdict == "fail" and "new rows are hardly ever sampled" in found.sentence


@pytest.mark.parametrize(("cut", "expected"), [(0.0, "pass"), (1.0, "fail")])
def test_a_discount_of_zero_is_an_end_where_there_are_no_dones(tmp_path, cut, expected):
    rng = np.random.default_rng(0)
    with wb.Watch("rows", out=tmp_path, n_step=1) as made:
        seen = rng.random((401, 3)).astype(np.float32)
        for t in range(400):
            made.store(0, seen[t], 0, 0.0, t % 10 == 9)
        drawn = np.arange(400)
        for _ in range(4):
            discounts = np.where(drawn % 10 == 9, cut, 1.0)
            made.sample(0, seen[drawn], drawn * 0, drawn * 0.0, seen[drawn + 1], None, discounts=discounts)
    assert wb.doctor(made.path)["done"].verdict == expected


@pytest.mark.parametrize(("every", "expected"), [(1, "fail"), (10, "pass")])
@pytest.mark.parametrize("inside", [True, False])
def test_a_target_that_is_overwritten_at_every_update_is_none(tmp_path, every, expected, inside):
    online, target = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    with wb.Watch("updates", out=tmp_path, tau=1.0) as made, torch.no_grad():
        for step in range(60):
            with made.update(0, online=online, target=target):
                online.weight += 1
                if inside and step % every == 0:
                    target.load_state_dict(online.state_dict())
            if not inside and step % every == 0:
                target.load_state_dict(online.state_dict())
    assert wb.doctor(made.path)["target"].verdict == expected


def leave_early(watch, agents, updates):
    for agent in agents:
        for step in range(60):
            if updates:
                with watch.update(agent, online=torch.nn.Linear(2, 2)):
                    pass
            else:
                watch.store(agent, np.array([step]), 0, 0.0, False)


@pytest.mark.parametrize(("first_updates", "expected"), [(False, "pass"), (True, "fail")])
def test_an_actor_may_be_done_before_the_learner_and_a_learner_not_before_the_actor(tmp_path, first_updates, expected):
    with wb.Watch("processes", out=tmp_path) as made:
        for updates in (first_updates, not first_updates):
            child = mp.get_context("fork").Process(target=leave_early, args=(made, [0], updates))
            child.start()
            child.join()
    found = wb.doctor(made.path)["processes"]
    assert found.verdict == expected and "died" not in found.sentence


def act_and_leave(watch, killed):
    for step in range(60):
        watch.store(0, np.array([step]), 0, 0.0, False)
    if killed:
        os._exit(0)


@pytest.mark.parametrize(("killed", "expected"), [(False, "pass"), (True, "fail")])
def test_who_ended_in_order_shortly_before_the_others_is_not_called_dead(tmp_path, killed, expected):
    with wb.Watch("processes", out=tmp_path) as made:
        for step in range(400):
            with made.update(0, online=torch.nn.Linear(2, 2)):
                pass
            if step == 320:  # a fifth of the updates comes after the actor
                child = mp.get_context("fork").Process(target=act_and_leave, args=(made, killed))
                child.start()
                child.join()
    found = wb.doctor(made.path)["processes"]
    assert found.verdict == expected and ("died" in found.sentence) is killed


def learn_and_fail(watch, error):
    for _ in range(60):
        with watch.update(0, online=torch.nn.Linear(2, 2)):
            pass
    raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [(ValueError("no such row"), "(ValueError: no such row)"), (SystemExit("full"), "(SystemExit: full)"),
     (SystemExit(0), "ended in order")],
)  # fmt: skip
def test_who_ends_with_an_error_is_not_said_to_end_in_order(tmp_path, error, says):
    with wb.Watch("processes", epochs=2, out=tmp_path) as made:
        child = mp.get_context("fork").Process(target=learn_and_fail, args=(made, error))
        child.start()
        child.join()
        for step in range(400):
            made.store(0, np.array([step]), 0, 0.0, False)
    found = wb.doctor(made.path)["processes"]
    assert found.verdict == "fail" and says in found.sentence


def test_a_watch_that_an_error_ends_is_of_a_run_that_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), wb.Watch("failed", out=tmp_path):
        _ = 1 / 0
    run = wb.load(tmp_path / "failed")
    assert run.status == "failed" and "ZeroDivisionError: division by zero" in str(run.error)


class ListBuffer:
    def add(self, *row):
        self.row = row


@pytest.mark.parametrize(
    ("infos", "truncated"), [({}, -1), ({"final_info": [None]}, -1), ([{"TimeLimit.truncated": True}], 1)]
)
def test_a_buffer_takes_the_infos_of_vector_environments_too(tmp_path, infos, truncated):
    with wb.Watch("rows", out=tmp_path) as made:
        buffer = made.buffer(0, ListBuffer())
        buffer.add(np.zeros((1, 3)), np.ones((1, 3)), np.zeros(1), np.ones(1), np.zeros(1), infos)
    stored = Evidence(wb.load(made.path)).of("stored")
    assert stored["truncated"].tolist() == [truncated]
