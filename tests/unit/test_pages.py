"""What objects show in a notebook, and that help is there for every public name."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

import workbench as wb
from tests.unit import evidence
from workbench.core.records import UPDATES
from workbench.core.settings import field_names
from workbench.diagnose.doctor import examine
from workbench.runs.folder import RunFolder
from workbench.runs.history import History
from workbench.runs.result import Result
from workbench.view import html as pages

QUICK = wb.preset("tiny")
RESULT = {
    "mode": "multiprocess", "lag": None, "seed": 3, "status": "finished", "wall_s": 12.3, "startup_s": 2.0,
    "agent_steps": 1000, "updates": 100, "agent_steps_per_s": 81.3, "updates_per_s": 8.1, "replay_ratio": 0.1,
    "sync_lag": {unit: {"mean": 0.5, "max": 2.0} for unit in ("versions", "updates", "milliseconds")},
    "reward": {"first_tenth": 1.0, "last_tenth": None},
    "greedy_reward": 77.0, "digest": {"weights": "ab" * 32},
}  # fmt: skip


def loaded(tmp_path, **description):
    told = {"config": QUICK.to_dict(), "mode": "multiprocess", "lag": 1, "status": "failed", "error": None}
    folder = RunFolder.create("earlier", told | description, tmp_path)
    folder.append("updates", np.zeros(7, UPDATES))
    return wb.load(folder.path)


def test_a_configuration_shows_every_setting_with_its_meaning():
    page = pages.page(QUICK)
    notes = pages.field_notes(QUICK)
    assert set(notes) == set(field_names(wb.Config())) and all(notes.values())
    assert all(f"<code>{name}</code>" in page for name in field_names(wb.Config()))
    assert "<b><code>12</code></b>, default <code>240</code>" in page
    assert notes["learning.gamma"] == "Discount per turn."
    assert "All settings: default." in pages.page(wb.Config())


def test_a_configuration_is_written_as_the_code_that_makes_it():
    assert repr(wb.Config()) == "Config()"
    config = QUICK.replace(**{"processes.learners": "auto", "seed": 7})
    assert eval(repr(config), {"Config": wb.Config}) == config
    assert "'seed': 7" in repr(config) and "gamma" not in repr(config)


def test_a_run_shows_its_state_and_its_failure_escaped(tmp_path):
    page = pages.page(loaded(tmp_path, error="learner 0 failed:\n<zero>"))
    assert "failed" in page and "multiprocess, lag 1" in page and "&lt;zero&gt;" in page and "<zero>" not in page


def test_deaths_are_told_the_newest_of_them_in_full(tmp_path):
    deaths = [
        {"text": f"learner <{number}> was ended by signal 9 (SIGKILL); restarted", "epochs": 0} for number in range(5)
    ]
    run = loaded(tmp_path, incidents=deaths)
    assert pages.incident_lines([run], ["mine"], most=5).count("mine: learner") == 5
    shown = pages.incident_lines([run], ["mine"])
    assert "learner &lt;4&gt; was ended" in shown and "2 deaths before these" in shown and "&lt;1&gt;" not in shown
    assert "mine: 1 death before these" in pages.incident_lines([run], ["mine"], most=4)
    assert pages.incident_lines([loaded(tmp_path / "other")], ["mine"]) == ""


def test_a_result_shows_every_quantity():
    result = Result.from_dict(RESULT)
    page = pages.page(result)
    for words in ("free-running", "0.5000 / 2", "1 / -", "77", "abababab"):
        assert words in page, words
    assert repr(result).startswith("<Result of multiprocess, free-running, seed 3: finished, 1,000 agent steps")


def test_a_diagnosis_shows_what_failed_first_and_in_words():
    tables = evidence.sound_tables()
    evidence.measured(tables, "sync/online_after")["value"] = 0.0123
    diagnosis = examine(evidence.evidence(tables), "Run <x>")
    page = pages.page(diagnosis)
    assert "Run &lt;x&gt;" in page and "TRUE, because" in page
    assert page.index("FAIL") < page.index("&nbsp;pass")
    assert all(check.name in page for check in (*diagnosis.checks, *diagnosis.methods))


def test_a_comparison_shows_states_first_and_the_table_at_the_end(tmp_path):
    with wb.compare(QUICK, out=tmp_path, start=False) as pair:
        assert "created" in pages.page(pair)
    assert "stopped" in pages.page(pair), "a run that never began has no result"
    results = [Result.from_dict(RESULT), Result.from_dict(RESULT | {"greedy_reward": 66.0})]
    runs = [SimpleNamespace(result=result, label=name) for result, name in zip(results, ("<one>", "two"), strict=True)]
    said = {"identical": False, "why_not_identical": "", "speedup": 1.25, "speedup_note": "it means little"}
    ended = SimpleNamespace(runs=runs, **said)
    ended.table = wb.Comparison.table.fget(ended)
    shown = pages.page.dispatch(wb.Comparison)(ended)
    assert all(words in shown for words in ("&lt;one&gt;", "77", "66", "NO", "1.25"))


def test_processes_without_any_say_so(tmp_path):
    assert "No process" in pages.process_table([loaded(tmp_path)], ["earlier"])


@pytest.mark.parametrize("name", wb.__all__)
def test_help_is_there_for_every_public_name_and_method(name):
    shown = getattr(wb, name)
    assert inspect.getdoc(shown) and len(inspect.getdoc(shown)) > 20
    if inspect.isclass(shown):
        public = [member for member in vars(shown) if not member.startswith("_")]
        documented = [vars(shown)[member] for member in public]
        bare = [
            member for member, value in zip(public, documented, strict=True)
            if (callable(value) or isinstance(value, property)) and not inspect.getdoc(value)
        ]  # fmt: skip
        assert bare == []


def test_names_in_brackets_can_be_completed():
    assert "losses/loss" in History()._ipython_key_completions_()
    assert "stack" in examine(evidence.evidence())._ipython_key_completions_()


def test_settings_can_be_completed_in_replace():
    names = set(inspect.signature(QUICK.replace).parameters)
    assert {"seed", "epochs", "device", "world", "learning"} <= names
