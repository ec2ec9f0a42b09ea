"""The timeline of runs in child processes: what is recorded, drawn, written and refused, and that it costs no bit."""

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.unit.watched import SCHEMA
from workbench.cli import main
from workbench.core.processes.supervisor import children_of
from workbench.runs.folder import RunFolder
from workbench.runs.history import History
from workbench.runs.loaded import RunView
from workbench.view.timeline.lanes import LOOKS, MAX_PIECES
from workbench.view.timeline.recorder import WATCHED
from workbench.view.timeline.spans import SPANS, SpanKind, depths, of_process, spans_of
from workbench.view.timeline.timeline import LAST_S, Timeline, chrome_trace

CONFIG = wb.preset("tiny").replace(**{"device": "cpu", "epochs": 8, "checkpoint.interval": 5})
AGENTS = CONFIG.num_agents
S = 1_000_000_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each mode, a free one, and one without a timeline."""
    folder = tmp_path_factory.mktemp("runs")

    def run(name, mode, lag, **options):
        with wb.launch(CONFIG, mode, lag, name=name, out=folder, **options) as run:
            run.wait()
        return run

    return {
        "sequential": run("sequential", "sequential", 1),
        "multiprocess": run("multiprocess", "multiprocess", 1, probes=False),
        "free": run("free", "multiprocess", None),
        "without": run("without", "sequential", 1, timeline=False),
    }


class HandMade(RunView):
    """A run with spans made by hand, in a folder that describes it."""

    def __init__(self, path, processes=("actor", "learner 0"), status="running", recorded=True):
        description = {"processes": processes, "timeline": recorded, "clock_offset_ns": 5 * S}
        folder = RunFolder.create("made", description, path, SCHEMA)
        super().__init__(folder, CONFIG, History(SCHEMA), description | {"mode": "multiprocess", "lag": 1})
        self._status = status

    @property
    def status(self):
        return self._status

    def add(self, process, kind, start, end, agent=-1, epoch=-1, on_core=1.0):
        """A span between two times in seconds after the start."""
        record = np.zeros(1, SPANS)
        record[["start", "duration", "process", "kind", "agent", "epoch"]] = (
            1000 * S + start * S, (end - start) * S, process, kind, agent, epoch,
        )  # fmt: skip
        record["on_core"] = on_core * record["duration"]
        self.history.append("spans", record)
        return self


def made(path, **options):
    """Ten seconds: the actor acts half the time and waits the rest, the learner learns from the second second on."""
    run = HandMade(path, **options)
    for process in (0, 1):
        run.add(process, SpanKind.STARTING, -2, 0)
    for epoch in range(10):
        run.add(0, SpanKind.SYNCING, epoch, epoch + 0.1, epoch=epoch)
        run.add(0, SpanKind.ACTING, epoch, epoch + 0.5, epoch=epoch, on_core=0.4)
        run.add(0, SpanKind.WAITING, epoch + 0.5, epoch + 1, on_core=0)
    run.add(1, SpanKind.SAMPLING, 1, 2, agent=0).add(1, SpanKind.LEARNING, 1, 9, agent=0, epoch=3)
    run.add(0, SpanKind.EVALUATING, 10, 12, epoch=9)
    return run.add(1, SpanKind.PUBLISHING, 9, 10, agent=0, epoch=4)


# --- recording -----------------------------------------------------------------------------------------------------


def test_a_run_with_a_timeline_is_the_run_without_bit_for_bit(runs):
    assert runs["sequential"].result.digest == runs["multiprocess"].result.digest == runs["without"].result.digest
    assert len(spans_of(runs["without"].history)) == 0


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_every_piece_of_work_is_recorded_once(runs, mode):
    spans = spans_of(runs[mode].history)
    counted = Counter(SpanKind(kind) for kind in spans["kind"])
    updates = CONFIG.total_updates * AGENTS
    assert counted[SpanKind.ACTING] == CONFIG.epochs
    assert counted[SpanKind.LEARNING] == CONFIG.learning_epochs * AGENTS
    assert counted[SpanKind.SAMPLING] == counted[SpanKind.UPDATING] == updates
    assert counted[SpanKind.PUBLISHING] == (1 + CONFIG.epochs) * AGENTS
    assert counted[SpanKind.SYNCING] == CONFIG.epochs + 1
    assert counted[SpanKind.EVALUATING] == CONFIG.epochs // CONFIG.evaluation.interval + 1
    assert counted[SpanKind.STARTING] == len(children_of(CONFIG, mode))
    checkpoints = CONFIG.epochs // CONFIG.checkpoint.interval - runs[mode]._checkpoints.counters.skipped.get()
    assert counted[SpanKind.CHECKPOINTING] == checkpoints * (1 + AGENTS) > 0
    watched = {SpanKind[kind.upper()] for part in WATCHED.values() for kind, *_ in part.values()}
    assert set(counted) == watched | {SpanKind.STARTING}
    assert runs[mode].history.lost["spans"] == 0


def test_spans_say_whose_and_which_epoch(runs):
    spans = spans_of(runs["multiprocess"].history)
    acting, learning = (spans[spans["kind"] == kind] for kind in (SpanKind.ACTING, SpanKind.LEARNING))
    assert acting["epoch"].tolist() == list(range(CONFIG.epochs)) and set(acting["agent"]) == {-1}
    assert set(acting["process"]) == {0} and set(learning["process"]) == set(range(1, 1 + CONFIG.num_learners))
    for agent in range(AGENTS):
        own = learning[learning["agent"] == agent]
        assert own["epoch"].tolist() == list(range(CONFIG.epochs - CONFIG.learning_epochs, CONFIG.epochs))
    updating = spans[spans["kind"] == SpanKind.UPDATING]
    assert Counter(updating["agent"].tolist()) == dict.fromkeys(range(AGENTS), CONFIG.total_updates)


@pytest.mark.parametrize("mode", ["sequential", "multiprocess", "free"])
def test_what_lies_in_what_is_as_the_calls_were(runs, mode):
    for process in range(len(runs[mode].timeline().processes)):
        spans = of_process(spans_of(runs[mode].history), process)
        inner = spans[depths(spans) == 1]
        assert set(inner["kind"]) <= {SpanKind.SYNCING, SpanKind.SAMPLING, SpanKind.UPDATING, SpanKind.WAITING,
                                      SpanKind.PUBLISHING, SpanKind.CHECKPOINTING}  # fmt: skip
        assert depths(spans).max() == 1
        assert (spans["on_core"] <= spans["duration"] + 1_000_000).all()


def test_all_processes_read_one_clock(runs):
    """An epoch is learnt from only after it was collected, and the start was one moment for all."""
    run = runs["multiprocess"]
    spans, timeline = spans_of(run.history), run.timeline()
    ends = spans["start"] + spans["duration"]
    collected = {span["epoch"]: end for span, end in zip(spans, ends, strict=True) if span["kind"] == SpanKind.ACTING}
    for span in spans[spans["kind"] == SpanKind.LEARNING]:
        assert span["start"] >= collected[span["epoch"]]
    assert (ends[spans["kind"] == SpanKind.STARTING] >= timeline.origin_ns).all()
    offset = run.folder.read_description()["clock_offset_ns"]
    published = run.history.events["time"][run.history.events["kind"] == 1]
    recorded = (ends[spans["kind"] == SpanKind.PUBLISHING] + offset) / 1e9
    assert np.abs(np.sort(published) - np.sort(recorded)).max() < 1


def _of_an_earlier_start(folder):
    """A run that has ended, as if the machine had been on for eleven days more in that life; and its spans."""
    with wb.launch(CONFIG, "multiprocess", 1, name="mine", out=folder) as run:
        run.wait()
    path, far = run.folder.path, 10**15
    spans = np.fromfile(path / "spans.records", SPANS)
    spans["start"] += far
    spans.tofile(path / "spans.records")
    head = json.loads((path / "run.json").read_text())
    head["description"]["clock_offset_ns"] -= far
    (path / "run.json").write_text(json.dumps(head))
    return path, spans, head["description"]["clock_offset_ns"]


@pytest.mark.filterwarnings("ignore:the step size was")
def test_a_resume_that_was_killed_anywhere_leaves_the_earlier_life_where_it_was(tmp_path):
    path, earlier, offset = _of_an_earlier_start(tmp_path)
    for place in ("replace", "write_description"):  # in the middle of the tables, and once they are all set back
        script = f"""if True:
            import os, warnings
            import workbench as wb
            from workbench.runs.folder import RunFolder
            def killed(folder, *given):
                if {place!r} != "replace" or given[0] == "evaluations":
                    os.kill(os.getpid(), 9)
                return replace(folder, *given)
            replace, RunFolder.{place} = RunFolder.replace, killed
            wb.resume({str(path)!r}, epochs=12)"""
        assert subprocess.run([sys.executable, "-W", "ignore", "-c", script]).returncode == -9
    with wb.resume(path, epochs=12) as again:
        again.wait()
    later = wb.load(path)
    first = spans_of(later.history)[: len(earlier)]
    assert (first["start"] + later.description["clock_offset_ns"]).tolist() == (earlier["start"] + offset).tolist()
    assert len(later.description["resumed"]) == 1 and later.timeline().trained > 0


@pytest.mark.filterwarnings("ignore:the step size was")
def test_both_lives_of_a_resumed_run_lie_where_they_were_though_the_clock_began_again(tmp_path):
    path, earlier, clock = _of_an_earlier_start(tmp_path)
    with wb.resume(path, epochs=12) as again:
        again.wait()
    later = wb.load(path)
    (life,) = later.description["resumed"]
    spans, offset = spans_of(later.history), later.description["clock_offset_ns"]
    first = spans[: len(earlier)]
    assert (first["start"] + offset).tolist() == (earlier["start"] + clock).tolist()
    assert (first[["kind", "epoch", "duration"]] == earlier[["kind", "epoch", "duration"]]).all()
    assert (first["start"] + first["duration"] + offset).max() < 1e9 * life["time"] < (spans["start"] + offset).max()
    timeline = later.timeline()  # as of the newest life
    assert timeline.origin_ns + offset > 1e9 * life["time"] and 0 < timeline.trained < again.progress["elapsed_s"] + 60
    times = [event["ts"] for event in timeline.trace()["traceEvents"] if event["ph"] == "X"]
    assert len(times) == len(spans) and min(times) < -1e6 * timeline.trained / 2
    assert timeline.shares().of("actor")["working"] > 0.01


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_run_that_was_resumed_for_its_last_evaluation_alone_shows_its_training(mode, tmp_path):
    with wb.launch(CONFIG, mode, 1, name="mine", out=tmp_path) as run:
        run.wait()
    trained = run.timeline().trained
    (tmp_path / "mine" / "result.json").unlink()  # as where it was cut off while it evaluated
    with wb.resume(tmp_path / "mine") as again:
        assert again.wait().status == "finished"
    assert again.timeline().trained == trained and again.timeline().end > run.timeline().end


def test_a_call_that_is_broken_off_is_recorded_too(tmp_path):
    endless = CONFIG.replace(epochs=100_000, **{"exploration.decay_epochs": 10})
    with wb.launch(endless, "multiprocess", 0, out=tmp_path) as run:
        while len(spans_of(run.history)) < 200:
            assert not run._supervisor.wait(0.05), "the run ended by itself"
        assert run.timeline().shares().processes == ("actor", "learner 0", "learner 1")
    assert run.status == "stopped"
    for process in range(3):
        assert of_process(spans_of(run.history), process)["kind"][-1] == SpanKind.WAITING, "they leave where they wait"


# --- shares --------------------------------------------------------------------------------------------------------


def test_shares_of_a_run_made_by_hand(tmp_path):
    timeline = Timeline(made(tmp_path))
    assert (timeline.trained, timeline.end) == (10.0, 12.0)
    shares = timeline.shares()
    actor, learner = shares.of("actor"), shares.of("learner 0")
    near = pytest.approx
    assert (actor["working"], actor["waiting"], actor["other"]) == (near(0.5), near(0.5), near(0))
    assert (actor["acting"], actor["syncing"], actor["on a core"]) == (near(0.4), near(0.1), near(0.2))
    assert (learner["working"], learner["waiting"], learner["other"]) == (near(0.9), 0, near(0.1))
    assert (learner["learning"], learner["sampling"], learner["publishing"]) == (near(0.7), near(0.1), near(0.1))
    late = timeline.shares(last=4, until=12)
    assert (late.start, late.end) == (8, 12)
    assert late.of("actor")["evaluating"] == near(0.5) and late.of("learner 0")["other"] == near(0.5)
    with pytest.raises(KeyError, match="there is no process 'leaner 0'; there are actor, learner 0"):
        shares.of("leaner 0")


@pytest.mark.parametrize("mode", ["sequential", "multiprocess", "free"])
def test_shares_of_every_process_add_up(runs, mode):
    shares = runs[mode].timeline().shares()
    for process in shares.processes:
        own = shares.of(process)
        assert own["working"] + own["starting"] + own["waiting"] + own["other"] == pytest.approx(1)
        assert min(own.values()) >= -1e-9
    waiting = [shares.of(process)["waiting"] for process in shares.processes]
    assert (sum(waiting) < 0.02) == (mode == "sequential"), "it only looks whether it is paused"


def test_the_table_reads_the_same_as_text_markdown_and_html(tmp_path):
    shares = Timeline(made(tmp_path)).shares()
    head, actor, learner, *_ = repr(shares).splitlines()
    columns = ["working", "on a core", "waiting", "other", "acting", "syncing", "learning", "sampling", "publishing"]
    assert re.split(r"\s{2,}", head.strip()) == columns
    assert actor.split() == ["actor", "50.0%", "20.0%", "50.0%", "0.0%", "40.0%", "10.0%", "0.0%", "0.0%", "0.0%"]
    markdown = shares.table.markdown.splitlines()
    assert [cell.strip() for cell in markdown[2].strip("|").split("|")] == actor.split()
    assert {line.count("|") for line in markdown[:4]} == {len(columns) + 2}
    page = shares._repr_html_()
    assert re.findall(r'<th scope="col"[^>]*>([^<]+)<', page) == columns
    assert re.findall(r"<td[^>]*>([^<]+)<", page) == [*actor.split(), "learner 0", *learner.split()[2:]]


# --- trace ---------------------------------------------------------------------------------------------------------


def check_trace(trace, processes):
    """The rules of the Trace Event Format for what is used of it."""
    events = json.loads(json.dumps(trace))["traceEvents"]
    assert set(event["ph"] for event in events) == {"M", "X"}
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == dict(enumerate(processes))
    threads = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert threads == names
    assert {event["args"]["sort_index"] for event in events if event["name"] == "process_sort_index"} == set(names)
    pieces = [event for event in events if event["ph"] == "X"]
    for event in pieces:
        assert set(event) == {"ph", "name", "cat", "ts", "dur", "pid", "tid", "args"}
        assert isinstance(event["ts"], float) and isinstance(event["dur"], float) and event["dur"] >= 0
        assert (event["pid"], event["tid"]) == (event["tid"], event["pid"]) and event["pid"] in names
        assert event["name"] in {kind.name.lower() for kind in SpanKind}
    for process in names:  # what overlaps on a thread must be nested
        own = sorted((e["ts"], -e["dur"]) for e in pieces if e["tid"] == process)
        open_ends = []
        for start, minus in own:
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or start - minus <= open_ends[-1] + 1e-6
            open_ends.append(start - minus)
    return pieces


@pytest.mark.parametrize("mode", ["sequential", "multiprocess", "free"])
def test_the_trace_is_one_that_perfetto_opens(runs, mode, tmp_path):
    timeline = runs[mode].timeline()
    written = json.loads(timeline.save(tmp_path / "trace.json").read_text())
    assert len(check_trace(written, timeline.processes)) == len(timeline.spans)
    assert written["otherData"]["run"] == mode


def test_a_trace_has_microseconds_since_the_start_and_says_when_that_was(tmp_path):
    timeline = Timeline(made(tmp_path))
    pieces = check_trace(timeline.trace(), ["actor", "learner 0"])
    (learning,) = [event for event in pieces if event["name"] == "learning"]
    assert (learning["ts"], learning["dur"], learning["pid"]) == (1e6, 8e6, 1)
    assert learning["args"] == {"agent": 0, "epoch": 3, "on a core, ms": 8000.0}
    assert min(event["ts"] for event in pieces) == -2e6
    assert timeline.trace()["otherData"]["time 0 in seconds since 1970"] == 1005.0
    late = timeline.trace(last=1.25, until=8)["traceEvents"]
    assert [(e["name"], e["ts"]) for e in late if e["ph"] == "X"] == [
        ("waiting", 6.5e6), ("syncing", 7e6), ("acting", 7e6), ("waiting", 7.5e6), ("learning", 1e6),
    ]  # fmt: skip


@given(start=st.integers(0, 2**62), origin=st.integers(0, 2**40), duration=st.integers(0, 2**40))
def test_times_in_a_trace_are_exact_to_the_nanosecond_for_days(start, origin, duration):
    start = origin + start % (10 * 86_400 * S)
    record = np.zeros(1, SPANS)
    record["start"], record["duration"], record["kind"] = start, duration, SpanKind.ACTING
    (event,) = [e for e in chrome_trace(record, ["actor"], origin, {})["traceEvents"] if e["ph"] == "X"]
    assert round(event["ts"] * 1000) == start - origin and round(event["dur"] * 1000) == duration


# --- figure --------------------------------------------------------------------------------------------------------


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_figure_has_a_lane_per_process_and_names_what_is_long_enough(tmp_path):
    figure = Timeline(made(tmp_path)).figure()
    assert figure.axes[0].get_xlim() == pytest.approx((10 - LAST_S, 10))
    shown = texts(figure)
    assert shown.count("waits") == 3 and {"acts, epoch 8", "learns, agent 0"} <= set(shown)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["actor", "learner 0"]
    assert "works 50%\non a core 20%\nwaits 50%" in shown
    assert "actor works 50% of the time and is on a core for 20% of it, waits 50%" in figure.alt


def test_every_kind_can_be_told_without_colour():
    assert set(LOOKS) == set(SpanKind)
    waiting = LOOKS[SpanKind.WAITING]
    assert waiting.hatch and all(look.hatch != waiting.hatch for kind, look in LOOKS.items() if look is not waiting)


def test_many_pieces_become_columns_that_hold_the_same_time(tmp_path):
    run = HandMade(tmp_path, ["actor"]).add(0, SpanKind.STARTING, -1, 0)
    count = 2 * MAX_PIECES
    records = np.zeros(count, SPANS)
    records["start"] = 1000 * S + np.arange(count) * S // 100
    records["duration"], records["kind"] = S // 400, np.where(np.arange(count) % 2, SpanKind.ACTING, SpanKind.WAITING)
    run.history.append("spans", records)
    timeline = Timeline(run)
    whole = timeline.figure(last=timeline.trained)
    boxes = {tuple(np.round(each.get_facecolor()[0], 3)): each for each in whole.axes[0].collections}
    areas = [
        sum(np.ptp(path.vertices[:, 0]) * np.ptp(path.vertices[:, 1]) for path in each.get_paths())
        for each in boxes.values()
    ]
    high = 0.62
    assert areas == pytest.approx([high * timeline.trained / 8] * 2, rel=0.02)
    assert len(whole.axes[0].collections[0].get_paths()) < MAX_PIECES
    assert len(timeline.figure(last=1).axes[0].collections[0].get_paths()) == 50


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_record_gives_the_same_file(runs, suffix, tmp_path):
    both = [wb.load(runs["free"].folder.path).timeline().save(tmp_path / f"{i}{suffix}") for i in range(2)]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_in_a_notebook_a_timeline_is_a_picture_with_words(runs):
    data, about = runs["multiprocess"].timeline()._repr_png_()
    assert data.startswith(b"\x89PNG") and "learner 1 works" in about["alt"]


def test_the_sliders_of_the_explorer_zoom(tmp_path):
    explorer = Timeline(made(tmp_path)).explore()
    until, last, _ = explorer.children
    assert explorer.auto_display  # else it is computed and not shown

    def seen():
        explorer.update()  # which the widget does by itself in a kernel
        return explorer.result.axes[0].get_xlim()

    assert seen() == pytest.approx((7, 10))
    last.value = 0.5
    assert seen() == pytest.approx((9.5, 10))
    until.value = 4
    assert seen() == pytest.approx((3.5, 4))
    assert "from 3.50 s to 4.00 s" in explorer.result.alt
    for end in (until.min, until.max):
        for length in (last.min, last.max):
            until.value, last.value = end, 10**length
            start, shown_end = seen()
            assert -1e-9 <= start < shown_end <= 12
    last.value = 10**last.max
    assert seen() == pytest.approx((0, 12))


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_run_without_a_timeline_says_how_to_get_one(runs, tmp_path):
    for run in (runs["without"], wb.load(runs["without"].folder.path)):
        with pytest.raises(wb.RecordError, match=r"without has no timeline.*launch it again with timeline=True"):
            run.timeline()
    run = HandMade(tmp_path).add(0, SpanKind.PUBLISHING, -1.5, -1).add(0, SpanKind.STARTING, -2, 0)
    with pytest.raises(wb.RecordError, match=r"running and nothing is recorded yet; ask again"):
        Timeline(run)
    with pytest.raises(wb.RecordError, match=r"it was stopped before any work was done"):
        Timeline(HandMade(tmp_path / "ended", status="stopped"))


@pytest.mark.parametrize(
    ("stretch", "message"),
    [
        ({"last": 10.5}, r"last is 10.5 s; it must be from 0.001 s to 10 s"),
        ({"last": 0}, r"last is 0 s; it must be"),
        ({"last": float("nan")}, r"last is nan s; it must be"),
        ({"last": 5, "until": 4}, r"last is 5 s; .* to 4 s"),
        ({"until": 12.1}, r"until is 12.1 s; .* to 12 s, and training to 10 s"),
        ({"until": -1}, r"until is -1 s"),
        ({"until": float("nan")}, r"until is nan s"),
    ],
)
def test_a_stretch_of_time_outside_the_run_is_refused_with_the_bounds(tmp_path, stretch, message):
    timeline = Timeline(made(tmp_path))
    for ask in (timeline.figure, timeline.shares, timeline.trace):
        with pytest.raises(wb.ConfigError, match=message):
            ask(**stretch)


def test_an_unknown_ending_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(
        wb.ConfigError, match=r"'x.gif'; the name must end in .png, .svg, .pdf, or in .json for a trace"
    ):
        Timeline(made(tmp_path)).save(tmp_path / "x.gif")
    assert not (tmp_path / "x.gif").exists()


# --- command -------------------------------------------------------------------------------------------------------


def test_the_command_prints_shares_and_writes_files(runs, tmp_path, capsys):
    folder = str(runs["multiprocess"].folder.path)
    assert main(["timeline", folder]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Run multiprocess: multiprocess, lag 1, finished\n") and "learner 1" in shown
    for name in ("strip.svg", "trace.json"):
        assert main(["timeline", folder, "--last", "0.01", "--out", str(tmp_path / name)]) == 0
        assert f"written: {tmp_path / name}" in capsys.readouterr().out and (tmp_path / name).stat().st_size > 500


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("without", [], "launch it again with timeline=True (workbench run --timeline)"),
        ("free", ["--out", "x.gif"], "the name must end in"),
        ("free", ["--last", "1e6"], "last is 1e+06 s; it must be"),
    ],
)
def test_the_command_refuses_with_code_2(runs, name, options, message, capsys):
    assert main(["timeline", str(runs[name].folder.path), *options]) == 2
    assert message in capsys.readouterr().err
