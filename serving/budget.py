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


@dataclass
class _Record:
    overruns: int = 0
    rest_until: float = 0.0


class Budget:
    """Runs steps in helper threads so that a slow one can be left behind.

    A thread that overruns cannot be killed, so after `patience` overruns in a row a step rests for
    `rest_seconds`: otherwise a hanging model would take every thread there is.
    """

    def __init__(self, threads: int = 4, patience: int = 3, rest_seconds: float = 10.0) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rung")
        self._patience, self._rest = patience, rest_seconds
        self._records: dict[str, _Record] = {}
        self._lock = threading.Lock()

    def run(self, step: str, work: Callable[[], Result], milliseconds: float) -> Result:
        """Return what the work returns. Raises Skipped(over_budget), or what the work raised."""
        record = self._records.get(step)
        if milliseconds <= 0 or (record is not None and record.rest_until > time.monotonic()):
            raise Skipped(OVER_BUDGET, f"{step}: no time left")
        future: Future[Result] = self._pool.submit(work)
        try:
            result = future.result(milliseconds / 1000)
        except Overrun:
            if future.done():  # the work itself raised it
                raise
            future.cancel()
            self._overran(step)
            raise Skipped(OVER_BUDGET, f"{step} took longer than {milliseconds:.0f} ms") from None
        if record is not None:
            self._records.pop(step, None)
        return result

    def _overran(self, step: str) -> None:
        with self._lock:
            record = self._records.setdefault(step, _Record())
            record.overruns += 1
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

    def run(self, step: str, work: Callable[[], Result]) -> Result:
        """Run the work in what time is left. Raises Skipped(over_budget), or what the work raised."""
        return self._budget.run(step, work, (self._end - time.perf_counter()) * 1000)
