"""A run and a comparison can be awaited: the loop stays free, an interrupt leaves them whole, and a wait says so."""

import asyncio
import ctypes
import threading

import pytest

import workbench as wb
from workbench.runs import awaiting

CONFIG = wb.preset("tiny").replace(epochs=8, device="cpu")


async def counted(what):
    """Await something; what it gave, and how often another task had its turn meanwhile."""
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    outcome = await what
    beside.cancel()
    return outcome, turns


def test_a_run_is_awaited_while_other_tasks_have_their_turns(tmp_path):
    run = wb.launch(CONFIG, "sequential", 0, out=tmp_path)
    result, turns = asyncio.run(counted(run))
    assert result is run.result and result.status == "finished"
    assert turns > 1


def test_a_comparison_gives_its_summary(tmp_path):
    summary, _ = asyncio.run(counted(wb.compare(CONFIG, lag=0, out=tmp_path)))
    assert summary["identical"] is True


def test_what_ends_the_await_does_not_end_the_run(tmp_path):
    async def given_up(run):
        task = asyncio.ensure_future(run)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with wb.launch(CONFIG.replace(epochs=100_000), "sequential", 0, out=tmp_path) as run:
        asyncio.run(given_up(run))
        assert not run.ended


def test_a_run_that_was_never_started_cannot_be_awaited(tmp_path):
    with (
        wb.launch(CONFIG, "sequential", 0, out=tmp_path, start=False) as run,
        pytest.raises(wb.RunError, match="start"),
    ):
        asyncio.run(counted(run))


def test_a_wait_beside_buttons_says_what_to_write(tmp_path, capsys, monkeypatch):
    async def wait(run):
        run.wait()

    run = wb.launch(CONFIG, "sequential", 0, out=tmp_path)
    run.wait()
    asyncio.run(wait(run))
    assert capsys.readouterr().out == ""  # there are no buttons
    awaiting.with_buttons.add(run)
    asyncio.run(counted(run))
    run.wait()
    assert capsys.readouterr().out == ""  # nothing waits for an await, nor for a script
    for _ in range(2):
        asyncio.run(wait(run))
    assert capsys.readouterr().out.count("`await run`") == 1


def test_what_another_thread_raises_in_a_wait_arrives_and_leaves_the_run_whole(tmp_path):
    """As a scheduler cancels a task: the wait may not sleep in one call until the run's end."""

    class Cancelled(BaseException):
        pass

    arrived = []

    def wait(run):
        try:
            run.wait()
        except Cancelled as error:
            arrived.append(error)

    with wb.launch(CONFIG.replace(epochs=100_000), "sequential", 0, out=tmp_path) as run:
        thread = threading.Thread(target=wait, args=(run,))
        thread.start()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Cancelled))
        thread.join()
        assert arrived and not run.ended
