"""The doctor turns verdicts into one outcome, decides the hypothesis with a reason, and works on any run."""

import numpy as np
import pytest

import workbench as wb
from tests.unit import evidence as made
from workbench.diagnose.doctor import diagnose, examine
from workbench.diagnose.measurements import measurements_of
from workbench.runs.history import History


def wrong(measurement, value):
    tables = made.sound_tables()
    made.measured(tables, measurement)["value"] = value
    return examine(made.evidence(tables))


def test_a_sound_run_passes_and_the_hypothesis_is_false():
    diagnosis = examine(made.evidence())
    assert diagnosis.exit_code == 0
    assert diagnosis.failed == ()
    assert diagnosis.hypothesis.holds is False
    assert (
        "FALSE, because: After 12 syncs the actor's online weights were the published ones"
        in diagnosis.hypothesis.sentence
    )


def test_a_copy_that_changes_nothing_makes_the_hypothesis_true_with_its_figure():
    diagnosis = wrong("sync/online_after", 0.0123)
    assert diagnosis.exit_code == 1
    assert diagnosis.hypothesis.holds is True
    assert "TRUE, because: (method 2 weight distance)" in diagnosis.hypothesis.sentence
    assert "0.0123" in diagnosis.hypothesis.sentence


STALE = ("choice", "epsilon")


def test_a_stale_epsilon_is_no_copy_that_failed_and_the_verdict_says_both():
    diagnosis = examine(made.evidence(wrong=STALE))
    assert diagnosis.exit_code == 1
    assert diagnosis["5 epsilon"].verdict == "fail"
    assert diagnosis.hypothesis.holds is False
    said = diagnosis.hypothesis.sentence
    assert "is FALSE for the weights that the actor acts with, because: After 12 syncs" in said
    assert "EPSILON was not the one due, which is easily mistaken for a sync that failed: (method 5 epsilon)" in said
    assert "<epsilon>" in said


def test_a_target_network_that_is_not_published_is_named_and_is_no_stale_policy():
    diagnosis = examine(made.evidence(wrong=("publication", "target not published")))
    assert diagnosis["sync"].verdict == diagnosis["8 publication"].verdict == "fail"
    assert diagnosis.hypothesis.holds is False
    assert "But the TARGET network did not arrive" in diagnosis.hypothesis.sentence


def test_weights_that_fail_beside_a_stale_epsilon_still_make_the_hypothesis_true():
    tables = made.sound_tables()
    made.measured(tables, "sync/checksum")["value"] = 0
    hypothesis = examine(made.evidence(tables, STALE)).hypothesis
    assert hypothesis.holds is True
    assert "self-test" in hypothesis.sentence and "<epsilon>" not in hypothesis.sentence


def test_a_fault_elsewhere_fails_but_leaves_the_hypothesis_false():
    diagnosis = wrong("learn/training", 0)
    assert diagnosis.exit_code == 1
    assert [check.name for check in diagnosis.failed] == ["learner"]
    assert diagnosis.hypothesis.holds is False


def test_the_conclusion_has_the_stage_first_and_then_what_may_follow_without_saying_the_same_twice():
    tables = made.sound_tables()
    made.measured(tables, "data/broken")["value"] = 3
    said = examine(made.evidence(tables, ("stack", "order"))).conclusion
    assert said == (
        "The first stage that disagrees: stack (actor, agent 1, epoch 4): <order>. What may follow from it: integrity."
    )


def test_the_answer_comes_first_and_what_fails_before_what_passes():
    assert examine(made.evidence(), "Run sound").text.startswith("Run sound\nNo check fails.\nAll stages of ")
    lines = wrong("learn/training", 0).text.splitlines()
    assert lines[1] == "Fails: learner."
    assert [line.split()[0] for line in lines if "must: " in line][:2] == ["learner", "finite"]
    assert "an update (1 of 12 updates). Look at the agent's update()" in " ".join(" ".join(lines).split())
    unlearned = examine(made.evidence(references={}))
    assert unlearned.answer == "No check fails. Cannot tell: learning."
    assert next(line for line in unlearned.text.splitlines() if "must: " in line).startswith("learning ")


def test_a_check_is_no_consequence_of_the_stage_of_its_own_name():
    found = examine(made.evidence(wrong=("sync", "other weights")))
    assert [each.name for each in found.failed] == ["chain.sync", "sync"]
    assert found.conclusion == "The first stage that disagrees: sync (actor, agent 1, epoch 4): <other weights>."


def test_without_probes_the_outcome_is_open():
    tables = made.sound_tables()
    tables["probes"] = []
    diagnosis = examine(made.evidence(tables, audited=False))
    assert diagnosis.exit_code == 2
    assert diagnosis.hypothesis.holds is None
    assert "OPEN" in diagnosis.text


def test_that_learning_cannot_be_told_yet_does_not_spoil_a_pass():
    assert examine(made.evidence(references={})).exit_code == 0


def test_the_text_shows_every_check_with_figure_threshold_and_ids():
    diagnosis = wrong("sync/checksum", 0)
    for check in diagnosis.checks:
        assert check.threshold in diagnosis.text
        assert " ".join(check.ids) in diagnosis.text
    assert "1 of 12 copies" in diagnosis.text
    assert repr(diagnosis) == diagnosis.text
    assert max(map(len, diagnosis.text.splitlines())) < 160


def test_a_check_is_found_by_name_and_an_unknown_name_is_refused():
    diagnosis = examine(made.evidence())
    assert diagnosis["sync"].verdict == diagnosis["2 weight distance"].verdict == "pass"
    with pytest.raises(KeyError, match=r"no check 'sink'.*sync"):
        diagnosis["sink"]


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        ({"shows": "nan"}, "the world itself shows agent 0 such numbers in epoch 0"),
        ({"pays": "nan"}, "the world itself pays agent 0 such a reward in epoch 0"),
        ({"pays": "inf"}, "the world itself pays agent 0 such a reward in epoch 0"),
    ],
    ids=["shows nan", "pays nan", "pays inf"],
)
@pytest.mark.parametrize("sampler", ["uniform", "prioritised"])
def test_a_world_that_gives_numbers_that_are_not_finite_is_to_blame_and_no_stage_of_the_trainer(
    tmp_path, gives, told, sampler
):
    pytest.importorskip("gymnasium")
    config = wb.preset("tiny").replace(
        world="gymnasium:tests.unit.own_environments:Endless", device="cpu", epochs=4,
        **{"world.env_args": gives, "world.max_turns": 20, "replay.learning_starts": 40, "replay.sampler": sampler},
    )  # fmt: skip
    with pytest.warns(UserWarning, match="a number is not finite"):
        run = wb.launch(config, "sequential", 0, out=tmp_path)
        run.wait()
    (found,) = run.diagnose().failed
    assert found.name == "finite" and told in found.sentence


@pytest.mark.parametrize("status", ["running", "finished"])
def test_records_that_come_while_the_doctor_looks_do_not_end_it(status):
    class Growing(History):
        def table(self, name):
            records = super().table(name)
            self.append(name, records[-1:])
            return records

    evidence = made.evidence(status=status)
    evidence.history.__class__ = Growing
    assert len(examine(evidence).checks) == len(examine(made.evidence()).checks)


def test_a_run_is_diagnosed_while_it_is_running_after_the_end_and_from_its_folder(tmp_path):
    config = wb.preset("tiny").replace(device="cpu", epochs=8)
    run = wb.launch(config, "sequential", 1, out=tmp_path)
    with run:
        assert diagnose(run).exit_code in (0, 2)  # whatever there is so far raises no alarm
        run.wait()
    ended, loaded = diagnose(run), diagnose(wb.load(run.folder.path))
    assert ended.exit_code == 0
    assert loaded.text == ended.text
    assert np.isfinite(measurements_of(run.history, "sync/online_after")["value"]).all()
