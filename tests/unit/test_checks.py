"""A check sees one wrong number, says where it is, and says nothing of a sound run."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.unit import evidence as made
from tests.unit.finished import CONFIG, finished_run
from workbench.api import load
from workbench.core.records import EVALUATIONS, EventKind
from workbench.core.shared.replay import Replay
from workbench.core.shared.weight_store import WeightStore
from workbench.core.train.loop import Collector, Trainer
from workbench.diagnose import rules, sentences, stages
from workbench.diagnose.audit import audited, pack, settings_sum
from workbench.diagnose.cases import Case, Judge, Wrong, read_cases
from workbench.diagnose.catalogue import CHECKS
from workbench.diagnose.checks import Number, run_checks
from workbench.diagnose.doctor import METHODS, examine, histogram, run_methods
from workbench.diagnose.second_opinion import STAGES, Opinion
from workbench.diagnose.sentences import beside
from workbench.runs.listing import rewards_of_others, runs
from workbench.runs.live_settings import SettingsTimeline


def verdicts(evidence):
    return {result.name: result for result in run_checks(evidence)}


def failed(evidence):
    return {name for name, result in verdicts(evidence).items() if result.verdict == "fail"}


def test_a_sound_run_passes_every_check_and_every_method():
    evidence = made.evidence()
    assert {result.name: result.verdict for result in run_checks(evidence)} == dict.fromkeys(CHECKS, "pass")
    assert {result.name: result.verdict for result in run_methods(evidence)} == dict.fromkeys(METHODS, "pass")


WRONG = [
    ("integrity", "data/broken", 1), ("integrity", "sync/checksum", 0),
    ("sync", "sync/online_after", 1e-3), ("sync", "sync/target_after", 1e-4), ("learner", "learn/training", 0),
]  # fmt: skip
# A finding of a stage of the audit, and the check that takes it up.
DISAGREES = [
    ("data", "stored", "other turn"), ("data", "rows drawn", "other rows"), ("data", "batch", "handed on"),
    ("stack", "stack", "order"), ("stack", "stack", "policy's frames"), ("stack", "batch", "learner's frames"),
    ("target", "return", "discount"), ("target", "batch", "return"), ("target", "target", "no bootstrap"),
    ("world", "observe", "not new"), ("action", "choice", "chosen"), ("epsilon", "choice", "epsilon"),
    ("sync", "sync", "other weights"), ("sync", "publication", "newest"), ("value", "return", "scale"),
    ("sync", "publication", "target not published"), ("optimizer", "adam", "unchanged"),
    ("learner", "values", "batch's values"), ("learner", "target update", "target's way"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "measurement", "value"), WRONG)
def test_one_wrong_number_is_noticed_by_its_check_alone_with_agent_and_epoch(check, measurement, value):
    tables = made.sound_tables()
    made.measured(tables, measurement)["value"] = value
    evidence = made.evidence(tables)
    assert failed(evidence) == {check}
    result = verdicts(evidence)[check]
    assert result.epoch == 4
    assert result.figure.startswith("1 of ")
    assert result.ids


@pytest.mark.parametrize(("check", "stage", "finding"), DISAGREES)
def test_what_the_audit_says_of_a_stage_fails_its_check_alone_in_the_same_words(check, stage, finding):
    evidence = made.evidence(wrong=(stage, finding))
    assert failed(evidence) == {check}
    result = verdicts(evidence)[check]
    assert result.epoch == 4 and result.sentence.startswith(f"Agent 1, epoch 4: <{finding}> (1 of ")


def test_a_row_that_is_not_there_is_told_of_as_void():
    found = verdicts(made.evidence(wrong=("rows drawn", "rows")))
    assert {name for name, result in found.items() if result.verdict == "fail"} == {"data", "integrity"}
    assert "trained on rows that were void or half written: <rows> (1 of " in found["integrity"].sentence


@pytest.mark.parametrize(("check", "measurement", "value"), WRONG)
def test_a_number_that_is_not_finite_is_not_taken_for_a_right_one(check, measurement, value):
    tables = made.sound_tables()
    made.measured(tables, measurement)["value"] = np.nan
    assert check in failed(made.evidence(tables))


def test_the_first_number_that_is_not_finite_is_named_and_its_consequences_are_not_blamed():
    tables = made.sound_tables()
    update = tables["updates"][9]
    for later in tables["updates"]:
        if later["epoch"] > update["epoch"] or later is update:
            later["loss"], later["max_q"] = np.nan, np.inf
    for each in tables["probes"]:
        if each["epoch"] >= update["epoch"]:
            each["value"] = np.nan
    evidence = made.evidence(tables)
    assert failed(evidence) == {"finite"}
    words = f"loss is nan, agent {update['agent']}, update {update['update']}, epoch {update['epoch']}"
    assert words in verdicts(evidence)["finite"].sentence
    assert not [result.name for result in run_methods(evidence) if result.verdict == "fail"]


def test_counts_of_a_long_run_are_exact():
    tables = made.sound_tables()
    for each in tables["epochs"]:
        each["agent_steps"], each["replay_ratio"] = 2**40, np.float32(each["sync_lag_updates"] / 2**40)
    assert failed(made.evidence(tables)) == set()


@pytest.mark.parametrize(
    ("error", "check", "words"),
    [
        ("actor failed:\nTraceback\nworkbench.exchange.replay.ReplayError: a frame of shape (1, 1, 25) was given",
         "shape", "(1, 1, 25)"),
        ("learner 0 failed:\nTraceback\nworkbench.exchange.layout.LayoutMismatch: the block was made as a 'x'",
         "spec", "the block was made as a 'x'"),
        ("actor failed:\nTraceback\nValueError: actions hold [7]; an action is 0 (up)", "action", "[7]"),
        ("actor failed:\nTraceback\nValueError: actions are [5]; there must be 1, from 0 to 4", "action", "[5]"),
        ("learner 1 failed:\nTraceback\nValueError: the snapshot is a Tensor; it must be a NumPy array, in host memory",
         "device", "Tensor"),
        ("learner 1 failed:\nTraceback\nRuntimeError: Expected all tensors to be on the same device", "device", "same"),
        ("learner 1 was ended by signal 9 (SIGKILL); 3 epochs were collected until then", "supervisor", "SIGKILL"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_by_its_check_in_the_words_that_the_user_got(error, check, words):
    evidence = made.evidence(status="failed", error=error)
    assert failed(evidence) == {check, "supervisor"}
    assert words in verdicts(evidence)[check].sentence


def test_a_process_that_died_is_noticed_also_where_another_took_its_place_and_the_run_went_on():
    incident = {"epochs": 3, "text": "learner 0 (agent 0) was ended by signal 9 (SIGKILL); restarted"}
    evidence = made.evidence(incidents=[incident])
    assert failed(evidence) == {"supervisor"}
    result = verdicts(evidence)["supervisor"]
    assert result.epoch == 3 and result.sentence == "Learner 0 (agent 0) was ended by signal 9 (SIGKILL); restarted."
    two = verdicts(made.evidence(incidents=[incident, incident | {"epochs": 5}]))["supervisor"]
    assert two.figure == "2 of 2 processes lost" and two.sentence.endswith("restarted (2 of 2 processes lost).")


def test_where_a_run_continues_without_a_learner_its_agent_is_not_said_to_sync_no_more():
    tables = made.sound_tables()
    left = [row for row in tables["epochs"] if row["agent"] == 1 and row["epoch"] >= 3]
    for row in left:
        row["policy_version"], row["sync_lag_updates"] = 2, left[0]["sync_lag_updates"]
    assert failed(made.evidence(tables)) == {"sync", "pacing"}
    gone = {"epochs": 3, "agents": [1], "action": "run continues without it", "text": "learner 1 was ended"}
    diagnosis = examine(made.evidence(tables, incidents=[gone]))
    assert [check.name for check in diagnosis.failed] == ["supervisor"] and diagnosis.hypothesis.holds is False
    assert failed(made.evidence(tables, incidents=[gone | {"agents": [0]}])) == {"sync", "pacing", "supervisor"}


def test_an_epoch_without_a_sync_is_noticed_and_counted():
    result = verdicts(made.evidence(without_syncs(3, 4)))["sync"]
    assert (result.verdict, result.epoch, result.figure) == ("fail", 3, "4 of 12 syncs due")


def without_syncs(*epochs, acts=1):
    """The tables of a run that leaves syncs out, and acts in those epochs with the version before, or with others."""
    tables = made.sound_tables()
    tables["events"] = [row for row in tables["events"] if row["kind"] != EventKind.SYNC or row["epoch"] not in epochs]
    for row in tables["epochs"]:
        row["policy_version"] = epochs[0] - 2 if row["epoch"] in epochs and acts else row["policy_version"]
    return tables


@pytest.mark.parametrize("epochs", [range(6), (4, 5), (5,)], ids=["all", "two", "one"])
def test_versions_that_no_known_sync_took_tell_of_lost_events_and_not_of_syncs_that_never_happened(epochs):
    evidence = made.evidence(without_syncs(*epochs, acts=0))
    assert failed(evidence) == set() and verdicts(evidence)["sync"].verdict == "cannot tell"
    assert examine(evidence).hypothesis.holds is None


def test_a_live_run_is_not_blamed_for_events_that_are_still_on_their_way():
    last = made.CONFIG.epochs - 1
    tables = without_syncs(last)
    live = made.evidence(tables, status="running", now=made.START + last + 0.5)
    assert "sync" not in failed(live)
    assert "sync" in failed(made.evidence(tables))


@pytest.mark.parametrize("version", [2, 4])
def test_an_epoch_that_is_acted_in_with_another_version_than_that_of_the_dial_is_noticed(version):
    tables = made.sound_tables()
    (row,) = [row for row in tables["epochs"] if (row["agent"], row["epoch"]) == (1, 4)]
    row["policy_version"] = version
    result = verdicts(made.evidence(tables))["sync"]
    assert (result.verdict, result.epoch, result.figure) == ("fail", 4, "1 of 12 epochs")
    assert f"the first action was chosen by version {version}, where 3 was due" in result.sentence
    assert failed(made.evidence(tables)) == {"sync"}


@pytest.mark.parametrize(("version", "wrong"), [(2, {"sync"}), (3, set()), (4, set())])
def test_a_free_running_epoch_that_is_acted_in_with_an_older_version_than_its_sync_took_is_noticed(version, wrong):
    tables = made.sound_tables()
    (row,) = [row for row in tables["epochs"] if (row["agent"], row["epoch"]) == (1, 4)]
    row["policy_version"] = version
    assert failed(made.evidence(tables, lag=None)) == wrong


@pytest.mark.parametrize(("lag", "behind"), [(made.LAG, 3), (None, 30)])
def test_a_lag_beyond_what_the_dial_or_pacing_allows_is_noticed(lag, behind):
    tables = made.sound_tables()
    tables["epochs"][5]["sync_lag_versions"] = behind
    assert failed(made.evidence(tables, lag=lag)) == {"sync"}


def test_publications_that_come_too_rarely_are_noticed():
    tables = made.sound_tables()
    for row in tables["events"]:
        if row["kind"] == EventKind.PUBLISH and row["version"] >= 5:
            row["update"] += 4
    assert failed(made.evidence(tables)) == {"sync"}


@pytest.mark.parametrize(("table", "kind"), [("epochs", None), ("events", EventKind.PUBLISH)])
def test_a_stale_epsilon_is_noticed_wherever_it_is_recorded(table, kind):
    tables = made.sound_tables()
    rows = [row for row in tables[table] if kind is None or row["kind"] == kind]
    rows[3]["epsilon"] = 0.98
    assert failed(made.evidence(tables)) == {"epsilon"}


def test_updates_ahead_of_the_epochs_and_updates_short_of_them_are_noticed():
    tables = made.sound_tables()
    tables["updates"][0]["update"] = 50
    assert "pacing" in failed(made.evidence(tables))
    tables = made.sound_tables()
    tables["epochs"][5]["policy_updates"] = tables["epochs"][5]["sync_lag_updates"] = 0
    assert failed(made.evidence(tables)) == {"pacing"}


def test_a_q_beyond_every_possible_return_is_noticed():
    tables = made.sound_tables()
    tables["updates"][3]["max_q"] = 1e4
    assert failed(made.evidence(tables)) == {"value"}
    cause = "returns and the targets are right, so its steps overshoot; lower learning.learning_rate (0.001)"
    assert cause in verdicts(made.evidence(tables))["value"].sentence
    unseen = verdicts(made.evidence(tables, audited=False))["value"]
    assert "rewards of another scale than learning.reward_scale, or steps that overshoot" in unseen.sentence
    scaled = verdicts(made.evidence(tables, wrong=("return", "scale")))["value"]
    assert "<scale>" in scaled.sentence and "overshoot" not in scaled.sentence


def test_silence_while_work_is_left_is_noticed_and_silence_at_the_end_is_not():
    tables = made.sound_tables()
    late = {"status": "running", "now": made.START + 100}  # half of hang_timeout_s is 60
    assert failed(made.evidence(tables, **late)) == set()
    tables["updates"] = [row for row in tables["updates"] if row["agent"] == 0 or row["update"] <= 8]
    evidence = made.evidence(tables, **late)
    assert failed(evidence) == {"supervisor"}
    assert "agent 1" in verdicts(evidence)["supervisor"].sentence


def test_a_pause_is_no_silence_and_what_comes_after_it_is():
    tables = made.sound_tables()
    tables["updates"] = [row for row in tables["updates"] if row["update"] <= 8]
    for paused_until, found in ((100, set()), (50, set()), (30, {"supervisor"})):
        late = {"status": "running", "now": made.START + 100, "paused_until": made.START + paused_until}
        assert failed(made.evidence(tables, **late)) == found


def test_a_run_that_hangs_after_a_resume_or_a_pause_is_not_measured_by_the_time_in_which_nothing_was_to_be_done():
    tables, day = made.sound_tables(), 86_400
    for row in (row for name in ("events", "epochs", "updates") for row in tables[name] if row["time"] >= 1003):
        row["time"] += day
    tables["updates"] = [row for row in tables["updates"] if row["update"] <= 8]
    last = max(row["time"] for row in tables["epochs"])
    for now, found in ((last + 50, set()), (last + 100, {"supervisor"})):  # half of hang_timeout_s is 60
        assert failed(made.evidence(tables, status="running", now=now)) == found


def test_values_that_are_no_numbers_from_the_first_on_are_told_by_one_check():
    tables = made.sound_tables()
    for row in tables["updates"]:
        row["max_q"] = np.nan
    assert failed(made.evidence(tables)) == {"finite"}


def test_learning_is_judged_against_luck_and_success_counts_at_any_budget_but_failure_only_after_enough():
    def learning(epochs, chance, **changes):
        references = {"random_no_wall": {"mean": chance, "sd": 10.0, "epochs": 100}}
        config = made.CONFIG.replace(epochs=epochs, **changes)
        return verdicts(made.evidence(references=references, config=config))["learning"]

    # the greedy reward is 80 in 100 worlds: three standard errors of the difference are 4.2
    assert learning(6, 75.0).verdict == "pass"
    assert learning(6, 76.0).verdict == "cannot tell"
    assert learning(1600, 76.0).verdict == "fail"
    assert (
        learning(1600, 76.0, **{"learning.learning_rate": 1e-6, "learning.learning_rate_end": 1e-6}).verdict != "fail"
    )
    assert learning(1600, 75.0).verdict == "pass"
    assert learning(800, 76.0, **{"learning.accumulate": 4}).verdict == "cannot tell"  # a batch has no more rows by it
    early = learning(6, 81.0)
    assert "80, not above chance" in early.sentence and "Give the run more epochs" in early.sentence
    unfinished = verdicts(made.evidence(status="stopped"))["learning"]
    assert unfinished.verdict == "cannot tell" and "a run that finishes" in unfinished.sentence


def test_without_probes_a_check_says_what_to_launch_with_and_what_needs_none_still_passes():
    tables = made.sound_tables()
    tables["probes"] = []
    results = verdicts(made.evidence(tables, audited=False))
    told = {name for name, result in results.items() if result.verdict == "pass"}
    assert told == {"finite", "shape", "spec", "device", "epsilon", "pacing", "supervisor", "learning"}
    for name in set(results) - told:
        assert results[name].verdict == "cannot tell"
        assert "without probes" in results[name].sentence


def test_rules_name_stages_and_findings_that_there_are():
    pages = [
        tomllib.loads((Path(stages.__file__).parent / f"{name}.toml").read_text()) for name in ("rules", "sentences")
    ]
    rules = [rule for check in pages[0].values() for rule in check.values()]
    assert {stage for rule in rules for stage in rule.get("stages", ())} == set(STAGES)
    named = {name for rule in rules for name in (*rule.get("findings", ()), *rule.get("but", ()))}
    assert named <= set(pages[1]["audit"])


def test_every_finding_has_a_sentence_and_every_sentence_a_finding():
    folder = Path(stages.__file__).parent
    known = tomllib.loads((folder / "sentences.toml").read_text())
    text = Path(stages.__file__).read_text()
    assert set(re.findall(r'Wrong\("([^"]+)"', text)) <= set(known["audit"])
    assert [name for name in known.pop("audit") if f'"{name}"' not in text] == []
    text = "".join(path.read_text() for path in folder.rglob("*.py"))
    assert set(re.findall(r'said\("([^"]+)"', text)) <= {f"{part}.{name}" for part in known for name in known[part]}


def test_what_does_not_apply_to_a_run_says_so_and_spoils_no_pass():
    evidence = made.evidence(config=made.CONFIG.replace(**{"replay.max_age": 3}))
    found = verdicts(evidence)["pacing"]
    assert found.verdict == "pass" and "does not apply: with replay.max_age updates are skipped" in found.sentence
    assert examine(evidence).exit_code == 0


def test_a_stage_that_cannot_be_computed_for_a_run_says_so_and_spoils_no_pass():
    evidence = made.evidence()
    records = tuple(each for each in evidence.opinion.records if each.stage not in ("target", "loss", "return"))
    evidence.__dict__["opinion"] = Opinion(records)
    assert "does not apply: target, loss cannot be computed for this run" in verdicts(evidence)["target"].sentence
    assert verdicts(evidence)["value"].verdict == "pass"
    assert examine(evidence).exit_code == 0


def test_a_check_without_its_records_names_those_that_were_lost():
    tables = made.sound_tables()
    tables["events"] = []
    evidence = made.evidence(tables)
    evidence.history.lost["events"] = 249
    found = verdicts(evidence)["sync"]
    assert found.verdict == "cannot tell"
    assert "was recorded before the run ended; 249 records of events were lost; needed" in found.sentence


def test_a_run_that_has_not_begun_cannot_be_told_about():
    evidence = made.evidence({}, audited=False, status="starting", references={})
    assert {result.verdict for result in run_checks(evidence)} == {"cannot tell"}
    assert {result.verdict for result in run_methods(evidence)} == {"cannot tell"}


def test_the_methods_give_their_numbers():
    said = {result.name[0]: result.sentence for result in run_methods(made.evidence())}
    assert "online 0.001 before and 0 after, target 0.0001 before and 0 after" in said["2"]
    assert "The actor was at most 1 version behind (allowed: 1)" in said["3"]
    assert (
        "Epochs by how far behind: versions 0: 2, 1: 10; updates 0: 4, 4: 2, 8: 2, 12: 2, 16: 2; ms 0: 12" in said["3"]
    )


def test_a_histogram_has_few_values_one_by_one_and_many_in_steps():
    assert histogram(np.array([0, 4, 4, 0, 4])) == "0: 2, 4: 3"
    assert histogram(np.linspace(0, 10, 101)) == "0 to 2: 20, 2 to 4: 20, 4 to 6: 20, 6 to 8: 20, 8 to 10: 21"
    assert histogram(np.linspace(0, 14_500, 101)).startswith("0 to 2900: 20, ")  # and not 2.9e+03


@pytest.mark.parametrize(("value", "told"), [(1, "1 row did"), (3, "3 rows did")])
def test_numbers_agree_with_their_nouns(value, told):
    tables = made.sound_tables()
    made.measured(tables, "data/broken")["value"] = value
    sentence = verdicts(made.evidence(tables))["integrity"].sentence
    assert f"Agent 1, epoch 4: {told} not match stamp and number (1 of " in sentence


@pytest.mark.parametrize("noun", ["epoch", "batch", "sync"])
def test_nouns_have_their_plurals(noun):
    assert f"{Number(1):{noun}}" == f"1 {noun}"
    assert f"{Number(2):{noun}}" == {"epoch": "2 epochs", "batch": "2 batches", "sync": "2 syncs"}[noun]


def test_the_pacing_check_tells_replay_ratio_and_age_of_the_samples():
    sentence = verdicts(made.evidence())["pacing"].sentence
    assert "updates per agent step; sampled rows were 0.0 versions old on average." in sentence


def test_learning_is_a_share_of_what_can_be_earned_and_is_left_open_where_luck_could_explain_it():
    """Sixty epochs of 0.1: the way that the weights have gone is far enough for a failure to count."""

    def learning(chance, scripted, sd=10.0):
        best = {"mean": scripted, "sd": sd, "epochs": 100}
        references = {"random_no_wall": {"mean": chance, "sd": sd, "epochs": 100}, "scripted": best}
        config = made.CONFIG.replace(epochs=1600)
        return verdicts(made.evidence(references=references, config=config))["learning"]

    assert "50% of the way from chance to the scripted policy" in learning(60.0, 100.0).sentence
    assert learning(79.0, 200.0).verdict == "fail"
    assert "no better than chance that avoids walls (83.24 with 3 stand" in learning(79.0, 200.0).sentence
    assert learning(79.0, 110.0).verdict == "cannot tell"  # it may have made a tenth of the way
    assert learning(79.0, 300.0, sd=100.0).verdict == "cannot tell"
    nothing = learning(80.0, 80.0)
    assert nothing.verdict == "does not apply" and "there is nothing to learn" in nothing.sentence


@pytest.mark.parametrize(
    ("sd", "chance", "verdict"), [(0.0, 80.0, "does not apply"), (0.0, 81.0, "fail"), (1.0, 80.0, "fail")]
)
def test_a_world_in_which_chance_always_earns_the_same_convicts_nobody_who_earns_it_too(sd, chance, verdict):
    references = {"random": {"mean": chance, "sd": sd, "epochs": 100}}
    evidence = made.evidence(references=references, config=made.CONFIG.replace(epochs=1600))
    told = verdicts(evidence)["learning"]
    assert told.verdict == verdict and "walls" not in told.sentence and "scripted" not in told.sentence


def test_learning_is_judged_by_other_runs_of_the_same_configuration():
    def learning(*others):
        return verdicts(made.evidence(others=others))["learning"]  # its own greedy reward is 80

    assert learning(79.0, 81.0).sentence == learning().sentence  # two are too few
    fits, below = learning(*range(76, 86)), learning(*range(116, 126))
    assert fits.verdict == "pass"
    assert below.verdict == "fail" and "10 other runs of the same configuration earn" in below.sentence
    assert "120.5 on average: less than luck explains" in below.sentence
    assert learning(*range(10, 20)).verdict == "pass"  # to earn more is no mistake
    assert learning(*[81.0] * 10).verdict == "pass"  # runs that are all alike prove no small difference wrong


def test_other_runs_are_sound_ones_beside_it_of_the_same_settings_and_lag(tmp_path):
    rewards = {}
    for seed, options in enumerate([
        {}, {"mode": "multiprocess"}, {"lag": 3}, {"faults": ["sync_never"]}, {"status": "stopped"},
        {"config": CONFIG.replace(**{"learning.gamma": 0.5})},
        {"config": CONFIG.replace(**{"processes.threads": 2})}, {},
    ]):  # fmt: skip
        path = finished_run(tmp_path, seed=seed, **options)
        rewards[seed] = load(path).result.greedy_reward
    found = rewards_of_others(load(path))
    assert sorted(found) == [rewards[0], rewards[1], rewards[6]]


def test_one_rare_penalty_in_many_worlds_is_luck_also_where_no_other_run_had_one(monkeypatch):
    monkeypatch.setattr(rules, "greedy_reward", lambda history: -0.02)  # -1 in two of a hundred worlds
    references = {"random": {"mean": -0.05, "sd": 0.3, "epochs": 400}}
    assert verdicts(made.evidence(others=[0.0] * 10, references=references))["learning"].verdict != "fail"
    assert verdicts(made.evidence(others=[0.5] * 10, references=references))["learning"].verdict == "fail"


@pytest.mark.parametrize(
    "unlike",
    [
        {"warm_start": True},
        {"changes": [{"time": 1.0, "epoch": 3, "settings": {"learning.learning_rate": 1e-9}}]},
        {"resumed": [{"epoch": 3, "changed": {"epochs": [3, 12]}}]},
    ],
    ids=["given weights", "changed", "extended"],
)
def test_a_run_that_is_another_training_is_compared_with_no_others_and_they_are_not_with_it(tmp_path, unlike):
    for seed in (0, 1):
        path = finished_run(tmp_path, seed=seed)
    head = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(head | {"description": head["description"] | unlike}))
    assert [rewards_of_others(each.load()) for each in runs(tmp_path)] == [[], []]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [({}, [7.0, 8.0]), ({"lag": 2}, []), ({"config": {"epochs": 1}}, []), ({"config": 3}, []), ({"runs": None}, [])],
    ids=["the same", "another lag", "another configuration", "no configuration", "no runs"],
)
def test_rewards_that_were_measured_for_reference_count_if_they_are_of_the_configuration(
    tmp_path, monkeypatch, kept, expected
):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    path = finished_run(tmp_path / "runs")
    run = load(path)
    assert rewards_of_others(run) == []  # no file
    runs = [{"seed": seed, "mode": mode, "lag": kept.get("lag", run.lag), "greedy_reward": reward}
            for seed, reward in ((10, 7.0), (11, 8.0)) for mode in ("sequential", "multiprocess")]  # fmt: skip
    (tmp_path / "reference").mkdir()
    whole = {"config": run.config.replace(seed=9).to_dict(), "runs": runs} | kept
    (tmp_path / "reference" / "learning.json").write_text(json.dumps(whole))
    assert sorted(rewards_of_others(run)) == expected


def test_learning_is_judged_by_the_earlier_weights_of_the_run_itself():
    def learning(*rewards, **about):
        table = np.zeros(2 * len(rewards), EVALUATIONS)  # its last weights earn 80
        table["epoch"], table["agent"] = np.repeat(range(10, 10 + len(rewards)), 2), np.arange(len(table)) % 2
        table["reward"] = np.repeat(rewards, 2) / 2
        evidence = made.evidence(config=made.CONFIG.replace(epochs=20), **about)
        evidence.history.append("evaluations", table)
        return verdicts(evidence)["learning"]

    fell = learning(120.0, 121.0, 119.0, 120.0, 122.0)
    assert fell.verdict == "fail" and "5 evaluations of its own weights" in fell.sentence
    assert "earned 120.4 on average: less than luck explains" in fell.sentence
    assert learning(120.0, 60.0, 140.0, 90.0, 110.0).verdict == "pass"  # it goes up and down
    assert learning(40.0, 41.0, 39.0, 40.0).verdict == "pass"
    assert learning(120.0, 121.0).verdict == "pass"  # two are too few
    assert learning(*[120.0] * 5, changes=[(3, {"learning.learning_rate": 1e-4})]).verdict == "pass"


@pytest.mark.parametrize(
    ("turns", "says"), [(1, "reward of turn 0 is stored as 7"), (3, "reward of turn 0 stored for turn 1")]
)
def test_a_row_is_said_to_lie_at_another_turn_only_where_the_epoch_has_one(turns, says):
    due = np.arange(turns)[:, None] + 1.0
    paid = {"rewards": due, "valid": due > 0, "terminated": due < 0, "truncated": due < 0}
    alike = ("action", "probability", "frame", "epsilon")
    found = {f"paid_{name}": each for name, each in paid.items()}
    found |= {
        "chosen_action": due,
        "chosen_probability": due,
        "shown": due,
        "epsilon": due[:, 0],
        "version": np.array(0),
    }
    found |= {f"row_{name}": due for name in alike} | {"row_reward": np.append([[7.0]], due[:-1], 0)}
    found |= {"row_policy_version": 0 * due, "row_episode_start": 0 * due}
    with pytest.raises(Wrong) as wrong:
        stages.stored(Judge(1, SettingsTimeline(made.CONFIG), True), Case("turns", 0, 0, made.CONFIG, found))
    assert str(wrong.value).startswith(says)


def test_a_check_that_fails_says_what_to_do_with_settings_and_calls_that_there_are():
    remedies = beside(sentences.__file__)["remedy"]
    assert list(remedies) == list(CHECKS)
    named = {name for text in remedies.values() for name in re.findall(r"\b[a-z]+\.[a-z_]+\b", text)}
    assert named and named <= made.CONFIG.flat().keys()
    parts = {part.__name__: part for part in (Replay, WeightStore, Collector, Trainer)}
    calls = {call for text in remedies.values() for call in re.findall(r"\b([A-Z]\w+)\.(\w+)\b", text)}
    assert calls and all(hasattr(parts[part], name) for part, name in calls)
    tables = made.sound_tables()
    made.measured(tables, "learn/training")["value"] = 0
    assert {name: result.remedy for name, result in verdicts(made.evidence(tables)).items() if result.remedy} == {
        "learner": remedies["learner"]
    }


@pytest.mark.parametrize("name", ["turns-\u00b2-0", "turns-0-99999999999999999999", "turns-0--1", "turns-7-0"])
def test_a_file_of_evidence_whose_name_has_no_agent_and_epoch_of_the_run_is_left_out(name, tmp_path):
    (tmp_path / "audit").mkdir()
    for each in (name, "turns-1-0"):
        kept = pack({"process": "actor", "settings": settings_sum(made.CONFIG)})
        (tmp_path / "audit" / f"{each}.evidence").write_bytes(kept)
    found = read_cases(tmp_path, SettingsTimeline(made.CONFIG))
    assert [(case.agent, case.epoch) for case in found] == [(1, 0)]


def test_the_actor_keeps_no_evidence_of_epochs_so_long_that_nobody_could_read_it():
    """Otherwise it would take that memory, and above 2 GiB die of it."""
    rows = {"replay.capacity": 2 * 10**7, "replay.window": 10**7, "replay.learning_starts": 10**7}
    config = made.CONFIG.replace(**{"world.max_turns": 10**6, "world.num_worlds": 4, **rows})
    assert not audited(config, 0, acting=True) and audited(config, 0, acting=False)
    assert audited(made.CONFIG, 0, acting=True) >= {(0, 0), (1, 0)}
