"""Every number in prose names its data, or is on the list of definitions below."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "data" / "reference"


def data(name):
    return json.loads((REFERENCE / name).read_text())


def learned(mode):
    return [run["greedy_reward"] for run in data("learning.json")["runs"] if run["mode"] == mode]


def watched(key, sound=False):
    found = data("watch.json")["found"].items()
    return sum(row[key] for name, row in found if name.endswith(" sound") == sound)


def grown(quantity):
    return [row["grown"] for row in data("soak.json")["growth"] if row["quantity"] == quantity]


def of_20_agents():
    return next(row for row in card()["learners"] if (row["agents"], row["batch"]) == (20, 64))


def card():
    return data("card_nvidia-h100-80gb-hbm3-16-cores.json")


# Measured: the words, in which each group is a number, and what the numbers are, rounded as they are told.
MEASURED = {
    r"to make (\d+) mistakes, (\d+) of them in one process as well, in (\d+) seeds: all (\d+) were found": lambda: (
        *(sum(name.startswith(mode) for name in data("watch.json")["found"]) - 1 for mode in ("multi", "sequential")),
        1 + max(run["seed"] for run in data("watch.json")["runs"]), watched("convicted"),
    ),
    r"the (\d+) trainings without a mistake were cleared": lambda: (watched("runs", sound=True),),
    r"after (\d+) epochs, seeds 0 to (\d+): mean ([\d.]+),": lambda: (
        data("learning.json")["config"]["epochs"], len(learned("sequential")) - 1,
        round(float(np.mean(learned("multiprocess"))), 1),
    ),
    r"uniform random makes (\d+) and a scripted walk to the nearest gem in view (\d+)": lambda: tuple(
        round(data("policies.json")[name]["mean"]) for name in ("random", "scripted")
    ),
    r"On (\d+) cores multiprocess at lag 1 is ([\d.]+) times as fast as sequential": lambda: (
        data("bench_amd-epyc-2-cores.json")["ceiling"]["cores"],
        round(data("bench_amd-epyc-2-cores.json")["modes"]["speedup"]["lag 1, auto"], 2),
    ),
    r"two independent copies of the update loop reach ([\d.]+)": lambda: (
        round(data("bench_amd-epyc-2-cores.json")["ceiling"]["two_copies"]["speedup"], 2),
    ),
    r"captured makes ([\d,]+) updates/s of (\d+) agents, an eager process for each agent ([\d,]+)": lambda: (
        round(of_20_agents()["ways"]["fused, graph"]["updates_per_s"]), of_20_agents()["agents"],
        round(of_20_agents()["ways"]["eager, a process per agent"]["updates_per_s"]),
    ),
    r"with ([\d,]+) worlds acting there is ([\d.]+) times as fast as on a core": lambda: (
        1024, round(card()["acting"]["1024 worlds"]["cuda"] / card()["acting"]["1024 worlds"]["cpu"], 1),
    ),
    r"(\d+) kills of actors, learners, sequential processes, parents and fork servers": lambda: (
        data("kills.json")["kills"],
    ),
    r"It noticed (\d+) of (\d+) mistakes that are on no list, (\d+) of them at their stage": lambda: tuple(
        data("audit.json")["mistakes"][name] for name in ("noticed", "runs", "at_their_stage")
    ),
    r"raised (\d+) alarms in (\d+) sound runs of (\d+) settings": lambda: (
        len(data("audit.json")["sound"]["alarms"]), data("audit.json")["sound"]["runs"],
        len({run["name"] for run in data("audit.json")["runs"] if not run["stage"]}),
    ),
    r"In an hour with (\d+) kills no process grew by more than ([\d.]+) MiB": lambda: (
        data("soak.json")["kills"], math.ceil(10 * max(grown("memory_mib"))) / 10,
    ),
}  # fmt: skip
# What is so by definition: settings, versions, exit codes, terms, and numbers of the methods of sync verification.
DEFINED = (
    r"Python 3\.11", r"exit code is 0", r"\b50-turn epoch", r"\*e\* ?- 1|\*e - [12]", r"[Aa]t lag [01]\b", r"\b95 % ",
    r"64 worlds", r"for above 1", r"weights below 0", r"[Nn]otebooks? \d\d", r"\d\d_\w+\.ipynb|\[\d\d ",
    r"[Mm]ethods? \d", r"\| \d \w+", r"first 16 epochs", r"at 0\)", r"end every sync at 0", r"themselves \(2\)",
    r"so 2 and 6 pass", r"tell \(1, 3, 4, 7\)", r"broadcasts \(1, S\)", r"effect of exactly 0", r"out at 5 %",
    r"then 5, then 50",
    r"parameters are all 1", r"batches of 64 rows", r"from 0 to free", r"a reward of 1", r"Agarwal et al\.|^2021\)",
    r"3\.4 inches", r"two of 36 pixels",
)  # fmt: skip


def pages():
    """The prose of every page, by its path, with line ends taken for spaces; code and links are no prose."""
    found = {name: (ROOT / name).read_text() for name in ("README.md", "notebooks/reference.md", "workbench/README.md")}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        found[path.name] = "\n\n".join("".join(each["source"]) for each in cells if each["cell_type"] == "markdown")
    plain = ((name, re.sub(r"```.*?```", "", text, flags=re.S)) for name, text in found.items())
    return {name: re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", text)) for name, text in plain}


def sentences(text):
    for part in re.split(r"(?<=[.:;])\s+|\n\n|\n[-*] ", text):
        yield " ".join(part.split())


@pytest.mark.parametrize("words", MEASURED)
def test_a_measured_number_is_that_of_its_file(words):
    found = re.findall(words, " ".join(pages()["README.md"].split()))
    told = [
        float(number.replace(",", "")) for each in found for number in (each if isinstance(each, tuple) else (each,))
    ]
    assert told == list(MEASURED[words]())


@pytest.mark.parametrize("page", pages())
def test_every_other_number_is_a_definition(page):
    text = re.sub("|".join(f"(?:{words})" for words in MEASURED), "", pages()[page].replace("\n", " \n"))
    text = re.sub(r"^\d+\. ", "", text, flags=re.M)  # of lists
    flat = " ".join(text.split()) if page == "README.md" else text
    flat = re.sub("|".join(f"(?:{words})" for words in MEASURED), "", flat)
    undefined = [
        each for each in sentences(flat)
        if re.search(r"(?<![\w.])\d", each) and not re.fullmatch(r"\d+\.", each)
        and not any(re.search(words, each) for words in DEFINED)
    ]  # fmt: skip
    assert undefined == [], (
        "name the file of each number in MEASURED, or say in DEFINED that it is none that was measured"
    )


@pytest.mark.parametrize("path", sorted(REFERENCE.rglob("*.*")), ids=lambda path: path.name)
def test_no_result_names_a_folder_of_the_machine_that_made_it(path):
    assert re.findall(r'(?:[" =]|\\n)/\w+/[\w./-]*', path.read_text()) == []
