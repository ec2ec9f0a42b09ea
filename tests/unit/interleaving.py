"""Threads of which one moves at a time, so that a test decides how a writer and a reader, or several, interleave.

``switch()`` marks a point at which another side may get its turn; :class:`Watched` arrays do so at every access.
"""

import threading
from itertools import cycle

import numpy as np


class Interleaving:
    """Runs functions against each other: the first for ``turns[0]`` steps, the second for ``turns[1]``, and so on.

    After the last comes the first again. A step ends at each ``switch()``. When the turns are over, or the other sides
    are done, a side runs to its end.
    """

    def __init__(self, turns):
        self._turns = iter([*turns, 10**9])
        self._left = 0
        self._gates = {}
        self._asleep = {}

    def run(self, *functions):
        """Their results in order; raises what one of them raised."""
        results, errors = [None] * len(functions), []

        def side(index):
            self._gates[index].acquire()
            try:
                results[index] = functions[index]()
            except BaseException as error:
                errors.append(error)
            del self._gates[index]
            self._hand_over()

        self._gates = {index: threading.Semaphore(0) for index in range(len(functions))}
        self._order = cycle(range(len(functions)))
        threads = [
            threading.Thread(target=side, args=(index,), name=str(index), daemon=True)
            for index in range(len(functions))
        ]
        for thread in threads:
            thread.start()
        self._hand_over()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "the sides wait for each other"
        if errors:
            raise errors[0]
        return results

    def switch(self):
        """Another side may move here. Called from elsewhere than the sides, it does nothing."""
        mine = self._mine()
        if mine is None:
            return
        self._left -= 1
        if self._left <= 0:
            self._hand_over()
            mine.acquire()

    def sleep_until(self, holds):
        """Let the others move until ``holds()``; fails when every side sleeps."""
        mine = self._mine()
        self._asleep[mine] = holds
        while not holds():
            awake = [gate for gate in self._gates.values() if gate not in self._asleep or self._asleep[gate]()]
            assert awake, "every side sleeps and nobody is left to wake it"
            self._hand_over()
            mine.acquire()
        del self._asleep[mine]

    def _mine(self):
        name = threading.current_thread().name
        return self._gates.get(int(name)) if name.isdigit() else None

    def _hand_over(self):
        while self._gates:
            following = next(self._order)
            self._left = next(self._turns, 10**9)
            if following in self._gates and self._left > 0:
                self._gates[following].release()
                return


class Watched(np.ndarray):
    """An array that calls ``switch`` before each access to its items."""

    @classmethod
    def of(cls, array, switch):
        view = array.view(cls)
        view.switch = switch
        return view

    def __array_finalize__(self, source):
        self.switch = getattr(source, "switch", lambda: None)

    def __getitem__(self, index):
        self.switch()
        return super().__getitem__(index)

    def __setitem__(self, index, value):
        self.switch()
        super().__setitem__(index, value)

    def take(self, *arguments, **options):
        self.switch()
        return np.asarray(self).take(*arguments, **options)
