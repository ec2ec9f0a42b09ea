"""What follows the death of a process: how often it may come back, and in which words it is told."""

import dataclasses
import json
import signal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.config import ProcessConfig
from workbench.core.processes.supervisor import how_it_ended
from workbench.core.train.hooks import Death
from workbench.runs.recovery import restarts as restarts_module
from workbench.runs.recovery.restarts import Incident, RestartPolicy, Restarts, Silence


class Clock:
    """Stands in for the module ``time``: the wall clock says nonsense, since nothing may depend on it."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        raise AssertionError("a decision was taken by the wall clock, which can jump")


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(restarts_module, "time", clock)
    return clock


@given(
    gaps=st.lists(st.floats(0.01, 30, allow_nan=False), min_size=1, max_size=12),
    most=st.integers(0, 4),
    window_s=st.floats(0.5, 60),
)
def test_a_number_of_restarts_within_any_window_and_no_more(gaps, most, window_s):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(restarts_module, "time", clock)
        restarts = Restarts(ProcessConfig(max_restarts=most, restart_window_s=window_s))
        allowed = []
        for place, gap in enumerate(gaps):
            clock.now += gap
            recent = sum(clock.now - moment <= window_s for moment in allowed)
            why_not = restarts.why_not("", (place, place))
            assert bool(why_not) == (recent >= most)
            if not why_not:
                allowed.append(clock.now)


def test_the_reason_for_no_restart_names_the_setting(clock):
    assert Restarts(ProcessConfig(max_restarts=0)).why_not("", (0, 0)) == "processes.max_restarts is 0"
    often = Restarts(ProcessConfig(max_restarts=2, restart_window_s=60))
    assert often.why_not("", (0, 0)) == often.why_not("", (1, 0)) == ""
    assert often.why_not("", (2, 0)) == (
        "it was restarted 2 times within 60 s, and processes.max_restarts allows no more"
    )
    clock.now += 61
    assert often.why_not("", (3, 0)) == ""


def test_the_same_failure_at_the_same_place_is_not_tried_a_third_time_but_a_kill_or_progress_is(clock):
    config = ProcessConfig(max_restarts=1000)
    restarts = Restarts(config)
    assert restarts.why_not("Traceback", (3, 4)) == ""
    assert restarts.why_not("Traceback", (3, 4)) == "the same had happened to it before, at the same place"
    restarts = Restarts(config)
    deaths = [("Traceback", (3, 4)), ("Traceback", (3, 5)), ("Other", (3, 5)), ("", (3, 5)), ("", (3, 5))]
    assert [restarts.why_not(text, done) for text, done in deaths] == [""] * 5


def test_a_hang_at_the_same_place_is_told_from_one_after_progress_however_long_it_took_to_be_seen(clock):
    restarts = Restarts(ProcessConfig(max_restarts=3, restart_window_s=60, hang_timeout_s=120))
    for place in ((3, 4), (5, 9)):
        assert restarts.why_not("it hung", place) == ""
        clock.now += 125
    assert restarts.why_not("it hung", (5, 9)) == "the same had happened to it before, at the same place"


def incident(**changes):
    known = {"time": 1.7e9, "process": "learner 1", "agents": (1,), "cause": "was ended by signal 9 (SIGKILL)",
             "epochs": 12, "updates": 34, "restarts": 0, "action": "restarted"}  # fmt: skip
    return Incident(**known | changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "learner 1 (agent 1) was ended by signal 9 (SIGKILL); 12 epochs were collected until then, 34 updates"),
        ({"epochs": 1, "updates": 1}, "; 1 epoch was collected until then, 1 update made; restarted"),
        ({"process": "actor", "agents": ()}, "actor was ended by"),
        ({"agents": (0, 2)}, "learner 1 (agents 0, 2) was ended by"),
        ({"action": "run continues without it"}, "made; run continues without it"),
    ],
)  # fmt: skip
def test_an_incident_says_in_one_line_who_died_how_and_what_followed(changes, text):
    said = str(incident(**changes))
    assert text in said and "\n" not in said
    json.dumps(dataclasses.asdict(incident(**changes)))  # it goes into the run folder


@pytest.mark.parametrize("role", ["actor", "sequential", "learner"])
def test_the_policy_belongs_to_the_role(role):
    config = ProcessConfig(actor_death="stop", learner_death="continue")
    supervisor = SimpleNamespace(
        config=SimpleNamespace(processes=config), progress=SimpleNamespace(stopping=False, started=True),
        children=[SimpleNamespace(job=SimpleNamespace(name="it", role=role))],
    )  # fmt: skip
    verdict = RestartPolicy(supervisor, lambda incident: None).after_death(Death("it", (), "died", 0, 0, 0), "")
    assert verdict.action == ("run continues without it" if role == "learner" else "run ended")


@pytest.mark.parametrize("number", sorted(signal.Signals))
def test_every_signal_is_named(number):
    assert how_it_ended(-number) == f"was ended by signal {int(number)} ({number.name})"


@given(code=st.integers(-128, 255).filter(bool))
def test_any_exit_code_can_be_told(code):
    assert str(abs(code)) in how_it_ended(code)


def test_time_in_which_the_parent_slept_is_nobodys_silence(clock):
    silence, ready = Silence(2), [True, True]
    silence.look([1, 1], ready)
    clock.now += 3600  # a suspended machine
    assert silence.look([1, 2], ready) == [1.0, 0.0]
    clock.now += 0.5
    assert silence.look([1, 2], ready) == [1.5, 0.5]
    assert silence.seconds == [1.5, 0.5]


def test_the_silence_of_a_process_is_not_that_of_the_one_before_it(clock):
    silence = Silence(1)
    silence.look([7], [True])
    for _ in range(9):
        clock.now += 1
        silence.look([7], [True])
    assert silence.seconds == [9.0]
    clock.now += 1
    assert silence.look([7], [False]) == [0.0]  # another one takes its place, and gives none before it is ready
    clock.now += 1
    assert silence.look([7], [True]) == [1.0]
