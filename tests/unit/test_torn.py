"""What the measurement of torn reads rests on: a mixture never looks whole, and a figure shows what was counted."""

import dataclasses
import gc
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from notebooks.torn_reads import count, killed_story, rows_table, torn_reads, weights_table
from tests import batches
from tests.campaigns import torn
from tests.campaigns import torn_protocols as protocols
from tests.campaigns.torn_protocols import ROWS, WEIGHTS, Shared, code, network, num_floats, torn_and_wrong
from workbench.core.envs.base import AgentSpec

WIDTH = 16
STEPS = 50


@pytest.fixture(scope="module")
def shared():
    yield Shared.create((WIDTH,))
    gc.collect()  # the lock has a name in the system until it is collected, and tracebacks hold it


def sides(shared, way, size=WIDTH):
    """A writer and a reader of the same memory, both in this process."""
    if way in WEIGHTS:
        return WEIGHTS[way](shared, size), WEIGHTS[way](shared, size)
    return ROWS[way](shared, 0, 1), ROWS[way](shared, 0, 1)


# A copy that nobody disturbed


@pytest.mark.parametrize("way", [*WEIGHTS, *ROWS])
def test_a_read_between_two_writes_is_whole_and_the_newest(shared, way):
    writer, reader = sides(shared, way)
    for number in range(1, 20):
        writer.write(number)
        reader.read()
        assert reader.look() == (0, 0)
        assert reader.retries == 0
        if way in WEIGHTS:
            np.testing.assert_array_equal(reader.mine, np.full(num_floats(WIDTH), number, np.float32))


@pytest.mark.parametrize("width", [16, 48, 240])
def test_the_parameters_are_the_whole_vector(width):
    vector = np.arange(num_floats(width), dtype=np.float32)
    parameters = list(network(vector, width).parameters())
    np.testing.assert_array_equal(torch.cat([each.detach().ravel() for each in parameters]).numpy(), vector)
    vector.fill(7)
    assert all((each == 7).all() for each in parameters)


# A copy that a write broke into


@pytest.fixture
def in_the_copy(monkeypatch):
    """Do something once, after half of the copies that a read is made of, or after half of the only one."""

    def install(action, copies):
        copy_, copyto, state = torch.Tensor.copy_, np.copyto, {"copies": 0}

        def once():
            monkeypatch.undo()
            action()

        def torch_copy(self, source, *rest):
            copied = copy_(self, source, *rest)
            state["copies"] += 1
            if state["copies"] == copies // 2:
                once()
            return copied

        def numpy_copy(out, source):
            half = len(out) // 2
            copyto(out[:half], source[:half])
            once()
            copyto(out[half:], source[half:])

        monkeypatch.setattr(torch.Tensor, "copy_", torch_copy)
        monkeypatch.setattr(protocols.np, "copyto", numpy_copy)

    yield install
    monkeypatch.undo()


@pytest.mark.parametrize("way", ["in place", "parameter by parameter", "load_state_dict"])
def test_one_write_in_the_middle_of_a_read_is_a_mixture(shared, way, in_the_copy):
    writer, reader = sides(shared, way)
    writer.write(1)
    in_the_copy(lambda: writer.write(2), copies=8)
    reader.read()
    assert reader.look() == (1, 0)
    assert set(reader.mine) == {1.0, 2.0}


def test_two_slots_tear_when_the_writer_comes_round(shared, in_the_copy):
    for writes, verdict in ((1, (0, 0)), (2, (1, 0))):
        writer, reader = sides(shared, "two slots, no second look")
        writer.write(1)
        in_the_copy(lambda: [writer.write(2 + i) for i in range(writes)], copies=1)  # noqa: B023
        reader.read()
        assert reader.look() == verdict


def test_the_weight_store_throws_that_copy_away(shared, in_the_copy):
    writer, reader = sides(shared, "weight store")
    writer.write(1)
    in_the_copy(lambda: [writer.write(2 + i) for i in range(2)], copies=1)
    reader.read()
    assert reader.look() == (0, 0)
    assert (reader.retries, set(reader.mine)) == (1, {3.0})


def test_a_reader_does_not_wait_for_ever_for_a_mutex_that_is_held(shared, monkeypatch):
    monkeypatch.setattr(protocols, "LOCK_TIMEOUT", 0.01)
    _, reader = sides(shared, "mutex")
    with shared.lock, pytest.raises(TimeoutError, match="not given back"):
        reader.read()
    reader.read()


@given(
    numbers=st.lists(st.integers(1, 2**24), min_size=2, max_size=2, unique=True),
    place=st.integers(0, num_floats(WIDTH) - 1),
    label=st.none() | st.integers(1, 5),
)
def test_one_float_of_another_write_is_torn(shared, numbers, place, label):
    _, reader = sides(shared, "in place")
    reader.mine.fill(numbers[0])
    reader.label = label
    assert reader.look() == (0, int(label is not None and label != numbers[0]))
    reader.mine[place] = numbers[1]
    assert reader.look() == (1, 0)


# Rows


def rows_of(epochs, first_turn=0):
    """A batch with one whole row of each epoch, its first frames blank."""
    batch = batches.zeros(len(epochs), 3, AgentSpec((4,), "uint8", 4))
    for row, epoch in enumerate(epochs):
        batch.number[row] = epoch * STEPS + first_turn + row % STEPS
        batch.policy_version[row], batch.r_t[row], batch.a_tm1[row] = epoch, epoch, epoch % 4
        batch.s_tm1[row], batch.s_t[row] = code(epoch), code(epoch)
        batch.s_tm1[row, : row % 3] = 0
    return batch


@given(
    epochs=st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
    field=st.sampled_from(["policy_version", "r_t", "a_tm1", "s_tm1", "s_t"]),
    later=st.integers(1, 250),
    data=st.data(),
)
def test_one_field_of_a_later_epoch_is_torn_and_no_other_row_is(epochs, field, later, data):
    batch = rows_of(epochs)
    assert not np.any(torn_and_wrong(batch, STEPS))
    row = data.draw(st.integers(0, len(epochs) - 1))
    array, other = getattr(batch, field), rows_of([epochs[row] + later])
    place = (row, -1, data.draw(st.integers(0, 3))) if array.ndim == 3 else (row,)
    before = array[place]
    array[place] = getattr(other, field)[(0, *place[1:])]
    torn_rows, wrong = torn_and_wrong(batch, STEPS)
    assert list(np.flatnonzero(torn_rows)) == ([row] if array[place] != before else [])
    assert not wrong.any()


@given(epochs=st.lists(st.integers(0, 1000), min_size=1, max_size=8), laps=st.integers(-3, 3), data=st.data())
def test_a_whole_row_of_another_epoch_than_drawn_is_wrong(epochs, laps, data):
    batch, row = rows_of(epochs), data.draw(st.integers(0, len(epochs) - 1))
    batch.number[row] += laps * STEPS
    torn_rows, wrong = torn_and_wrong(batch, STEPS)
    assert not torn_rows.any()
    assert list(np.flatnonzero(wrong)) == ([row] if laps else [])


@pytest.mark.parametrize("way", ROWS)
def test_an_epoch_begun_during_the_copy_shows_without_the_second_look_only(shared, way, monkeypatch):
    writer, reader = sides(shared, way)
    for number in range(1, 2 * protocols.RING_EPOCHS):
        writer.write(number)
    copies, read = [], protocols._CountingReplay.read

    def overtaken(self, out):
        if not copies:
            for number in range(3):
                writer.write(number)
        copies.append(1)
        read(self, out)

    monkeypatch.setattr(protocols._CountingReplay, "read", overtaken)
    reader.read()
    bad = sum(reader.look())
    assert bad > 0 if way == "no second look" else bad == 0


# The result, its tables and its figure


def made_up(torn_weight_store=0):
    cells = [
        {"way": way, "floats": floats, "pause_ms": pause, "reads": 1000, "items": 1000, "torn": torn_count, "wrong": 0,
         "retries": 3, "refused": 0, "read_us": 12.5, "read_us_mean": 13.0, "read_us_worst": 900.0, "writes": 77,
         "seconds": 0.5, "torn_per_million": 1000.0 * torn_count, "wrong_per_million": 0.0}
        for way, torn_count in (("load_state_dict", 150), ("mutex", 0), ("weight store", torn_weight_store))
        for floats in (9_408, 231_360, 2_362_368)
        for pause in (0.0, 0.5, 20.0)
    ]  # fmt: skip
    rows = [
        {**{name: value for name, value in cells[0].items() if name != "floats"}, "way": way, "spare_epochs": spare,
         "pause_ms": pause, "torn": count, "torn_per_million": 1e6 * count / 1000, "read_us": None}
        for way, count in (("no second look", 40), ("second look", 0)) for spare in (0, 1) for pause in (0.0, 20.0)
    ]  # fmt: skip
    killed = {"mutex_given_back": False, "waited_for_mutex_s": 0.5, "weight_store_read_whole": True}
    return {
        "budget": "quick", "seed": 0, "seconds": 3.0, "weights": cells, "rows": rows, "killed_writer": killed,
        "ways": {cell["way"]: "a sentence" for cell in cells + rows},
        "machine": {"cpu": "a processor", "cores": 2},
    }  # fmt: skip


def test_the_figure_shows_every_rate_at_its_height():
    drawn = torn_reads(made_up())
    first = drawn.axes[0]
    assert [axes.get_title(loc="left") for axes in drawn.axes[:3]] == [
        "Weights: 9,408 floats", "Weights: 231,360 floats", "Weights: 2,362,368 floats",
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in first.lines] == [[150_000.0] * 3, [0.0] * 3, [0.0] * 3]
    assert [label.get_text() for label in first.get_xticklabels()] == ["0", "0.5", "20"]
    assert sorted(max(line.get_ydata()) for line in drawn.axes[4].lines) == [0, 0, 40_000, 40_000]
    low, high = first.get_ylim()
    assert low < 0 and high > 1e6
    png, _ = drawn._repr_png_()
    assert png.startswith(b"\x89PNG")


def test_the_figure_needs_no_particular_sizes_or_pauses():
    result = made_up()
    result["weights"] = [cell for cell in result["weights"] if cell["floats"] == 9_408 and cell["pause_ms"] == 0.0]
    assert torn_reads(result)._repr_png_()[0]


def test_the_tables_have_a_line_for_every_cell():
    result = made_up()
    rows = weights_table(result).rows
    assert len(rows) == 9 and {row[2] for row in rows} == {"0"}
    assert rows[0][:3] == ("load_state_dict", "9,408", "0") and "150,000" in rows[0]
    assert {row[2] for row in weights_table(result, 20.0).rows} == {"20"}
    assert len(rows_table(result).rows) == 8 and rows_table(result).rows[0][-1] == "none"
    with pytest.raises(ValueError, match=r"pause_ms is 3; measured were 0, 0\.5, 20"):
        weights_table(result, 3.0)


def test_the_story_of_the_killed_writer_is_what_was_measured():
    assert "still waited for the mutex after 0.5 s; its read of the weight store was whole" in killed_story(
        made_up()["killed_writer"]
    )
    other = killed_story({"mutex_given_back": True, "waited_for_mutex_s": 0.5, "weight_store_read_whole": False})
    assert "had the mutex back" in other and "TORN" in other


@pytest.mark.parametrize(("torn_store", "status"), [(0, 0), (1, 1)])
def test_the_command_writes_both_files_and_fails_if_the_weight_store_tore(
    tmp_path, monkeypatch, capsys, torn_store, status
):
    asked = []
    monkeypatch.setattr(torn, "measure", lambda *options: asked.append(options[:2]) or made_up(torn_store))
    out = tmp_path / "reference" / "torn_reads.json"
    assert torn.main(["--quick", "--seed", "3", "--out", str(out)]) == status
    assert asked == [("quick", 3)]
    written = json.loads(out.read_text())
    assert {name: written[name] for name in ("weights", "rows", "ways")} == {
        name: made_up(torn_store)[name] for name in ("weights", "rows", "ways")
    }
    assert {"machine", "versions", "commit"} <= set(written)
    assert written["command"] == f"python -m tests.campaigns.torn --quick --seed 3 --out {out}"
    assert (tmp_path / "figures" / "torn_reads.png").read_bytes().startswith(b"\x89PNG")
    assert "load_state_dict" in capsys.readouterr().out


def test_counts_are_summed_over_the_cells_of_a_way():
    result = made_up()
    assert count(result, "load_state_dict") == 9 * 150
    assert count(result, "second look", "reads") == 4 * 1000
    with pytest.raises(ValueError, match="way is 'pigeon'; measured were load_state_dict, mutex"):
        count(result, "pigeon")


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="budget is 'medium'; it must be one of quick, full"):
        torn.measure("medium")


def test_every_cell_of_a_budget_is_measured_once():
    budget = torn.BUDGETS["full"]
    cells = torn._cells(budget, 0)
    assert [cell.index for cell in cells] == list(range(len(cells)))
    kinds = {dataclasses.astuple(cell)[1:4] for cell in cells}
    weights = len(WEIGHTS) * len(budget.widths) * len(budget.pauses_ms)
    assert len(kinds) == len(cells) == weights + len(ROWS) * len(budget.spare_epochs) * len(budget.pauses_ms)
