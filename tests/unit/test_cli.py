"""The command line without children: options, exit codes, the progress line, the reference files, saved notebooks."""

import io
import json
import re
from types import SimpleNamespace

import nbformat
import pytest

from tests.campaigns.reference_files import LearningRecord, machine_label
from workbench import ChildFailed, ConfigError, RecordError, RunError, preset, presets
from workbench.cli import main
from workbench.cli.main import COMMANDS, Command
from workbench.cli.notebooks import NotebookFailed, execute_notebook, without_volatile_parts
from workbench.cli.options import lag_of, parse
from workbench.cli.progress import ProgressLine
from workbench.cli.training import CompareOptions, RunOptions
from workbench.core.config import field_names


def run_options(*arguments: str) -> RunOptions:
    return parse("run", arguments, RunOptions)


# --- options -------------------------------------------------------------------------------------------------------


def test_without_options_a_run_is_the_default_task_multiprocess_at_lag_one():
    options = run_options()
    assert (options.config, options.mode, options.lag) == (preset("treasurehunt"), "multiprocess", 1)


def test_a_preset_sets_the_defaults_and_the_other_options_change_them_wherever_they_stand():
    expected = preset("tiny").replace(**{"world.num_agents": 3, "learning.double": False, "processes.learners": "auto"})
    changes = ["--world.num-agents", "3", "--learning.no-double", "--processes.learners", "auto"]
    assert run_options("--preset", "tiny", *changes).config == expected
    assert run_options(*changes, "--preset=tiny").config == expected


@pytest.mark.parametrize("command", ["run", "compare", "learning"])
def test_every_setting_is_an_option_with_its_docstring_as_help(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    shown = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert left.value.code == 0
    assert [name for name in field_names() if f" --{name.replace('_', '-')} " not in shown.replace(",", " ")] == []
    assert "Copies of the world that run side by side and feed the same replays. (default: 1)" in shown


def test_the_lag_is_a_number_or_free():
    assert [lag_of(run_options("--lag", word).lag) for word in ("0", "3", "free")] == [0, 3, None]


def test_the_baseline_of_a_comparison_has_the_same_lag_unless_told_otherwise():
    assert parse("compare", [], CompareOptions).baseline_lag is None
    assert parse("compare", ["--baseline-lag", "0"], CompareOptions).baseline_lag == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--world.num-agent", "3"], "--world.num-agents"),  # unknown, and the nearest known
        (["--world.num-agents", "none"], "--world.num-agents"),
        (["--mode", "parallel"], "sequential"),
        (["--lag", "some"], "--lag"),
        (["--world.num-agents", "0"], "at least one agent"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(arguments, message, capsys):
    assert exit_code(["run", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "quik"], f"choose one of {', '.join(presets())}"),
        (["--preset", "tiny", "--replay.learning-starts", "10"], "learning.batch_size is 16"),
        (["--preset", "tiny", "--mode", "sequential", "--lag", "free"], "free-running needs"),
        (["--preset", "tiny", "--lag", "-1"], "lag is -1"),
        (["--preset", "tiny", "--device", "cuda:99"], "device is 'cuda:99'"),
        (["--preset", "tiny", "--name", "../elsewhere"], "'../elsewhere'"),
    ],
)
def test_a_refused_setting_is_one_line_on_stderr(arguments, message, capsys):
    assert exit_code(["run", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("workbench: ") and message in shown.err
    assert shown.err.count("\n") == 1


def exit_code(arguments):
    try:
        return main(arguments)
    except SystemExit as left:
        return left.code


# --- exit codes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("told"), 2),
        (RecordError("told"), 2),
        (MemoryError("told"), 2),
        (ChildFailed("told"), 1),
        (RunError("told"), 1),
        (NotebookFailed("told"), 1),
        (OSError("told"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_goes_wrong_is_told_and_has_an_exit_code(error, code, monkeypatch, capsys):
    def act(arguments):
        raise error

    monkeypatch.setitem(COMMANDS, "run", Command(act, ""))
    assert main(["run"]) == code
    assert ("interrupted" if code == 130 else "told") in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def act(arguments):
        raise AttributeError("a mistake of ours")

    monkeypatch.setitem(COMMANDS, "run", Command(act, ""))
    with pytest.raises(AttributeError):
        main(["run"])


def test_arguments_reach_a_command_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setitem(COMMANDS, "lab", Command(lambda arguments: seen.extend(arguments) or 0, ""))
    assert main(["lab", "--port", "8899", "--help", "-x=1", "word"]) == 0
    assert seen == ["--port", "8899", "--help", "-x=1", "word"]


def test_no_command_and_an_unknown_one_name_what_there_is(capsys):
    assert (exit_code([]), exit_code(["comprae"])) == (2, 2)
    shown = capsys.readouterr().err
    assert all(shown.count(f"{command} ") + shown.count(f"'{command}'") >= 2 for command in COMMANDS)


# --- progress ------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_one_line_that_is_rewritten_and_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    line = ProgressLine(stream)
    line.show("epoch 1")
    line.show("x" * 50)
    line.keep("done")
    assert stream.getvalue() == f"\r\x1b[Kepoch 1\r\x1b[K{'x' * 19}\r\x1b[Kdone\n"


def test_a_log_gets_a_line_now_and_then_and_every_line_that_stays(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("workbench.cli.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    line = ProgressLine(stream)
    for second in range(25):
        now[0] = 100.0 + second
        line.show(f"second {second}")
    line.keep("done")
    line.show("the next run")
    assert stream.getvalue().splitlines() == ["second 0", "second 10", "second 20", "done", "the next run"]


# --- reference files -----------------------------------------------------------------------------------------------


def finished(mode: str, seed: int, status: str = "finished"):
    """What the record asks of a run."""
    result = SimpleNamespace(
        seed=seed, greedy_reward=500.0 + seed, reward={"last_tenth": 480.0}, wall_s=60.0, updates=4800,
        digest={"weights": "00"},
    )  # fmt: skip
    return SimpleNamespace(mode=mode, lag=1, status=status, name="run", result=result)


def record(path, config=None, **options) -> LearningRecord:
    return LearningRecord(path, config or preset("tiny"), "cpu", "workbench learning", **options)


def test_a_learning_record_goes_on_where_it_was_interrupted(tmp_path):
    path = tmp_path / "reference" / "learning.json"
    first = record(path)
    assert list(first.missing([0, 1], 1)) == [
        (0, "sequential"), (0, "multiprocess"), (1, "sequential"), (1, "multiprocess"),
    ]  # fmt: skip
    first.add(finished("sequential", 0))
    first.add(finished("multiprocess", 1))
    again = record(path)
    assert list(again.missing([0, 1], 1)) == [(0, "multiprocess"), (1, "sequential")]
    assert list(again.missing([1], 0)) == [(1, "sequential"), (1, "multiprocess")]  # another lag is another run
    assert list(record(path, fresh=True).missing([0], 1)) == [(0, "sequential"), (0, "multiprocess")]


def test_a_learning_record_says_what_was_reached_and_where_it_comes_from(tmp_path):
    path = tmp_path / "learning.json"
    record(path).add(finished("sequential", 3))
    written = json.loads(path.read_text())
    assert written["runs"] == [
        {"mode": "sequential", "lag": 1, "seed": 3, "greedy_reward": 503.0, "reward_last_tenth": 480.0, "wall_s": 60.0,
         "updates": 4800, "digest": {"weights": "00"}}
    ]  # fmt: skip
    assert set(written) == {
        "runs", "policies", "command", "machine", "versions", "commit", "dirty", "config",
    }  # fmt: skip
    assert written["command"] == "workbench learning" and set(written["policies"]["random"]) == {"mean", "sd", "epochs"}


def test_a_learning_record_never_mixes_settings_nor_takes_half_a_run(tmp_path):
    path = tmp_path / "learning.json"
    record(path).add(finished("sequential", 0))
    kept = path.read_bytes()
    with pytest.raises(RecordError, match=r"another config.*--fresh"):
        record(path, preset("tiny").replace(epochs=13))
    assert list(record(path, preset("tiny").replace(seed=9)).missing([0], 1)) == [(0, "multiprocess")]
    with pytest.raises(RecordError, match="is stopped"):
        record(path).add(finished("multiprocess", 0, status="stopped"))
    assert path.read_bytes() == kept


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"runs": []}'])
def test_a_damaged_learning_record_is_refused_by_name(content, tmp_path):
    path = tmp_path / "learning.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"learning\.json is damaged.*--fresh"):
        record(path)


def test_policies_writes_its_file_and_a_line_for_each(tmp_path, capsys):
    out = tmp_path / "new" / "policies.json"
    assert main(["policies", "--preset", "tiny", "--epochs", "20", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    for name in ("random", "random_no_wall", "scripted"):
        assert set(written[name]) == {"mean", "sd", "epochs"} and written[name]["epochs"] == 20
    assert written["world"]["height"] == 7 and written["command"].startswith("workbench policies --preset tiny")
    assert {"machine", "versions", "commit"} <= set(written)
    assert capsys.readouterr().out.count("\n") == 4


@pytest.mark.parametrize("arguments", [["--epochs", "1"], ["--seed", "-1"]])
def test_policies_refuses_what_it_cannot_play(arguments, capsys):
    assert main(["policies", *arguments]) == 2
    assert arguments[0][2:] in capsys.readouterr().err


def test_bench_is_given_a_device_a_file_and_its_budget(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("tests.campaigns.bench.run_bench", lambda *arguments: asked.append(arguments) or 0)
    assert main(["bench", "--device", "cpu", "--quick", "--out", str(tmp_path / "bench.json")]) == 0
    assert main(["bench", "--device", "cpu"]) == 0
    assert asked[0] == ("cpu", tmp_path / "bench.json", True)
    assert re.fullmatch(r"bench_[a-z0-9.-]+-\d+-cores\.json", asked[1][1].name) and asked[1][2] is False


def test_a_machine_makes_a_plain_file_name(monkeypatch):
    name = "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    monkeypatch.setattr("tests.campaigns.reference_files.machine.device_name", lambda device: name)
    monkeypatch.setattr("tests.campaigns.reference_files.machine.cores", lambda: 2)
    assert machine_label("cpu") == "intel-xeon-e5-2680-v4-2-cores"


# --- notebooks -----------------------------------------------------------------------------------------------------


def test_a_saved_notebook_has_no_widget_no_times_and_no_version():
    new, view = nbformat.v4, "application/vnd.jupyter.widget-view+json"
    outputs = [
        new.new_output("display_data", data={view: {"model_id": "1"}, "text/plain": "VBox()"}),
        new.new_output("display_data", data={view: {"model_id": "2"}, "image/png": "aGk=", "text/plain": "Panel"}),
        new.new_output("stream", text="kept"),
    ]
    cell = new.new_code_cell(
        "x", outputs=outputs, metadata={"execution": {"iopub.execute_input": "now"}, "tags": ["t"]}
    )
    metadata = {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.11.7"}}
    notebook = without_volatile_parts(new.new_notebook(cells=[cell, new.new_markdown_cell("x")], metadata=metadata))
    assert notebook.metadata == {"language_info": {"name": "python"}} and notebook.cells[0].metadata == {"tags": ["t"]}
    assert [set(output.get("data", {})) for output in notebook.cells[0].outputs] == [{"image/png", "text/plain"}, set()]
    nbformat.validate(notebook)


@pytest.mark.parametrize("content", [None, "no json", "[]"])
def test_what_is_no_notebook_is_refused_by_name(content, tmp_path):
    path = tmp_path / "broken.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=r"broken\.ipynb"):
        execute_notebook(path)
