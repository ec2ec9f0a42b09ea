"""Calls that an interrupt must not cut in two: launching, resuming and stopping runs.

Python raises KeyboardInterrupt in the main thread, between any two lines. So the work of such a call is done in a
thread of its own, where no interrupt arrives, and the caller only waits for it. A caller who is interrupted gets the
interrupt at once; the work is then finished and undone in the background.
"""

import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Place = tuple[str, int, str, dict[Any, Any]]  # file, line, module, and the warnings that were given in it

_asked_at: ContextVar[Place] = ContextVar("asked_at")


def uninterrupted(undo: Callable[[Any], object]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator: the function is called in a thread of its own, and its caller waits for the result.

    If the caller is interrupted, the function is not called at all if it has not begun. Else a thread named "after an
    interrupt" waits for its end and undoes it; the interpreter does not exit before that.

    Args:
        undo: called with the result of an interrupted call, since nobody else has it then.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        """The function, called as said above."""

        @functools.wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> T:
            """The function's result, or the interrupt."""
            if threading.current_thread() is not threading.main_thread():  # no interrupt is raised here
                return function(*arguments, **named)
            done: Future[T] = Future()
            try:
                context = copy_context()
                context.run(_asked_at.set, users_line())
                work = functools.partial(_work, done, function, *arguments, **named)
                threading.Thread(target=context.run, args=[work], name=f"uninterrupted {function.__name__}").start()
                return done.result()  # no line may follow: an interrupt before it would lose the result
            except BaseException as error:
                if not (done.done() and done.exception() is error) and not done.cancel():
                    threading.Thread(target=_undo, args=(done, undo), name="after an interrupt").start()
                del done  # its exception refers to this frame; without this the frame would refer back
                raise

        return call

    return decorate


def users_line() -> Place:
    """The line of the user's that led here, for a warning to point at; in the thread of a call, its caller's."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("workbench."):
        frame = frame.f_back
    module, given = frame.f_globals.get("__name__", ""), frame.f_globals.setdefault("__warningregistry__", {})
    return _asked_at.get((frame.f_code.co_filename, frame.f_lineno, module, given))


def _work(done: Future[T], function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> None:
    if done.set_running_or_notify_cancel():
        try:
            done.set_result(function(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)


def _undo(done: Future[T], undo: Callable[[T], object]) -> None:
    if done.exception() is None:
        undo(done.result())
