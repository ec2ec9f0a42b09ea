"""The command lines of the campaigns, and the files that they write, without a child process."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.campaigns import (
    bench,
    kills,
    learned_worlds,
    learning,
    matrix,
    policies,
    precision,
    soak,
    staleness,
    torn,
    watch,
    worlds,
)
from tests.campaigns.learning import LearningFile
from tests.campaigns.reference_files import commits_of, machine_label, older_than_core
from workbench.cli.main import exit_code
from workbench.runs.folder import RecordError
from workbench.runs.presets import preset

CAMPAIGNS = {
    "bench": bench, "kills": kills, "learned_worlds": learned_worlds, "learning": learning, "matrix": matrix,
    "policies": policies, "precision": precision, "soak": soak, "staleness": staleness, "torn": torn, "watch": watch,
    "worlds": worlds,
}  # fmt: skip
ROOT = Path(__file__).parents[2]


# --- command lines ---------------------------------------------------------------------------------------------------


def code_of(line: str) -> int | str | None:
    campaign, *arguments = line.split()
    try:
        return exit_code(CAMPAIGNS[campaign].main, arguments)
    except SystemExit as left:
        return left.code


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_every_campaign_explains_its_options(campaign, capsys):
    assert code_of(f"{campaign} --help") == 0
    shown = capsys.readouterr().out
    assert f"python -m tests.campaigns.{campaign}" in shown and "--out" in shown


@pytest.mark.slow
def test_a_campaign_runs_from_the_folder_of_the_repository(tmp_path):
    command = [sys.executable, "-m", "tests.campaigns.policies", "--epochs", "2", "--out", str(tmp_path / "x.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.json").read_text())["command"].startswith("python -m tests.campaigns.policies")


@pytest.mark.parametrize(
    "line",
    [
        "kills --kills 0", "kills --kills -3", "kills --seed -1", "soak --seed -1", "soak --minutes nan",
        "soak --minutes 0", "soak --kill-every 0", "torn --seed -1", "policies --epochs 1", "policies --seed -1",
        "learning --num-seeds 0", "matrix --jobs 0", "matrix --seeds 0", "matrix --only no_such_fault",
        "bench --minutes -1", "bench --minutes 3", "kills --no-such-option", "watch --num-seeds 0",
        "staleness --num-seeds 0", "precision --num-seeds 0",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_written(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    assert code_of(line) == 2
    shown = capsys.readouterr()
    assert shown.err and "Traceback" not in shown.err and shown.out == ""
    assert list(tmp_path.rglob("*")) == []


def test_policies_writes_its_file_and_a_line_for_each(tmp_path, capsys):
    out = tmp_path / "new" / "policies.json"
    assert policies.main(["--preset", "tiny", "--epochs", "20", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    for name in ("random", "random_no_wall", "scripted"):
        assert set(written[name]) == {"mean", "sd", "epochs"} and written[name]["epochs"] == 20
    assert written["world"]["height"] == 7
    assert {"machine", "versions", "commit", "command"} <= set(written)
    assert capsys.readouterr().out.count("\n") == 4


def test_learners_are_measured_row_by_row_and_an_interrupted_file_is_continued(monkeypatch, tmp_path):
    written = []

    def row(config, *_):
        """A row as short as one can be."""
        written.append(config.num_agents)
        return {"agents": config.num_agents, "batch": config.learning.batch_size}

    def scaling(config, agents, cores, quick):
        """Likewise."""
        written.append(agents)
        return {"agents": agents, "cores": cores, "updates_per_s": 50.0 * cores, "copies_updates_per_s": 60.0 * cores}

    monkeypatch.setattr(bench.learners, "row", row)
    monkeypatch.setattr(bench.learners, "_scaling", scaling)
    for what in ("learners", "scaling"):
        line = [f"--{what}", "--device", "cpu", "--quick", "--out", str(tmp_path / f"{what}.json")]
        assert bench.main(line) == 0
        first = len(written)
        assert bench.main(line) == 0
        assert len(written) == first >= 1  # nothing is measured twice
        assert json.loads((tmp_path / f"{what}.json").read_text())[what]
    rows = json.loads((tmp_path / "scaling.json").read_text())["scaling"]
    assert [(row["gain"], row["of_ceiling"]) for row in rows] == [(row["cores"], 1.0) for row in rows]


def test_what_is_measured_of_a_card_can_be_measured_of_any_device_and_is_continued(monkeypatch, tmp_path):
    out, card = tmp_path / "card.json", bench.card
    monkeypatch.setattr(card.learners, "row", lambda *_: ROW)
    monkeypatch.setattr(card, "modes", lambda *_: {"identical": {"sequential = fused": True}})
    report = card.run_card(torch.device("cpu"), out, True, "command", lambda line: None)
    assert report["peaks"]["float32_flop_per_s"] > 0 and report["overheads"]["upload_of_a_batch_us"] > 0
    assert report["learners"][0]["bound"]["by"] in ("arithmetic", "bytes")
    assert report["gain"] == {"2 agents, batch 64": 5.0}
    monkeypatch.setattr(card, "modes", pytest.fail)
    assert card.run_card(torch.device("cpu"), out, True, "command", lambda line: None) == report


ROW = {
    "agents": 2, "batch": 64,
    "ways": {"fused, graph": {"updates_per_s": 50.0}, "eager, a process per agent": {"updates_per_s": 10.0}},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::workbench.runs.folder.RecordWarning")
def test_precisions_are_compared_by_pairs_of_a_seed_and_an_interrupted_file_is_continued(tmp_path, monkeypatch):
    out, made = tmp_path / "precision.json", []
    line = [
        "--preset",
        "tiny",
        "--device",
        "cpu",
        "--epochs",
        "4",
        "--exploration.decay-epochs",
        "2",
        "--out",
        str(out),
    ]
    assert precision.main([*line, "--num-seeds", "2"]) == 0
    written = json.loads(out.read_text())
    rewards = [run["greedy_reward"] for run in written["runs"]]
    assert written["pairs"] == 2
    apart = (rewards[1] - rewards[0] + rewards[3] - rewards[2]) / 2
    assert written["bfloat16_less_float32"]["value"] == pytest.approx(apart)
    monkeypatch.setattr(precision.workbench, "launch", lambda *arguments, **named: made.append(arguments))
    assert precision.main([*line, "--num-seeds", "2"]) == 0 and made == []


def test_an_environment_is_stepped_as_often_by_itself_as_in_a_world_of_ours():
    pytest.importorskip("gymnasium")
    pytest.importorskip("mpe2")
    found = bench.parts.adapter_speed(quick=True)
    assert list(found) == ["gymnasium:CartPole-v1", "pettingzoo:mpe2.simple_spread_v3"]
    for row in found.values():
        assert row["ratio"] == pytest.approx(row["ours_us"] / row["own_us"]) and row["own_us"] > 0


def test_bench_is_given_a_device_a_file_and_its_budget(monkeypatch, tmp_path):
    asked = []
    report = {"modes": {"identical": True}}
    monkeypatch.setattr(bench, "run_bench", lambda *arguments: asked.append(arguments) or report)
    assert bench.main(["--device", "cpu", "--quick", "--out", str(tmp_path / "bench.json")]) == 0
    assert bench.main(["--device", "cpu"]) == 0
    assert asked[0][1:3] == (tmp_path / "bench.json", True) and asked[0][0].type == "cpu"
    assert re.fullmatch(r"bench_[a-z0-9.-]+-\d+-cores\.json", asked[1][1].name) and asked[1][2] is False


# --- files -----------------------------------------------------------------------------------------------------------


def finished(mode: str, seed: int, status: str = "finished"):
    """What the record asks of a run."""
    result = SimpleNamespace(
        seed=seed, greedy_reward=500.0 + seed, reward={"last_tenth": 480.0}, wall_s=60.0, updates=4800,
        digest={"weights": "00"},
    )  # fmt: skip
    return SimpleNamespace(mode=mode, lag=1, status=status, name="run", result=result)


def record(path, config=None, **options) -> LearningFile:
    return LearningFile(path, config or preset("tiny"), "cpu", "a command", **options)


def test_a_learning_record_continues_where_it_was_interrupted(tmp_path):
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
    assert written["command"] == "a command" and set(written["policies"]["random"]) == {"mean", "sd", "epochs"}


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


def test_a_machine_makes_a_plain_file_name(monkeypatch):
    name = "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz"
    monkeypatch.setattr("tests.campaigns.reference_files.machine.device_name", lambda device: name)
    monkeypatch.setattr("tests.campaigns.reference_files.machine.cores", lambda: 2)
    assert machine_label("cpu") == "intel-xeon-e5-2680-v4-2-cores"


# --- what is out of date ---------------------------------------------------------------------------------------------


def test_the_reference_files_that_are_older_than_the_core():
    """Lists them as the reason of a skip: they are made again before a release, not with every change."""
    older = older_than_core()
    if older is None:
        pytest.skip("no git history here, so the age of data/reference cannot be told")
    if older:
        pytest.skip(f"older than the core: {', '.join(older)}")


def test_a_file_is_older_than_the_core_if_a_part_of_it_is(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def change(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        git("add", "-A")
        git("commit", "-qm", name)
        return git("rev-parse", "HEAD")

    git("init", "-q")
    assert older_than_core(tmp_path) is None
    before = change("workbench/core/config.py", "1")
    core = change("workbench/core/config.py", "2")
    after = change("README.md", "more")
    files = {
        "before": {"commit": before}, "core": {"commit": core}, "after": {"machine": {"commit": after}},
        "parts": {"one": {"commit": after}, "other": {"commit": before}}, "none": {}, "unknown": {"commit": "0" * 40},
    }  # fmt: skip
    for name, data in files.items():
        change(f"data/reference/{name}.json", json.dumps(data))
    assert older_than_core(tmp_path) == ["before.json", "none.json", "parts.json", "unknown.json"]


def test_the_committed_files_name_their_commits():
    for path in (ROOT / "data" / "reference").glob("*.json"):
        assert list(commits_of(json.loads(path.read_text()))), path.name


# --- worlds that are learned -----------------------------------------------------------------------------------------


def line_of(world, agent, seeds, episode_return, low):
    estimate = {"value": episode_return, "low": low, "high": None}
    return {
        "world": world, "agent": agent, "seeds": seeds, "episode_return": estimate, "more_than_random": estimate,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "learned"),
    [
        ((), True), (("cart pole", "dqn", 3, 399.0, 1.0), False), (("cart pole", "iqn", 2, 500.0, 1.0), False),
        (("spread", "dqn", 5, 1.0, -0.1), False), (("spread", "iqn", 4, 1.0, 0.1), False),
    ],
)  # fmt: skip
def test_worlds_are_learned_if_every_agent_learns_every_world_with_seeds_enough(change, learned):
    lines = {
        (world, agent): line_of(world, agent, seeds, 450.0, 1.0)
        for world, seeds in (("cart pole", 3), ("spread", 5))
        for agent in learned_worlds.AGENTS
    }
    if change:
        lines[change[:2]] = line_of(*change)
    assert learned_worlds.is_learned(list(lines.values())) is learned
    assert not learned_worlds.is_learned(list(lines.values())[1:])
