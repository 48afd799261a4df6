"""Time for the learned models: work runs aside for at most so long; what keeps overrunning is left alone."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Overrun
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

OVER_BUDGET = "over_budget"


class Skipped(Exception):
    """A step of a ladder that does not answer; `reason` is the code that stands in the answer."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


PROVEN = 20
"""Runs within their time, one after the other, from which a step is trusted."""


@dataclass
class _Record:
    kept: int = 0
    """Runs within their time since the last that was not."""
    overruns: int = 0
    rest_until: float = 0.0


class Budget:
    """Runs steps so that a slow one can be left behind.

    A step that has yet to prove itself runs in a helper thread, which is left behind when time is up. A
    proven one runs in the caller's: where cores are few, handing over takes longer than the work. Should that
    come late after all, its answer is taken, for the time is gone, but it has to prove itself anew. A thread
    cannot be killed, so after `patience` overruns in a row a step rests for `rest_seconds`: otherwise a
    hanging model would take every thread there is.
    """

    def __init__(self, threads: int = 4, patience: int = 3, rest_seconds: float = 10.0) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rung")
        self._patience, self._rest = patience, rest_seconds
        self._records: dict[str, _Record] = {}
        self._lock = threading.Lock()

    def run(self, step: str, work: Callable[[], Result], milliseconds: float, rests: bool = True) -> Result:
        """Return what the work returns. Raises Skipped(over_budget), or what the work raised.

        rests: whether overruns make the step rest for everybody; not so where they are one caller's own.
        """
        record = self._records.setdefault(step, _Record())
        started = time.monotonic()
        if milliseconds <= 0 or record.rest_until > started:
            raise Skipped(OVER_BUDGET, f"{step}: no time left")
        if record.kept < PROVEN:
            return self._aside(step, record, work, milliseconds, rests)
        result = work()
        if (time.monotonic() - started) * 1000 > milliseconds:
            record.kept = 0
        return result

    def _aside(
        self, step: str, record: _Record, work: Callable[[], Result], milliseconds: float, rests: bool
    ) -> Result:
        future: Future[Result] = self._pool.submit(work)
        try:
            result = future.result(milliseconds / 1000)
        except Overrun:
            if future.done():  # the work itself raised it
                raise
            future.cancel()
            self._overran(record, rests)
            raise Skipped(OVER_BUDGET, f"{step} took longer than {milliseconds:.0f} ms") from None
        record.kept, record.overruns = record.kept + 1, 0
        return result

    def _overran(self, record: _Record, rests: bool) -> None:
        with self._lock:
            record.kept = 0
            record.overruns += rests
            if record.overruns >= self._patience:
                record.overruns = self._patience - 1  # after the rest one more overrun sends it back
                record.rest_until = time.monotonic() + self._rest

    def close(self) -> None:
        """Let go of the threads without waiting for a hanging one."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Deadline:
    """What is left of one request's budget."""

    def __init__(self, budget: Budget, milliseconds: float) -> None:
        self._budget, self._end = budget, time.perf_counter() + milliseconds / 1000

    def run(self, step: str, work: Callable[[], Result], rests: bool = True) -> Result:
        """Run the work in what time is left. Raises Skipped(over_budget), or what the work raised."""
        return self._budget.run(step, work, (self._end - time.perf_counter()) * 1000, rests)
