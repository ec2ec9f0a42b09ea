"""What the notebooks on diagnosis show: tables that lack nothing, a figure, and a menu that runs faults."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import workbench as wb
from notebooks import tour
from tests.unit import evidence as made
from workbench.diagnose.catalogue import CATALOGUE
from workbench.diagnose.doctor import examine
from workbench.diagnose.faults import FAULTS

QUICK = wb.preset("tiny").replace(**{"epochs": 4, "processes.learners": 1})
DEADLINE_S = 120.0


def diagnoses():
    tables = made.sound_tables()
    made.measured(tables, "sync/online_after")["value"] = 0.0123
    return {"sound": examine(made.evidence()), "sync_noop": examine(made.evidence(tables))}


def wait_for(widget, trait):
    """Sleep until a trait of a widget holds something."""
    filled = threading.Event()
    widget.observe(lambda change: filled.set() if change["new"] else None, trait)
    assert getattr(widget, trait) or filled.wait(DEADLINE_S), f"{trait} is still empty"
    return getattr(widget, trait)


def test_the_catalogue_is_shown_whole_and_by_room():
    whole = tour.catalogue_table()
    for row in CATALOGUE.values():
        assert f"  {row.id:<4}{row.title}" in whole
    assert all(fault in whole for fault in FAULTS)
    assert "W3" in tour.catalogue_table("W") and "D3" not in tour.catalogue_table("W")
    assert max(map(len, whole.splitlines())) <= 120


def test_claims_that_measuring_put_in_doubt_have_a_note():
    assert {row.id for row in tour.doubted_claims()} == {"D2", "D3", "D4", "W2", "W8", "W9", "L9"}
    line = {"name": "target_not_published", "effect": 0.0, "effect_interval": [-3.0, 3.0], "measurable": False}
    table = tour.claims_table([line])
    assert "target_not_published, greedy reward: +0.0 [-3.0, +3.0] not measurable" in table
    assert "the same to the last bit" in table and "greedy reward" not in tour.claims_table()


def test_verdicts_stand_side_by_side():
    first, *lines = tour.verdict_table(diagnoses(), "methods").splitlines()
    assert first.split() == ["sound", "sync_noop"]
    assert [line.split()[-2:] for line in lines if line.startswith("2 weight")] == [["pass", "fail"]]
    assert len(lines) == 8
    assert len(tour.verdict_table(diagnoses()).splitlines()) == 1 + len(diagnoses()["sound"].checks)


def test_a_fault_is_noticed_by_its_own_check_only():
    sound, noop = diagnoses().values()
    assert tour.noticed("sync_noop", noop) and not tour.noticed("sync_noop", sound)
    assert tour.noticed("sync_rarely=5", noop)
    assert not tour.noticed("stale_epsilon", noop)


def test_sentences_and_conclusion_are_wrapped():
    text = tour.sentences(diagnoses()["sync_noop"].failed) + tour.conclusion("sync_noop", diagnoses()["sync_noop"])
    assert "fail: sync" in text and "0.0123" in text and "TRUE" in text
    assert max(map(len, text.splitlines())) <= 112


def test_the_figure_of_the_syncs_draws_means_of_the_agents():
    tables = made.sound_tables()
    made.measured(tables, "sync/online_after", agent=0, epoch=4)["value"] = 0.03
    runs = [
        SimpleNamespace(
            description={},
            label=label,
            name=label,
            config=made.CONFIG,
            mode="multiprocess",
            lag=1,
            faults=(),
            history=made.evidence(rows).history,
        )
        for label, rows in (("sound", None), ("faulty", tables))
    ]
    lag, epsilon, distance = tour.sync_figure(runs).axes
    before, after, _, faulty = distance.lines
    assert np.allclose(before.get_ydata(), 1e-3) and not np.any(after.get_ydata())
    assert faulty.get_ydata()[4] == pytest.approx(0.03 / made.CONFIG.num_agents)
    assert max(lag.lines[0].get_ydata()) == made.LAG
    due = dict(zip(*epsilon.lines[-1].get_data(), strict=True))
    used = dict(zip(*epsilon.lines[0].get_data(), strict=True))
    assert all(used[epoch] == pytest.approx(due[epoch], abs=1e-6) for epoch in due)


def test_a_run_without_probes_cannot_be_drawn_and_says_what_to_launch_with():
    tables = made.sound_tables()
    tables["probes"] = []
    run = SimpleNamespace(
        label="x", name="x", description={}, config=made.CONFIG, history=made.evidence(tables).history
    )
    with pytest.raises(wb.RunError, match=r"run x was made without probes.*launch it with probes=True"):
        tour.sync_figure([run])


def test_the_menu_runs_a_fault_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    menu = tour.FaultMenu(QUICK, launch=wb.launch)
    assert {name for _, name in menu.choice.options} == set(FAULTS)
    menu.choice.value = "sync_never"
    menu.button.click()
    report = wait_for(menu.report, "value")
    assert menu.run is not None and menu.run.status == "finished"
    assert "sync        fail" in report
    assert not menu.button.disabled


def test_the_menu_says_why_a_fault_makes_no_sense() -> None:
    menu = tour.FaultMenu(QUICK, launch=wb.launch)
    menu.choice.value = "wraparound_ignored"
    menu.button.click()
    assert "never come round" in wait_for(menu.message, "value")
    assert menu.run is None
    with pytest.raises(wb.ConfigError, match="did you mean sync_never"):
        menu.launch("sync_nevr")
