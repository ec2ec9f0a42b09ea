"""The recording side of the watch: files that survive, numbers that stay the same, and nothing left behind."""

import errno
import multiprocessing as mp
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import weakref
from multiprocessing import forkserver
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.runs.folder import RecordError
from workbench.watch import tables
from workbench.watch.findings import Evidence
from workbench.watch.storage import FileReader, RecordFile
from workbench.watch.tensors import View, epsilon_of, hash_frames
from workbench.watch.watch import NoWatch

NUMBER = st.integers(-(2**62), 2**62)


@pytest.fixture
def watch(tmp_path):
    with wb.Watch("mine", agents=2, gamma=0.9, n_step=1, tau=0.5, frames=2, out=tmp_path) as made:
        yield made


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def train(watch, epochs=3):
    """A trainer in one process; returns everything that it computes."""
    rng = np.random.default_rng(0)
    online, target, actor = network(), network(), network()
    optimizer = torch.optim.Adam(online.parameters())
    rows, losses = [], []
    for epoch in range(epochs):
        watch.episode()
        with watch.sync(0, source=online, target=actor):
            actor.load_state_dict(online.state_dict())
        frames = [np.zeros(3, np.float32)] * 2
        for turn in range(8):
            frames = [frames[1], rng.random(3, dtype=np.float32)]
            with watch.act(0, model=actor) as act:
                act.action = int(actor(torch.from_numpy(np.concatenate(frames)[None])).argmax())
            watch.store(0, frames[1], act.action, 1.0, turn == 7, index=len(rows))
            rows.append((np.concatenate(frames), act.action, 1.0, turn == 7))
        for _ in range(4):
            picked = rng.integers(0, len(rows) - 1, 5)
            s, a, r, d = (torch.from_numpy(np.array([rows[k][n] for k in picked])) for n in range(4))
            following = torch.from_numpy(np.array([rows[k + 1][0] for k in picked]))
            watch.sample(0, s, a, r, following, d, indices=picked)
            with watch.update(0, online=online, target=target, optimizer=optimizer) as update:
                bootstrap = target(following).amax(1).detach()
                goal = r.float() + 0.9 * bootstrap * ~d
                q = online(s).gather(1, a[:, None])[:, 0]
                loss = (q - goal).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for mine, its in zip(target.parameters(), online.parameters(), strict=True):
                        mine.lerp_(its, 0.5)
                update.log(loss=loss, q=q, target=goal, bootstrap=bootstrap)
            losses.append(loss.item())
        watch.epoch(epoch, reward=8.0, loss=losses[-1])
    watch.result([online])
    return losses, online, target, optimizer


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), NUMBER, st.floats(width=32)), max_size=60))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_once_and_in_order_whatever_the_portions(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("file") / "one.watch"
    file, reader = RecordFile(path, {"pid": 1}, lambda size, bulk: True), FileReader(path)
    read = {"a": [], "b": []}
    for k, (name, number, value) in enumerate(records):
        table = file.table(name, [("number", "<i8", 1), ("value", "<f4", 2000)])  # 8 KB: blocks fill up
        file.write(table, table.pack(number, *[value] * 2000))
        if k % 7 == 0:
            for each, found in reader.read():
                read[each] += found["number"].tolist()
    for each, found in reader.read():
        read[each] += found["number"].tolist()
    assert read == {name: [number for each, number, _ in records if each == name] for name in ("a", "b")}


def test_fields_and_tables_that_are_no_longer_written_are_passed_over(watch):
    file = RecordFile(watch.path / "watch" / "1-1.watch", {"pid": 1}, lambda size, bulk: True)
    acts = file.table("acts", [("size", "<i4", 1), *(fields := tables.TABLES["acts"][0])])
    file.write(acts, acts.pack(9, *[0] * len(fields)))
    gone = file.table("gone", [("time", "<f8", 1)])
    file.write(gone, gone.pack(1.0))
    watch.close()
    found = Evidence(wb.load(watch.path)).of("acts")
    assert len(found) == 1 and found.dtype.names == (*(name for name, *_ in fields), "file")


def test_a_file_without_room_counts_what_it_loses(tmp_path):
    file = RecordFile(tmp_path / "one.watch", {}, lambda size, bulk: not bulk)
    bulk, light = (file.table(name, [("number", "<i8", 1)], bulk=name == "bulk") for name in ("bulk", "light"))
    before = time.time()
    file.write(bulk, bulk.pack(0) * 2)
    after = time.time()
    for number in range(1, 3):
        file.write(bulk, bulk.pack(number) * 2)
    for number in range(3):
        file.write(light, light.pack(number))
    reader = FileReader(tmp_path / "one.watch")
    assert [(name, found["number"].tolist()) for name, found in reader.read()] == [("light", [0, 1, 2])]
    assert reader.numbers()["lost"] == 6
    assert before <= reader.numbers()["lost_since"] <= after


def test_a_full_file_says_so_after_a_call_that_failed_for_another_reason(tmp_path):
    file = RecordFile(tmp_path / "one.watch", {}, lambda size, bulk: False)
    file.lost = 1
    rows = file.table("rows", [("number", "<i8", 1)])
    file.write(rows, rows.pack(0))
    reader = FileReader(tmp_path / "one.watch")
    assert list(reader.read()) == [] and reader.numbers()["lost"] == 2 and reader.numbers()["lost_since"] > 0
    assert "larger max_mb" in reader.lines[-1]["error"]


def test_rows_stored_before_there_was_room_for_a_file_accuse_nobody(tmp_path, monkeypatch):
    def refuse(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rng = np.random.default_rng(0)
    seen = rng.random((401, 3)).astype(np.float32)
    with wb.Watch("late", out=tmp_path) as made:
        with monkeypatch.context() as full:
            full.setattr(os, "posix_fallocate", refuse)
            for t in range(100):
                made.store(0, seen[t], 0, 0.0, False, next_obs=seen[t + 1])
        for t in range(100, 400):
            made.store(0, seen[t], 0, 0.0, False, next_obs=seen[t + 1])
            drawn = rng.integers(0, t, 16)
            made.sample(0, seen[drawn], np.zeros(16), np.zeros(16), seen[drawn + 1], np.zeros(16))
    found = wb.doctor(made.path)
    assert found["rows"].verdict == "cannot tell" and "at first there was no room" in found["recording"].sentence


@pytest.mark.parametrize("given", [list, lambda optimizers: dict(zip("ab", optimizers, strict=True))])
def test_a_network_with_several_optimisers_is_watched(watch, given):
    networks = [torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)]
    optimizers = [torch.optim.SGD(network.parameters(), 0.1) for network in networks]
    for _ in range(3):
        with watch.update(0, online=networks, optimizer=given(optimizers)):
            for network, optimizer in zip(networks, optimizers, strict=True):
                network(torch.ones(2, 4)).sum().backward()
                optimizer.step()
    watch.close()
    updates = Evidence(wb.load(watch.path)).of("updates")
    assert updates["optimizer_has"].tolist() == [1.0] * 3 and updates["update"].tolist() == [1, 2, 3]


class Doubled(torch.nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_network_that_must_be_compiled_as_a_whole_is_watched_and_not_broken(watch):
    network = Doubled(4, 3)
    network.compile(backend="eager", fullgraph=True)
    for _ in range(3):
        with watch.act(0, model=network), torch.no_grad():
            network(torch.ones(2, 4))
        with watch.update(0, online=network):
            network(torch.ones(2, 4)).sum().backward()
    watch.close()
    found = Evidence(wb.load(watch.path))
    assert found.of("updates")["training"].tolist() == found.of("acts")["training"].tolist() == [1] * 3


KILLED = """
import os, signal, sys
from pathlib import Path
from workbench.watch.storage import RecordFile
file = RecordFile(Path(sys.argv[1]), {}, lambda size, bulk: True)
table = file.table("numbers", [("number", "<i8", 1), ("again", "<i8", 3)])
number = 0
print("ready", flush=True)
while True:
    file.write(table, table.pack(number, number, number, number))
    number += 1
"""


def test_kill_9_loses_at_most_the_record_that_was_being_written(tmp_path):
    path = tmp_path / "one.watch"
    child = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    child.stdout.readline()
    reader, seen = FileReader(path), 0
    while seen < 20_000:
        seen += sum(len(found) for _, found in reader.read())
    child.kill()
    child.communicate()
    found = np.concatenate([records for _, records in FileReader(path).read()])
    assert found["number"].tolist() == list(range(len(found))) and (found["again"] == found["number"][:, None]).all()
    assert len(found) >= seen


def test_a_watched_trainer_computes_the_same_numbers_and_keeps_its_objects(watch):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    losses, online, target, _ = train(watch)
    plain, other, other_target, _ = train(NoWatch())
    assert losses == plain
    for mine, its in zip([*online.parameters(), *target.parameters()],
                         [*other.parameters(), *other_target.parameters()], strict=True):  # fmt: skip
        assert torch.equal(mine, its)
    assert vars(online).keys() == vars(other).keys() and not online._forward_pre_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert np.array_equal(states[1], np.random.get_state()[1]) and states[2] == random.getstate()


def test_without_a_watch_every_call_does_nothing():
    watch = wb.watching()
    assert not watch and train(watch)[0]
    buffer = [1, 2]
    assert watch.buffer(0, buffer) is buffer


def test_the_folder_is_an_ordinary_run(watch, tmp_path):
    train(watch)
    run = wb.load(watch.path)
    assert (run.status, run.label) == ("finished", "watched")
    assert len(run.history["losses/loss"]) == 12 and run.history.series("charts/reward")[1].tolist() == [8.0] * 3
    assert run.history.series("reported/loss", agent=0)[1][-1] == np.float32(run.history["losses/loss"][-1])
    assert [info.name for info in wb.runs(tmp_path)] == ["mine"]
    assert run.refresh().history is run.history
    panel = wb.Panel(run)
    assert panel.wait(60) and "Loss" in panel.figure().alt
    assert not [line for line in panel._feed.lines if line.kind == "due"]  # epsilon is due by its own schedule
    with pytest.raises(RecordError, match="exists already"):
        wb.Watch("mine", out=tmp_path)
    with pytest.raises(wb.RunError, match="mine is of a trainer that was watched; only its own program can continue"):
        wb.resume(watch.path)
    with pytest.raises(RecordError, match="has no timeline: it is of a trainer that was watched"):
        run.timeline()
    assert wb.runs(tmp_path)[0].cell("epochs") == "-"  # how many it wants, nobody but itself knows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"agents": 0}, "agents is 0; it must be 1 to 65536 agents"),
        ({"frames": 0}, "frames is 0; it must be 1 to 65536 frames"),
        ({"gamma": 2}, r"gamma is 2.0; it must be 0 to 1 \(a share or a probability\)"),
        ({"capacity": 0}, "capacity is 0; it must be at least 1 row"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1 epoch"),
    ],
)
def test_a_declaration_is_refused_by_the_name_that_it_has_in_the_call(tmp_path, given, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        wb.Watch("refused", out=tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_wrong_use_raises_with_the_remedy_and_what_cannot_be_taken_is_counted(watch):
    with pytest.raises(ValueError, match="agent is 7; it must be 0 to 1"):
        watch.store(7, np.zeros(3), 0, 0.0, False)
    watch.store(0, object(), 0, 0.0, False)
    with watch.sync(0, source=object(), target=None):
        pass
    found = wb.load(watch.path).history.recording
    assert sum(reader.numbers()["lost"] for reader in found.files.values()) >= 2  # and not one was raised
    assert any("error" in line for reader in found.files.values() for line in reader.lines)


def _child(epoch):
    wb.watching().epoch(epoch, agent=1, reward=float(epoch))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_every_kind_find_the_watch(watch, method):
    context = mp.get_context(method)
    child = context.Process(target=_child, args=(3,))
    child.start()
    child.join()
    assert child.exitcode == 0
    if method == "forkserver":
        forkserver._forkserver._stop()  # it would outlive the test
    watch.close()
    assert wb.load(watch.path).history.epochs["epoch"].tolist() == [3]


def test_a_subprocess_finds_the_watch_and_a_killed_one_leaves_no_lock(watch):
    script = "import os, workbench as wb; wb.watching().epoch(4, reward=1); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    watch.close()
    assert wb.load(watch.path).history.epochs["epoch"].tolist() == [4, 4]


def test_a_watch_that_was_sent_elsewhere_is_the_same(watch):
    assert pickle.loads(pickle.dumps(watch)).path == watch.path
    assert os.environ["WORKBENCH_WATCH"].endswith(f" {watch.path}")


def test_fingerprints_are_of_the_bits_and_frames_of_the_numbers():
    one, other = network(), network()
    assert View(one).sums() == View(other).sums()
    with torch.no_grad():
        other[0].bias[0] = torch.nextafter(other[0].bias[0], torch.tensor(9.0))
    sums = [View(each).sums() for each in (one, other)]
    assert [a == b for a, b in zip(*sums, strict=True)] == [True, False, True, True]
    frames, count, _ = hash_frames(np.array([[1, 2, 0, 0], [0, 0, 1, 2]]), 2, slice(None))
    assert count == 2 and frames[0, 0] == frames[1, 1] != 0 and frames[0, 1] == 0
    assert hash_frames(np.ones(5), 2)[1] == 1


def test_networks_in_a_dictionary_are_seen_as_those_in_a_list_are():
    networks = [network(), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())]
    listed, named = View(networks), View(dict(enumerate(networks)))
    assert listed.layout == named.layout and listed.layout.sensitive == "Dropout"
    assert listed.modules == named.modules and "1.0.weight" in named.layout.names


class WithProperty(torch.nn.Linear):
    eps = property(lambda self: 0.25)


class Delegating(torch.nn.Module):
    def __getattr__(self, name):
        return 0.25 if name == "exploration_rate" else super().__getattr__(name)


def test_epsilon_is_found_wherever_a_model_has_it():
    plain, attribute, buffer, parameter = (torch.nn.Linear(2, 2) for _ in range(4))
    attribute.epsilon = 0.25
    buffer.register_buffer("epsilon", torch.tensor(0.25))
    parameter.epsilon = torch.nn.Parameter(torch.tensor(0.25))
    others = WithProperty(2, 2), Delegating(), SimpleNamespace(epsilon=0.25)
    assert [epsilon_of(each) for each in (attribute, buffer, parameter, *others)] == [0.25] * 6
    assert all(np.isnan(epsilon_of(each)) for each in (plain, {"epsilon": 1.0}, None))


def test_what_was_logged_is_not_kept_beyond_its_block(tmp_path):
    online = network()
    with wb.Watch("kept", out=tmp_path) as watch, watch.update(0, online=online) as update:
        values = online(torch.ones(2, 6))
        kept = weakref.ref(values)
        update.log(loss=values.sum(), q=values, target=values, bootstrap=values)
        del values
    assert kept() is None and update is not None
    found = wb.load(tmp_path / "kept").history.table("updates")
    assert np.isfinite(found["loss"]).all() and np.isfinite(found["mean_q"]).all()


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_what_a_table_can_hold_are_read_without_a_warning(watch):
    train(watch, epochs=1)
    for epoch in (1, 2**31 - 1):  # the greatest of its kind, as of a trainer that counts steps
        with watch.update(0) as update:
            update.log(loss=torch.tensor(1e300, dtype=torch.float64))
        watch.epoch(epoch, reward=1e39, epsilon=1e300, spread=1e300)
    run = wb.load(watch.path)
    assert run.history["losses/loss"][-1] == run.history["reported/spread"][-1] == np.inf
    assert run.history.epochs["epoch"].max() == 2**31 - 1 and run.progress["updates"] == 6
    assert "values are not finite" in str([axes.texts[-1] for axes in wb.side_by_side(run).axes])
    assert run.diagnose().text


@pytest.mark.parametrize(("capacity", "rows"), [(None, [8, 16, 24]), (10, [8, 10])])
def test_a_buffer_never_has_more_rows_to_sample_from_than_it_holds(tmp_path, capacity, rows):
    with wb.Watch("mine", agents=1, gamma=0.9, capacity=capacity, out=tmp_path) as watch:
        train(watch)
    assert list(dict.fromkeys(wb.load(watch.path).history["replay/fill"].tolist())) == rows


def test_records_of_no_time_are_refused(watch):
    train(watch, epochs=1)
    (file,) = (watch.path / "watch").iterdir()
    (name, last) = [each for each in FileReader(file).read() if each[0] == "epochs"][-1]
    file.write_bytes(file.read_bytes().replace(last["time"][-1:].tobytes(), np.array([np.inf]).tobytes()))
    with pytest.raises(RecordError, match=f"no watch has written its records of '{name}'"):
        wb.load(watch.path)
