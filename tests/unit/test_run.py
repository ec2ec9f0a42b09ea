"""A run's states, names, results and its folder, with the work done in this process instead of in children."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import types
import warnings

import numpy as np
import pytest

import workbench as wb
from tests.unit import inprocess
from tests.unit.watched import TABLES
from workbench.core.envs.treasurehunt import Treasurehunt, TreasurehuntConfig
from workbench.core.processes.supervisor import ChildFailed
from workbench.core.train.hooks import Hook
from workbench.runs import run as run_module
from workbench.runs.compare import Comparison
from workbench.runs.folder import RecordError, RecordWarning, RunFolder
from workbench.runs.loaded import RunError

CONFIG = wb.preset("tiny").replace(
    **{"epochs": 6, "evaluation.interval": 3, "evaluation.worlds": 2, "evaluation.final_worlds": 2, "device": "cpu"}
)


class InProcess:
    """Stands in for the supervisor: the test says when something happens, and it happens here."""

    def __init__(self, plan, logs, _children):
        config, lag = plan.config, plan.lag or 0
        self.parts = inprocess.build(config, lag, plan.hooks)
        self.config, self.lag = config, lag
        self.progress, self.shared = self.parts.progress, self.parts
        self.error, self.startup_s, self.starts = None, 0.5, 0
        self.children, self.listeners, self._ended = [], [], threading.Event()

    def start(self):
        self.starts += 1

    def open(self):
        self.parts.trainer.publish_initial()
        self.progress.report_ready(0)
        self.progress.open_barrier()

    def play(self, epochs):
        for epoch in epochs:
            self.parts.collector.epoch(epoch, max(0, epoch - self.lag))
            self.parts.collector.evaluator.after_epoch(epoch)
            for agent in self.parts.trainer.agents:
                self.parts.trainer.epoch(agent, epoch)
            self.deliver()

    def deliver(self):
        for table, (records, lost) in self.parts.reader.drain().items():
            if len(records) or lost:
                for listener in self.listeners:
                    listener.take_records(table, records, lost)

    def end(self, whole=True):
        if whole:
            self.progress.report_end(0)
            self.parts.collector.finish()
        self.deliver()
        for listener in self.listeners:
            listener.end()
        self._ended.set()

    drain = deliver

    def stop(self, now=False):
        if not self._ended.is_set() and self.starts:
            self.end(whole=False)

    def let_go(self):
        self._ended.set()

    def wait(self, timeout=None):
        return self._ended.wait(timeout)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(run_module, "Supervisor", InProcess)
    monkeypatch.setattr(run_module, "REFERENCE_EPOCHS", 4)
    with inprocess.as_in_a_child():
        yield


@pytest.fixture
def launch(tmp_path):
    def launch(config=CONFIG, mode="sequential", lag=1, **options):
        return wb.launch(config, mode, lag, out=tmp_path, **options)

    return launch


def work(run, epochs=CONFIG.epochs):
    """The run's supervisor, after a number of epochs."""
    run._supervisor.open()
    run._supervisor.play(range(epochs))
    return run._supervisor


def finish(run):
    work(run).end()
    return run


# States


def test_a_run_goes_from_created_to_finished(launch):
    run = launch(start=False)
    assert (run.status, run.ended) == ("created", False)
    assert run.start() is run and run.status == "starting"
    run._supervisor.open()
    assert (run.status, run.ended) == ("running", False)
    run._supervisor.play(range(CONFIG.epochs))
    run._supervisor.end()
    assert (run.status, run.ended) == ("finished", True)
    assert run.wait().status == run.result.status == "finished"


def test_a_run_that_is_stopped_keeps_what_it_has(launch):
    with launch() as run:
        work(run, epochs=3)
        assert run.progress["epochs"] == 3
    assert run.status == run.result.status == "stopped"
    assert len(run.history.epochs) == 3 * CONFIG.num_agents
    assert run.result.greedy_reward is None and run.result.agent_steps == 3 * 20 * 2
    run.stop()
    assert run.status == "stopped"


def test_the_seconds_of_a_run_end_with_it(launch):
    run = launch()
    work(run, 3)
    run.stop()
    assert run.progress["elapsed_s"] == run.result.wall_s > 0


def test_a_run_that_was_saved_elsewhere_needs_its_old_folder_no_more(launch, tmp_path):
    run = finish(launch(note="odd", tags=["x"]))
    loss, old = run.history["losses/loss"], run.folder.path
    (old / "weights.npy").unlink()
    saved = wb.load(run.save(tmp_path / "elsewhere"))
    assert (saved.note, saved.tags) == ("odd", ("x",))
    assert saved.description["ended"] == wb.load(old).description["ended"]
    np.testing.assert_array_equal(run.newest_weights, saved.weights)
    shutil.rmtree(old)
    np.testing.assert_array_equal(run.history["losses/loss"], loss)


def test_runs_that_need_not_be_equal_are_not_called_different(launch):
    def why_not(run, **about):
        known = dict.fromkeys(("status", "config", "lag", "settings", "description", "incidents"))
        one = types.SimpleNamespace(**{name: getattr(run, name) for name in known})
        return Comparison(one, types.SimpleNamespace(**{**vars(one), **about})).why_not_identical

    run = finish(launch())
    assert why_not(run) == "" and why_not(run, lag=3) == "the lags differ"
    assert "continued without it" in why_not(run, incidents=("learner 0 died; run continues without it",))
    run.lag = None
    assert "depend on timing" in why_not(run)


def test_stopping_a_finished_run_changes_nothing(launch):
    run = finish(launch())
    before = run.result
    run.stop()
    assert run.status == "finished" and run.result == before


def test_a_run_that_was_never_started_can_be_stopped_and_then_not_started(launch):
    run = launch(start=False)
    with pytest.raises(RunError, match=r"never started; call run.start\(\)"):
        run.wait()
    run.stop()
    assert run.status == "stopped" and run.ended
    with pytest.raises(RunError, match="is stopped; launch a new one"):
        run.start()
    with pytest.raises(RunError):
        _ = run.result


def test_a_run_starts_once(launch):
    run = launch()
    with pytest.raises(RunError, match=f"run {run.name} was started before and is starting; launch a new one"):
        run.start()
    finish(run)
    with pytest.raises(RunError, match="is finished"):
        run.start()
    assert run._supervisor.starts == 1


def test_what_is_there_only_at_the_end_is_refused_before_it(launch):
    run = launch()
    for early in ("starting", "running"):
        assert run.status == early
        with pytest.raises(RunError, match=f"run {run.name} is {early}; its result is there after"):
            _ = run.result
        with pytest.raises(RunError, match="has no weights"):
            _ = run.weights
        with pytest.raises(TimeoutError, match=r"after 0\.01 s; it continues"):
            run.wait(timeout=0.01)
        if early == "starting":
            run._supervisor.open()
    run.stop()


def test_a_failed_run_raises_where_it_is_waited_for_and_keeps_what_it_has(launch):
    run = launch()
    supervisor = work(run, epochs=2)
    supervisor.error = ChildFailed("learner 1 failed:\nTraceback\nKeyError: 'thing'")
    supervisor.end(whole=False)
    assert run.status == run.result.status == "failed" and run.error is supervisor.error
    with pytest.raises(ChildFailed, match="learner 1 failed"):
        run.wait()
    again = wb.load(run.folder.path)
    assert again.status == "failed" and "KeyError: 'thing'" in str(again.error)
    assert len(again.history.epochs) == 2 * CONFIG.num_agents


def test_an_interpreter_that_ends_stops_the_runs_that_still_run(launch):
    run, over = launch(), finish(launch())
    work(run, epochs=1)
    run_module._stop_all()
    assert run.status == "stopped" and over.status == "finished"


# Results


def test_the_result_is_what_the_parts_say(launch):
    run = finish(launch())
    parts, result = run._supervisor.parts, run.result
    assert result.digest == inprocess.digests(parts)
    steps, updates = CONFIG.epochs * 20 * 2, CONFIG.total_updates * 2
    assert (result.mode, result.lag, result.seed) == ("sequential", 1, CONFIG.seed)
    assert (result.agent_steps, result.updates) == (steps, updates)
    assert result.replay_ratio == updates / steps and result.startup_s == 0.5
    assert result.wall_s == pytest.approx(parts.progress.end_time - parts.progress.start_time)
    assert result.agent_steps_per_s == pytest.approx(steps / result.wall_s)
    assert result.updates_per_s == pytest.approx(updates / result.wall_s)
    assert result.sync_lag["versions"]["max"] == 1
    rewards = run.history.epochs["reward"].reshape(CONFIG.epochs, 2).sum(1)
    assert result.reward == {"first_tenth": rewards[0], "last_tenth": rewards[-1]}
    final = run.history.evaluations[run.history.evaluations["final"] == 1]
    assert result.greedy_reward == pytest.approx(final["reward"].sum())
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_progress_counts_while_the_run_is_running(launch):
    run = launch()
    assert run.progress["epochs"] == run.progress["elapsed_s"] == run.progress["updates_per_s"] == 0
    work(run, epochs=4)
    progress = run.progress
    assert (progress["epochs"], progress["rows"], progress["agent_steps"]) == (4, 80, 160)
    assert progress["updates"] == 3 * CONFIG.pacing.updates_per_epoch * 2
    assert progress["updates_per_s"] * progress["elapsed_s"] == pytest.approx(progress["updates"])
    finish_time = run._supervisor
    finish_time.play(range(4, CONFIG.epochs))
    finish_time.end()
    assert run.progress == run.progress  # the clock has stopped


def test_weights_can_start_another_run(launch):
    weights = finish(launch()).weights
    assert weights.shape == (2, 2 * CONFIG.agent.layout(CONFIG.spec.agents[0]).size) and weights.dtype == np.float32
    assert launch(weights=weights, start=False).folder.read_description()["warm_start"] is True
    for wrong in (weights[:1], weights[:, :-1], weights[0]):
        with pytest.raises(RunError, match=r"weights have shape .* needs \(2, \d+\)"):
            launch(weights=wrong)


# The folder


def test_a_run_is_the_same_when_it_is_loaded(launch):
    run = finish(launch())
    again = wb.load(run.folder.path)
    assert (again.name, again.mode, again.lag, again.config) == (run.name, "sequential", 1, CONFIG)
    assert (again.status, again.ended, again.device, again.label) == ("finished", True, "cpu", run.label)
    assert again.result == run.result and again.error is None
    np.testing.assert_array_equal(again.weights, run.weights)
    for table in TABLES:
        np.testing.assert_array_equal(again.history.table(table), run.history.table(table))
    assert again.references == run.references and set(again.references) == {"random", "random_no_wall", "scripted"}
    assert again.progress["updates"] == run.progress["updates"] and again.progress["epochs"] == CONFIG.epochs


def test_the_folder_is_named_after_the_run_and_says_everything(launch, tmp_path):
    run = finish(launch(name="mine"))
    assert run.name == "mine" and run.folder.path == tmp_path / "mine"
    described = run.folder.read_description()
    assert wb.Config.from_dict(described["config"]) == CONFIG
    assert described["threads"] == 1 and described["machine"]["pid"] == os.getpid()
    assert {"python", "torch", "numpy", "workbench"} <= set(described["machine"]["versions"])
    assert described["created"] <= described["ended"] and described["status"] == "finished"


def test_runs_without_a_name_get_different_ones_that_say_what_they_are(launch):
    names = {launch(mode="multiprocess", lag=lag, start=False).name for lag in (1, 1, None)}
    assert len(names) == 3
    assert sum("multiprocess-lag1-seed0" in name for name in names) == 2
    assert sum("multiprocess-free-seed0" in name for name in names) == 1


def test_runs_that_a_cluster_begins_in_the_same_second_have_different_names():
    names = [run_module.new_name(wb.preset("tiny"), "multiprocess", 1) for _ in range(500)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["../out", "a/b", "/tmp/x", ".hidden", "", "a b", "x" * 101])
def test_a_name_that_could_leave_the_folder_is_refused(launch, tmp_path, name):
    if name:
        with pytest.raises(RecordError, match="the run's name is"):
            launch(name=name)
        assert not list(tmp_path.iterdir())
    else:
        assert launch(name=name, start=False).name


def test_a_folder_that_exists_is_refused_and_left_alone(launch, tmp_path):
    finish(launch(name="mine"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")}
    with pytest.raises(RecordError, match="it exists already; choose another name"):
        launch(name="mine")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")} == before


@pytest.mark.parametrize(
    "refused",
    [
        lambda launch: launch(lag=-1),
        lambda launch: launch(mode="parallel"),
        lambda launch: launch(CONFIG.replace(device="cuda:77")),
        lambda launch: launch(CONFIG.replace(**{"processes.acting_device": "cuda:77"})),
        lambda launch: launch(CONFIG.replace(**{"replay.capacity": 200})),
        lambda launch: launch(weights=np.zeros(3, np.float32)),
        lambda launch: launch(world=type("Mine", (TreasurehuntConfig,), {})),
        lambda launch: launch(world=type("Mine", (Treasurehunt,), {})),
        lambda launch: launch(world=dict),
        lambda launch: launch(hooks=[type("Mine", (Hook,), {})()]),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_folder(launch, tmp_path, refused):
    with pytest.raises((wb.ConfigError, RunError)):
        refused(launch)
    assert not list(tmp_path.iterdir())


TINY = wb.preset("tiny").replace(device="cpu")


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda out: wb.launch("tiny", out=out), wb.ConfigError, r"config is 'tiny'; .* such as wb\.preset\('quick'\)"),
        (lambda out: wb.compare(None, out=out), wb.ConfigError, "config is None; it must be a configuration"),
        (lambda out: wb.sweep("tiny", {"seed": [1]}, out=out), wb.ConfigError, "config is 'tiny'; it must be"),
        (lambda out: wb.launch(TINY, hooks=[3], out=out), wb.ConfigError, "hooks is 3; each must be a .*hooks.Hook"),
        (lambda out: wb.launch(TINY, faults="sync_nevr", out=out), ValueError, "no fault 'sync_nevr'; .*sync_never"),
        (lambda out: TINY.replace(seed=-1), wb.ConfigError, "seed is -1; it must be at least 0"),
        (lambda out: TINY.replace(seed=2**63), wb.ConfigError, r"it must be a whole number below 2\*\*63"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(tmp_path, call, error, says):
    with pytest.raises(error, match=says):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_hold_run_folders_is_refused_with_what_chooses_another(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="choose another place for it with out= or --out"):
        wb.launch(TINY, out=tmp_path / "file")


@pytest.mark.parametrize("option", ["world", "hooks"])
def test_a_class_of_a_notebook_cell_is_refused_with_the_reason_and_the_remedy(launch, monkeypatch, option):
    notebook = types.ModuleType("__main__")
    base = TreasurehuntConfig if option == "world" else Hook
    notebook.Mine = type("Mine", (base,), {"__module__": "__main__"})
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    value = notebook.Mine if option == "world" else [notebook.Mine()]
    with pytest.raises(
        wb.ConfigError, match=r"Mine is defined in a notebook cell.*cannot import it\. Write it to a module"
    ):
        launch(**{option: value})


# What fails beside the run


class OneCopyOnly(TreasurehuntConfig):
    """A world that can be trained in, but not in the many copies that the reference policies are played in."""

    def make(self, rng):
        assert self.num_worlds <= CONFIG.evaluation.worlds
        return Treasurehunt(self, rng)


def test_a_world_that_the_reference_policies_cannot_play_in_is_trained_in_all_the_same(launch):
    run = finish(launch(world=OneCopyOnly))
    assert run.references == {} and "the reference policies could not play in the run's world" in run.warnings[0]
    with pytest.raises(RecordError, match="test_run:OneCopyOnly"):
        wb.load(run.folder.path)
    again = wb.load(run.folder.path, world=OneCopyOnly)
    assert (run.status, again.status, again.result) == ("finished", "finished", run.result)
    assert again.references == {}
    np.testing.assert_array_equal(again.weights, run.weights)


def test_the_reference_policies_take_a_bounded_amount_of_memory(launch, monkeypatch):
    monkeypatch.setattr(run_module, "REFERENCE_EPOCHS", 400)
    monkeypatch.setattr(run_module, "reference_rewards", lambda world, epochs, seed: {"random": {"epochs": epochs}})
    run = launch(CONFIG.replace(**{"world.height": 1000, "world.width": 200}), start=False)
    assert {each["epochs"] for each in run.references.values()} == {100}
    run.stop()


def test_an_end_that_cannot_be_recorded_is_an_end_all_the_same(launch, monkeypatch):
    run = launch()
    supervisor = work(run)
    monkeypatch.setattr(run, "_summarise", lambda status: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        supervisor.end()
    again = wb.load(run.folder.path)
    assert (run.status, run.ended, again.status) == ("failed", True, "failed")
    assert "division by zero" in str(again.error)
    run.folder.hold()  # nobody else does


def test_an_interrupt_before_the_children_are_started_leaves_nobody_waiting(launch, monkeypatch):
    written = []

    def interrupted(folder, description):
        written.append(description["status"])
        if description["status"] == "starting":
            raise KeyboardInterrupt
        write(folder, description)

    write = RunFolder.write_description
    monkeypatch.setattr(RunFolder, "write_description", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(name="mine")
    assert written == ["created", "starting", "stopped"]


# Cut off by a crash


def test_a_run_whose_parent_died_is_cut_off_and_keeps_what_is_whole(launch, tmp_path):
    run = launch()
    work(run, epochs=3)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    described = run.folder.read_description()
    assert wb.load(run.folder.path).status in ("starting", "running")
    described["machine"]["pid"] = gone.pid
    run.folder.write_description(described)
    with open(run.folder.path / "updates.records", "ab") as file:
        file.write(b"half a record")
    with pytest.warns(RecordWarning, match="cut off after 13 of"):
        again = wb.load(run.folder.path)
    assert again.status == "cut off"
    np.testing.assert_array_equal(again.history.updates, run.history.updates)
    assert again.references == {} and again.progress["epochs"] == 3
    with pytest.raises(RunError, match="is cut off and left no result; its history is there"):
        _ = again.result
    with pytest.raises(RunError, match="has no weights"):
        _ = again.weights
    run.stop()


def test_no_folder_at_all_is_refused(tmp_path):
    with pytest.raises(RecordError, match="is no run folder"):
        wb.load(tmp_path)


# Full disks


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while ``disk.full``."""
    state = types.SimpleNamespace(full=True)

    def unless_full(method):
        def call(self, *arguments):
            if state.full:
                raise RecordError(f"cannot write {len(arguments[-1])} things to {self.path}: No space left on device")
            return method(self, *arguments)

        return call

    for name in ("append", "write_description", "write_result", "write_array"):
        monkeypatch.setattr(RunFolder, name, unless_full(getattr(RunFolder, name)))
    return state


def test_records_that_found_the_disk_full_are_written_later_in_order(launch, disk):
    disk.full = False
    run = launch()
    run._supervisor.open()
    for epoch in range(CONFIG.epochs):
        disk.full = epoch in (1, 2, 4)
        run._supervisor.play([epoch])
    disk.full = False
    run._supervisor.end()
    with pytest.warns(RecordWarning, match="No space left"):
        assert run.wait().status == "finished"
    again = wb.load(run.folder.path)
    for table in TABLES:
        np.testing.assert_array_equal(again.history.table(table), run.history.table(table))


def test_a_run_on_a_full_disk_continues_in_memory_and_says_so_once(launch, disk):
    disk.full = False
    run = launch(start=False)
    disk.full = True
    run.start()
    finish(run)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert run.wait().status == "finished"
    texts = [str(warning.message) for warning in given if warning.category is RecordWarning]
    assert texts and len(texts) <= len(TABLES) + 2, texts  # not once per record
    assert len(run.history.updates) == 2 * CONFIG.total_updates and run.result.greedy_reward is not None


def test_a_disk_that_is_full_before_the_run_starts_is_said_at_once(launch, disk, tmp_path):
    with pytest.raises(RecordError, match="No space left"):
        launch()


def test_every_field_of_a_result_survives_its_file(launch):
    run = finish(launch())
    data = json.loads((run.folder.path / "result.json").read_text())
    assert set(data) == {item.name for item in dataclasses.fields(wb.Result)}


# Telemetry


def test_dropped_telemetry_is_counted_and_shown_wherever_the_run_is_looked_at(launch):
    run = launch()
    assert run.losses == []
    work(run)
    run.take_records("updates", np.empty(0, TABLES["updates"]), 1200)
    run.take_records("probes", np.empty(0, TABLES["probes"]), 34)
    run._supervisor.end()
    for seen in (run, wb.load(run.folder.path)):
        assert seen.history.lost["updates"] == 1200
        for text in (repr(seen), seen.diagnose().text.splitlines()[0]):
            assert "finished, 1,234 records lost (updates, probes)" in text
    with pytest.warns(RecordWarning, match=r"1,234 records lost \(updates, probes\)"):
        run.wait()


def test_one_lost_record_is_no_lost_records(launch):
    run = launch()
    run.take_records("updates", np.empty(0, TABLES["updates"]), 1)
    assert run.losses == ["1 record lost (updates)"]


# Pausing and checkpoints


def test_only_a_run_that_is_going_on_can_be_paused_continued_or_checkpointed(launch):
    run = launch(start=False)
    asked = {"paused": run.pause, "continued": run.proceed, "checkpointed": run.checkpoint}
    for what, ask in asked.items():
        with pytest.raises(RunError, match=f"is created; only a run that is under way can be {what}"):
            ask()
    finish(run.start())
    for what, ask in asked.items():
        with pytest.raises(RunError, match=f"is finished; only a run that is under way can be {what}"):
            ask()
    assert not run.paused


def test_a_run_is_paused_until_it_continues_and_a_checkpoint_is_a_wish(launch):
    run = launch()
    work(run, 1)
    run.pause()
    assert run.paused and run._supervisor.progress.paused
    assert run.folder.read_description()["paused_until"] is None  # a doctor elsewhere takes no pause for a hang
    run._supervisor.ring = lambda: None
    run.proceed()
    assert not run.paused and run.folder.read_description()["paused_until"] > run.description["created"]
    run.checkpoint()
    assert run._checkpoints.counters.asked
    run.stop()


def test_a_run_that_keeps_no_checkpoints_says_so(launch):
    run = launch(CONFIG.replace(**{"checkpoint.keep": 0}))
    with pytest.raises(RunError, match=r"keeps no checkpoints, as checkpoint\.keep is 0; launch it with 1 or more"):
        run.checkpoint()
    run.stop()


def test_a_comparison_whose_second_run_is_refused_leaves_none_that_waits(tmp_path):
    beside = CONFIG.replace(**{"replay.max_age": 1})  # too young at this lag
    with pytest.raises(wb.ConfigError, match="max_age"):
        wb.compare(CONFIG, lag=3, beside=beside, out=tmp_path)
    assert [each.status for each in wb.runs(tmp_path)] == ["stopped"]
