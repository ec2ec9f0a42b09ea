"""The command line without children: options, exit codes, the progress line, saved notebooks."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from workbench import ChildFailed, ConfigError, RecordError, RunError, preset, presets
from workbench.cli import main
from workbench.cli.main import COMMANDS
from workbench.cli.notebooks import NotebookFailed, execute_notebook, without_volatile_parts
from workbench.cli.options import parse
from workbench.cli.progress import follow
from workbench.cli.training import CompareOptions, RunOptions
from workbench.core.settings import field_names


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


@pytest.mark.parametrize("command", ["run", "compare"])
def test_every_setting_is_an_option_with_its_docstring_as_help(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    shown = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert left.value.code == 0
    names = field_names(preset("tiny"))
    assert [name for name in names if f" --{name.replace('_', '-')} " not in shown.replace(",", " ")] == []
    assert "Copies of the world that run side by side and feed the same replays. (default: 1)" in shown


def test_the_lag_is_a_number_or_free():
    assert [run_options("--lag", word).epochs_ahead for word in ("0", "3", "free")] == [0, 3, None]


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
        (["--world.num-agents", "0"], "num_agents is 0"),
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
        (
            ["--preset", "tiny", "--lag", "-1"],
            "lag is -1; it must be a number of epochs, 0 or more, or None for free-running, "
            "which the command line calls free",
        ),
        (
            ["--preset", "tiny", "--world", "nosuch"],
            "watched, gymnasium, pettingzoo (a class of your own is named 'module:Class')",
        ),
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
        (MemoryError(), 2),
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

    monkeypatch.setitem(COMMANDS, "run", act)
    assert main(["run"]) == code
    assert ("interrupted" if code == 130 else str(error) or "MemoryError") in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch):
    def act(arguments):
        raise AttributeError("a mistake of ours")

    monkeypatch.setitem(COMMANDS, "run", act)
    with pytest.raises(AttributeError):
        main(["run"])


def test_arguments_reach_a_command_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setitem(COMMANDS, "lab", lambda arguments: seen.extend(arguments) or 0)
    assert main(["lab", "--port", "8899", "--help", "-x=1", "word"]) == 0
    assert seen == ["--port", "8899", "--help", "-x=1", "word"]


def test_a_tilde_is_the_home_folder_also_where_a_shell_leaves_it(monkeypatch):
    seen = []
    monkeypatch.setenv("HOME", "/home/of")
    monkeypatch.setitem(COMMANDS, "lab", lambda arguments: seen.extend(arguments) or 0)
    assert main(["lab", "--out=~/runs", "~", "~/a", "a~/b", "--x=~y"]) == 0
    assert seen == ["--out=/home/of/runs", "/home/of", "/home/of/a", "a~/b", "--x=~y"]


def test_a_home_that_nobody_has_is_a_folder_of_that_name(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_code(["runs", "~nobody-of-this-name/runs"]) == 2
    assert f"there is no folder {tmp_path}/~nobody-of-this-name/runs; name one" in capsys.readouterr().err


@pytest.mark.parametrize("act", ["COMMANDS['runs']", "lambda _: sys.exit(print('help'))"], ids=["list", "help"])
def test_a_reader_that_has_seen_enough_is_no_failure(act):
    script = f"import sys; from workbench.cli.main import COMMANDS, main; COMMANDS['runs'] = {act}"
    command = [sys.executable, "-c", f"{script}; sys.exit(main(['runs', '/']))"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": ""}, **pipes) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, "")


def test_ctrl_c_while_the_command_is_imported_has_no_traceback():
    script = "import sys; sys.meta_path.insert(0, type('Finder', (), {"
    script += "'find_spec': lambda name, *_: (_ for _ in ()).throw(KeyboardInterrupt) if name == 'tyro' else None}))"
    done = subprocess.run([sys.executable, "-c", f"{script}; import workbench.cli"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_signals_of_a_batch_system_are_an_interrupt_unless_ignored():
    script = (
        "import os, signal, sys; from workbench.cli.main import COMMANDS, main\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def act(_):\n"
        "    [os.kill(os.getpid(), number) for number in (signal.SIGHUP, getattr(signal, sys.argv[1]))]\n"
        "    return 3\n"
        "COMMANDS['run'] = act; sys.exit(main(['run']))"
    )
    for number, code in (("SIGHUP", 3), ("SIGTERM", 130), ("SIGUSR1", 130)):
        assert subprocess.run([sys.executable, "-c", script, number], stderr=subprocess.DEVNULL).returncode == code


def test_no_command_and_an_unknown_one_name_what_there_is(capsys):
    assert (exit_code([]), exit_code(["comprae"])) == (2, 2)
    shown = capsys.readouterr().err
    assert all(shown.count(f"{command} ") + shown.count(f"'{command}'") >= 2 for command in COMMANDS)


# --- progress ------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


class Job:
    """Runs of 8 epochs each, one after the other; a look is a second and an epoch."""

    def __init__(self, *labels):
        ended = SimpleNamespace(path=Path("folder"))
        self.runs = [
            SimpleNamespace(
                label=label, status="running", ended=False, unsaved=[], folder=ended, config=SimpleNamespace(epochs=8)
            )
            for label in labels
        ]
        self.seconds, self.started, self.stopped = 0.0, False, False
        self._look()

    def start(self):
        self.started = True

    def stop(self):
        self.stopped = True

    def wait(self, timeout):
        self.seconds += 1
        self._look()
        if not self.runs[-1].ended:
            raise TimeoutError

    def _look(self):
        for place, run in enumerate(self.runs):
            done = min(max(self.seconds - 9 * place, 0), 9)
            run.ended = done == 9
            run.status = "finished" if run.ended else "running"
            run.progress = dict.fromkeys(("updates", "agent_steps_per_s", "updates_per_s", "elapsed_s"), 1.0)
            run.progress["epochs"] = min(done, 8)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def followed(monkeypatch, stream, *labels):
    job = Job(*labels)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr("workbench.cli.progress.time.monotonic", lambda: 100.0 + job.seconds)
    follow(job, job.runs)
    return stream.getvalue()


def test_a_terminal_gets_a_bar_that_is_redrawn_and_a_line_for_every_run_that_ended(monkeypatch, capsys):
    shown = followed(monkeypatch, Terminal(), "one", "two")
    assert re.search(r"\r 50% \|█{10} {10}\| \S+ left  one: running, epoch 4 of 8", shown)
    assert re.search(r"\r  0% \| {20}\| \S+ left +two: running, epoch 0 of 8", shown)
    kept = [line.rpartition("\r")[2] for line in shown.splitlines() if "finished" in line]
    assert [line.partition(" after")[0] for line in kept] == [
        "one: finished at epoch 8 of 8", "two: finished at epoch 8 of 8"
    ]  # fmt: skip
    assert shown.endswith("\n") and capsys.readouterr().out == ""


def test_a_log_gets_a_line_now_and_then_and_one_for_every_run_that_ended(monkeypatch):
    shown = followed(monkeypatch, io.StringIO(), "one", "two", "three")
    assert "\r" not in shown
    assert [line.partition(",")[0].partition(" after")[0] for line in shown.splitlines()] == [
        "one: running", "one: finished at epoch 8 of 8", "two: running", "two: finished at epoch 8 of 8",
        "three: running", "three: finished at epoch 8 of 8",
    ]  # fmt: skip


# --- notebooks -----------------------------------------------------------------------------------------------------


def test_a_saved_notebook_has_no_widget_no_times_no_version_and_no_name_of_a_cell():
    new, view = nbformat.v4, "application/vnd.jupyter.widget-view+json"
    outputs = [
        new.new_output("display_data", data={view: {"model_id": "1"}, "text/plain": "VBox()"}),
        new.new_output("display_data", data={view: {"model_id": "2"}, "image/png": "aGk=", "text/plain": "Panel"}),
        new.new_output("stream", text="kept\n/tmp/ipykernel_12/345.py:1: RecordWarning: look\n  at it\n"),
    ]
    cell = new.new_code_cell(
        "x", outputs=outputs, metadata={"execution": {"iopub.execute_input": "now"}, "tags": ["t"]}
    )
    metadata = {"widgets": {"state": {}}, "language_info": {"name": "python", "version": "3.11.7"}}
    notebook = without_volatile_parts(new.new_notebook(cells=[cell, new.new_markdown_cell("x")], metadata=metadata))
    assert notebook.metadata == {"language_info": {"name": "python"}} and notebook.cells[0].metadata == {"tags": ["t"]}
    assert [set(output.get("data", {})) for output in notebook.cells[0].outputs] == [{"image/png", "text/plain"}, set()]
    assert notebook.cells[0].outputs[1].text == "kept\nRecordWarning: look\n  at it\n"
    nbformat.validate(notebook)


@pytest.mark.parametrize("content", [None, "no json", "[]"])
def test_what_is_no_notebook_is_refused_by_name(content, tmp_path):
    path = tmp_path / "broken.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordError, match=r"broken\.ipynb"):
        execute_notebook(path)


def test_two_comparisons_that_begin_in_one_second_have_a_folder_each(monkeypatch):
    begun = []

    def compare(config, out, **options):
        begun.append(out)
        raise ConfigError("enough")

    monkeypatch.setattr("workbench.cli.training.api.compare", compare)
    monkeypatch.setattr("time.strftime", lambda format: "20261129-120000")
    assert main(["compare", "--preset", "tiny"]) == main(["compare", "--preset", "tiny"]) == 2
    assert len(set(begun)) == 2 and all("20261129-120000-compare-lag1-seed0-" in str(each) for each in begun)
