"""Whatever words follow ``workbench``: a message and code 2, never a traceback, and no child process."""

import json
import multiprocessing.process
import signal

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.unit.finished import CONFIG, finished_run
from workbench.cli import main, training
from workbench.cli.main import COMMANDS
from workbench.cli.options import parse
from workbench.core.config import Config
from workbench.core.settings import field_names

NAMES = list(field_names(Config()))
OPTIONS = [f"--{name.replace('_', '-')}" for name in NAMES]
OTHERS = [
    "--preset", "--mode", "--lag", "--fault", "--out", "--name", "--baseline-lag", "--no-probes", "--set", "--seed",
    "--to", "--checkpoint", "--parent-is-gone", "--",
]  # fmt: skip
WORDS = st.text(max_size=6) | st.sampled_from(
    ["-1", "nan", "inf", "None", "free", "quick", "cuda:9", "1e400", "=", "../x"]
)
ARGUMENTS = st.lists(st.sampled_from(OPTIONS + OTHERS) | WORDS, max_size=5)
NONSENSE = ["--no-such-option"]  # at the end of every line, so that none is a good one by chance


@pytest.fixture(scope="module", autouse=True)
def no_child():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.process.BaseProcess, "start", lambda self: pytest.fail("a child was started"))
        patch.setattr(signal, "signal", lambda *_: None)
        yield


def exit_code(arguments):
    try:
        return main(arguments)
    except SystemExit as left:
        return left.code


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "lab"])  # which hands all on to JupyterLab
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=ARGUMENTS)
def test_a_line_that_cannot_be_is_refused_with_a_message(command, arguments, capsys):
    capsys.readouterr()
    arguments = [word for word in arguments if word not in ("-h", "--help")]
    assert exit_code([command, *arguments, *NONSENSE]) == 2
    shown = capsys.readouterr()
    assert shown.err and "Traceback" not in shown.err and shown.out == ""


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(option=st.sampled_from(OPTIONS), value=st.sampled_from(["-1", "nan", "x", "", "1e400", "99999999999999999999"]))
def test_a_value_that_a_setting_cannot_have_is_refused_before_anything_starts(option, value, capsys, tmp_path):
    assert exit_code(["run", "--preset", "tiny", "--lag", "-1", "--out", str(tmp_path), option, value]) == 2
    assert "Traceback" not in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(name="pacing", value="{}")
@given(
    name=st.sampled_from([*NAMES, "start", "path", "config", "parent_is_gone", "pacing", "self"]) | WORDS,
    value=WORDS | st.sampled_from(["[]", "{}", '{"x": 1}', "[[", "true", "null", "1e999", "[" * 5000]),
)
def test_whatever_resume_is_to_set_it_is_refused_and_the_run_stays_as_it_was(name, value, capsys, tmp_path_factory):
    assume(value != json.dumps(CONFIG.flat().get(name, "")))  # which it has already: then nothing is left to do
    path = finished_run(tmp_path_factory.mktemp("runs"))
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    assert (
        exit_code(["resume", str(path), "--set", f"{name}={value}"]) == 2
    )  # for want of a checkpoint, if for nothing else
    shown = capsys.readouterr()
    assert shown.err and "Traceback" not in shown.err and shown.out == ""
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("line", ["film nothing --out x.gif --seed -1", "film nothing --out x.txt"])
def test_a_number_that_makes_no_sense_is_refused_before_anything_is_written(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert exit_code(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err and "Traceback" not in shown.err and shown.out == ""
    assert list(tmp_path.rglob("*")) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=st.text(max_size=300).filter(lambda word: not word.startswith("-")))
def test_the_doctor_of_no_run_says_so(word, capsys):
    assert exit_code(["doctor", f"no/{word}"]) == 2
    assert capsys.readouterr().err


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(
        st.text(max_size=8).filter(lambda word: word not in ("-h", "--help", "--version")), min_size=1, max_size=3
    )
)
def test_words_that_are_no_command_are_refused(words, capsys):
    assert exit_code(["no-" + words[0], *words[1:]]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_whole_number_is_taken_as_it_is_written_and_no_other(capsys):
    line = ["--epochs", "1e3", "--world.num-agents", "2.0", "--processes.learners", "1e0", "--lag", "3.0"]
    options = parse("run", line, training.RunOptions)
    taken = options.config.epochs, options.config.num_agents, options.config.processes.learners, options.lag
    assert taken == (1000, 2, 1, 3) and set(map(type, taken)) == {int}
    assert parse("run", ["--lag", "free"], training.RunOptions).lag == "free"
    with pytest.raises(SystemExit):
        parse("run", ["--epochs", "1.5"], training.RunOptions)
    assert "1.5 is no whole number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse("run", ["--seed", "seven"], training.RunOptions)
    assert "seven is no whole number" in capsys.readouterr().err


def test_settings_of_a_resumed_run_count_whether_they_follow_one_option_or_several(tmp_path, capsys):
    path = str(finished_run(tmp_path))
    for line in (["--set", "epochs=13", "epochs=14"], ["--set", "epochs=13", "--set", "epochs=14"]):
        assert exit_code(["resume", path, *line]) == 2
        assert "epochs was given twice" in capsys.readouterr().err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "lab"])
def test_help_speaks_of_what_may_be_left_out_in_words(command, capsys):
    assert exit_code([command, "--help"]) == 0
    assert "None" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare --preset tiny --seeds 0", "--seeds is 0; it is how many pairs of runs"),
        ("sweep --preset tiny --over seed=0:2 --on dask --at-once 2", "--at-once is 2; it goes with --on local alone"),
    ],
)
def test_a_number_is_refused_by_the_name_of_its_option(line, message, capsys, monkeypatch):
    monkeypatch.setattr(training, "executor", lambda *_: pytest.fail("a cluster was started"))
    assert exit_code(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("runs --where folder=x", "folder is 'x'; it is no name of a setting, a column or an option of a cluster"),
        ("runs --where lag=1 sort=name", "sort is 'name'; it is no name"),
        ("sweep --preset tiny --over seed=0:2 --on dask --option address=x", "address is 'x'; it is no name"),
        ("sweep --preset tiny --over seed=²:5", "seed is '²:5'"),
        ("compare --preset tiny --seeds 1e9", "the sweep has 1,000,000,000 cells, and may have 100,000"),
    ],
)
def test_what_no_command_could_take_is_refused_in_words(line, message, capsys, monkeypatch):
    monkeypatch.setattr(training, "executor", lambda *_, **__: pytest.fail("a cluster was started"))
    assert exit_code(line.split()) == 2
    assert message in capsys.readouterr().err


def test_what_is_said_of_an_option_has_no_line_breaks_of_the_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert exit_code(["resume", "--help"]) == 0
    assert "it cannot be seen from here" in capsys.readouterr().out
