"""The failures that a multiprocess trainer can suffer from: the table in ``catalogue.md``, the one truth for their ids.

*Faults* are the names under which a failure can be switched on in a sound run, *check* is the one that must notice it
then. A claim that measuring has disproved, or has yet to measure, has a note.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs.table import markdown_rows

# The rules of every check, as ``rules.toml`` gives them; and the names of all checks, in the order in which they are
# shown.
RULES = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
CHECKS = tuple(RULES)


@dataclass(frozen=True)
class Failure:
    """One row of the catalogue.

    Attributes:
        id: Letter of the room (D data, W weights and epsilon, L learning step, P processes) and a number.
        faults: Names of the faults that switch it on; empty where it is no switch.
        check: Name of the check that must notice, one of :data:`CHECKS`; None where no check of a run can.
        note: What measuring says, or where else it is shown.
    """

    id: str
    title: str
    source: str
    faults: tuple[str, ...] = ()
    check: str | None = None
    note: str = ""


# Every failure by id, in the catalogue's order. In its page, names are in backticks.
CATALOGUE: dict[str, Failure] = {
    id_: Failure(id_, title, source, tuple(re.findall(r"`(\w+)`", faults)), check.strip("`") or None, note)
    for id_, title, source, faults, check, note in markdown_rows(Path(__file__).with_name("catalogue.md"))
}


def ids_of_check(check: str) -> tuple[str, ...]:
    """Ids of the failures that a check speaks for."""
    return tuple(failure.id for failure in CATALOGUE.values() if failure.check == check)


def fault_names() -> tuple[str, ...]:
    """Names of all faults, in the catalogue's order."""
    return tuple(dict.fromkeys(fault for failure in CATALOGUE.values() for fault in failure.faults))


def effect_text(line: Mapping[str, Any]) -> str:
    """What a fault does to the reward: effect, interval, and whether it can be told from none.

    Args:
        line: of the fault, in ``faults`` of the fault matrix.
    """
    if line["effect"] is None:
        return line["outcome"] if line["outcome"] != "finished" else "-"
    if line["effect_interval"] is None:
        return f"{line['effect']:+.1f}"
    low, high = line["effect_interval"]
    return f"{line['effect']:+.1f} [{low:+.1f}, {high:+.1f}]" + ("" if line["measurable"] else " not measurable")
