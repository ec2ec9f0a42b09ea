"""The two claims about atomicity, measured: can an actor read weights, or a learner rows, that never existed?

A writer process and a reader process share nameless memory. The writer hands over one thing after another, with a pause
between; the reader copies as fast as it can. Each cell of the measurement is one way (see ``torn_protocols.py``), one
size and one pause. ``python -m tests.campaigns.torn`` measures, writes ``data/reference/torn_reads.json`` and draws it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from notebooks.torn_reads import count, rows_table, torn_reads, weights_table
from tests.campaigns.command_line import at_least, command, parse, say, start
from tests.campaigns.reference_files import figure_path, provenance, write_json
from tests.campaigns.torn_protocols import ROWS, WEIGHTS, Protocol, Shared, num_floats
from workbench.core.processes.spawn import Process
from workbench.core.shared.layout import Counter
from workbench.core.shared.replay import ReplayError
from workbench.core.shared.weight_store import WeightStore, WeightStoreError
from workbench.runs.folder import reference_path
from workbench.runs.fork_server import new_process

PATIENCE = 60.0
"""Seconds without a word from a child after which it is given up; importing torch takes some of them."""


@dataclass(frozen=True)
class Budget:
    """How much is measured."""

    widths: tuple[int, ...]
    """Widths of the networks whose weights are handed over."""
    pauses_ms: tuple[float, ...]
    """Between two writes, in milliseconds."""
    spare_epochs: tuple[int, ...]
    """Epochs of the ring that are not open to sampling."""
    reads: int
    """A cell ends after this many reads,"""
    seconds: float
    """or after this many seconds."""


BUDGETS = {
    "quick": Budget((48, 240, 768), (0.0, 5.0), (0,), 20_000, 0.12),
    "full": Budget((48, 240, 768), (0.0, 0.5, 5.0, 20.0), (0, 1), 200_000, 1.8),
}


@dataclass(frozen=True)
class Cell:
    """One writer against one reader."""

    index: int
    way: str
    """A key of :data:`WEIGHTS` or :data:`ROWS`."""
    size: int
    """Width of the network; for rows, epochs of the ring not open to sampling."""
    pause_ms: float
    reads: int
    seconds: float
    seed: int

    def protocol(self, shared: Shared) -> Protocol:
        """This way, over the shared memory."""
        if self.way in WEIGHTS:
            return WEIGHTS[self.way](shared, self.size)
        return ROWS[self.way](shared, self.size, self.seed)


def measure(
    budget: Literal["quick", "full"] = "full", seed: int = 0, say: Callable[[str], object] | None = None
) -> dict[str, Any]:
    """Measure every way of handing over weights and rows.

    Args:
        budget: "quick" (some 10 s, to see the effect) or "full" (about 3 minutes, to quote).
        seed: of the order of the cells and of the rows drawn.
        say: called with a line of progress now and then.

    Returns:
        Plain values, ready for JSON: ``weights`` and ``rows`` (lists of cells: way, size, pause of the writer in ms,
        reads, torn, wrong, retries, refused, microseconds per read, writes meanwhile), and ``killed_writer``.

    Raises:
        ValueError: the budget is unknown.
        RuntimeError: writer or reader failed; the message has its traceback.
    """
    if budget not in BUDGETS:
        raise ValueError(f"budget is {budget!r}; it must be one of {', '.join(BUDGETS)}")
    chosen, began = BUDGETS[budget], time.perf_counter()
    cells = _cells(chosen, seed)
    order = np.random.default_rng(seed).permutation(len(cells))
    found: dict[int, dict[str, Any]] = {}
    shared = Shared.create(chosen.widths)
    with _Pair(shared) as pair:
        for done, index in enumerate(order):
            if say and done % 10 == 0:
                say(f"cell {done + 1} of {len(cells)}")
            found[int(index)] = pair.measure(cells[index])
        killed = pair.kill_the_writer(chosen.widths[0])
    results = [_named(cell, found[cell.index]) for cell in cells]
    return {
        "budget": budget, "seed": seed, "seconds": time.perf_counter() - began,
        "weights": [result for result in results if result["way"] in WEIGHTS],
        "rows": [result for result in results if result["way"] in ROWS],
        "killed_writer": killed,
        "ways": {name: _summary(way) for name, way in {**WEIGHTS, **ROWS}.items()},
    }  # fmt: skip


def _cells(budget: Budget, seed: int) -> list[Cell]:
    kinds = [(way, size) for way in WEIGHTS for size in budget.widths]
    kinds += [(way, spare) for way in ROWS for spare in budget.spare_epochs]
    chosen = [(way, size, pause) for way, size in kinds for pause in budget.pauses_ms]
    return [Cell(index, *cell, budget.reads, budget.seconds, seed) for index, cell in enumerate(chosen)]


def _named(cell: Cell, counts: dict[str, Any]) -> dict[str, Any]:
    """A cell and what was counted in it, for the JSON file."""
    size = {"floats": num_floats(cell.size)} if cell.way in WEIGHTS else {"spare_epochs": cell.size}
    items = counts["items"]
    rates = {f"{name}_per_million": 1e6 * counts[name] / max(1, items) for name in ("torn", "wrong")}
    return {"way": cell.way, **size, "pause_ms": cell.pause_ms, **counts, **rates}


def _summary(way: type[Protocol]) -> str:
    return " ".join((way.__doc__ or "").split())


# --- the parent's side -------------------------------------------------------------------------------------------


class _Pair:
    """A writer and a reader process. Both leave when their pipe closes, and at once when this process dies."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._pipes: dict[str, Connection] = {}
        self._processes: dict[str, Process] = {}
        for role in ("writer", "reader"):
            self._pipes[role], theirs = multiprocessing.Pipe()
            target = write_cells if role == "writer" else read_cells
            self._processes[role] = new_process("auto", role, target, shared, theirs)
            self._processes[role].start()
            theirs.close()

    def __enter__(self) -> _Pair:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes.values():
            pipe.close()
        for process in self._processes.values():
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Let the writer begin, the reader read, and both end."""
        self._ask("writer", cell)
        counts: dict[str, Any] = self._ask("reader", cell)
        self._answer("writer")
        return counts

    def kill_the_writer(self, width: int) -> dict[str, Any]:
        """Kill the writer while it holds the mutex and is half way through a publication; what is left for others?"""
        store = WeightStore(self._shared.stores[width].open())
        self._ask("writer", width)
        self._processes["writer"].kill()
        self._processes["writer"].join()
        out = np.empty(num_floats(width), np.float32)
        store.read(out)
        waited_s = 0.5
        given_back = self._shared.lock.acquire(timeout=waited_s)
        return {
            "mutex_given_back": given_back, "waited_for_mutex_s": waited_s,
            "weight_store_read_whole": bool(out.min() == out.max()),
        }  # fmt: skip

    def _ask(self, role: str, question: object) -> Any:
        try:
            self._pipes[role].send(question)
        except OSError:
            raise self._dead(role) from None
        return self._answer(role)

    def _answer(self, role: str) -> Any:
        pipe, process = self._pipes[role], self._processes[role]
        while process.is_alive():
            ready = connection.wait([pipe, process.sentinel], PATIENCE)
            if pipe in ready or not ready:
                break  # a sentinel that is ready may also mean that there is something to ask the process for
        try:
            answer = pipe.recv() if pipe.poll() else None
        except EOFError:
            answer = None
        if answer is None:
            raise self._dead(role)
        if isinstance(answer, str):
            raise RuntimeError(f"the {role} failed:\n{answer}")
        return answer

    def _dead(self, role: str) -> RuntimeError:
        process = self._processes[role]
        return RuntimeError(f"the {role} gave no answer (exit code {process.exitcode}); run the measurement again")


# --- the children's side -----------------------------------------------------------------------------------------


def write_cells(shared: Shared, pipe: Connection) -> None:
    """The writer: for each cell write until the reader is done; for a width, begin what a kill is to interrupt."""
    control = shared.control.open()
    writes, done = Counter(control["writes"]), Counter(control["done"])
    with _questions(pipe) as questions:
        for question in questions:
            if isinstance(question, Cell):
                _write_cell(question, question.protocol(shared), writes, done, pipe)
            else:
                _write_half(shared, question, writes, pipe)


def _write_cell(cell: Cell, protocol: Protocol, writes: Counter, done: Counter, pipe: Connection) -> None:
    limit = time.monotonic() + cell.seconds + PATIENCE  # a reader that died must not keep this process busy for ever
    number, pause = writes.get() + 1, cell.pause_ms / 1e3
    protocol.write(number)
    writes.set(number)
    pipe.send(True)
    while done.get() != cell.index and time.monotonic() < limit:
        if pause:
            time.sleep(pause)
        number += 1
        protocol.write(number)
        writes.set(number)
    pipe.send(True)


def _write_half(shared: Shared, width: int, writes: Counter, pipe: Connection) -> None:
    number = writes.get() + 1
    store = WeightStore(shared.stores[width].open())

    def write(out: Any) -> None:
        out[: len(out) // 2] = number
        pipe.send(True)
        pipe.recv()  # nothing comes: this process is killed here

    with shared.lock:
        store.publish(write, number, 0.0)


def read_cells(shared: Shared, pipe: Connection) -> None:
    """The reader: for each cell read, look and count."""
    control = shared.control.open()
    writes, done = Counter(control["writes"]), Counter(control["done"])
    with _questions(pipe) as questions:
        for cell in questions:
            counts = _read_cell(cell, cell.protocol(shared), writes)
            done.set(cell.index)
            pipe.send(counts)


def _read_cell(cell: Cell, protocol: Protocol, writes: Counter) -> dict[str, Any]:
    taken: list[float] = []
    torn = wrong = refused = 0
    writes_before, began = writes.get(), time.perf_counter()
    while len(taken) < cell.reads and time.perf_counter() - began < cell.seconds:
        start = time.perf_counter()
        try:
            protocol.read()
        except (WeightStoreError, ReplayError):
            refused += 1
            continue
        taken.append(time.perf_counter() - start)
        counts = protocol.look()
        torn, wrong = torn + counts[0], wrong + counts[1]
    seconds, microseconds = time.perf_counter() - began, 1e6 * np.array(taken)
    return {
        "reads": len(taken), "items": len(taken) * protocol.items, "torn": torn, "wrong": wrong,
        "retries": protocol.retries, "refused": refused,
        "read_us": float(np.median(microseconds)) if taken else None,
        "read_us_mean": float(microseconds.mean()) if taken else None,
        "read_us_worst": float(microseconds.max()) if taken else None,
        "writes": writes.get() - writes_before, "seconds": seconds,
    }  # fmt: skip


@contextlib.contextmanager
def _questions(pipe: Connection) -> Iterator[Iterator[Any]]:
    """What the parent asks, until it closes the pipe or is gone; a failure is sent home as text."""
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            yield iter(pipe.recv, None)
        except (EOFError, ConnectionError):
            raise
        except Exception:
            pipe.send(traceback.format_exc())


# --- the command -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """Measure torn reads of weights and of replay rows, by protocol, size and rate of the writer.

    The exit code is 1 if what must not tear did.
    """

    quick: bool = False
    """Less work: to see that everything runs, not to quote."""
    seed: int = 0
    """Of the order of the measurements and of the rows drawn."""
    out: Path | None = None
    """File to write. Default: data/reference/torn_reads.json."""


def main(arguments: list[str]) -> int:
    """Measure, write the file and its figure, print the tables."""
    options = parse("torn", arguments, lambda _: Options())
    at_least(0, seed=options.seed)
    out = options.out or reference_path("torn_reads.json")
    result = measure("quick" if options.quick else "full", options.seed, say)
    result |= provenance(command("torn", arguments))
    write_json(out, result)
    picture = torn_reads(result).save(figure_path(out))
    print(weights_table(result), rows_table(result), f"written: {out}, {picture}", sep="\n\n")
    return 0 if is_sound(result) else 1


def is_sound(result: dict[str, Any]) -> bool:
    """Whether nothing that must not tear did: not the weight store, and no row behind a second look."""
    return not any(count(result, way, name) for way in ("weight store", "second look") for name in ("torn", "wrong"))


if __name__ == "__main__":
    start("torn")
