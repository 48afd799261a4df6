"""Every answer is written down, with its propensity, off the hot path."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger("nextbest.decisions")

Row = Mapping[str, Any]


class DecisionSink:
    """A bounded queue and a thread that writes; full means dropped and counted, never waiting.

    `write` is EventLog.record_decision: one row, one call.
    """

    def __init__(self, write: Callable[[Row], object], size: int = 10_000) -> None:
        self._write = write
        self._queue: queue.Queue[Row | None] = queue.Queue(size)
        self.written = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def put(self, row: Row) -> None:
        """Hand a decision over."""
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            self.dropped += 1

    def close(self, seconds: float = 5.0) -> None:
        """Write what is queued, for at most so long."""
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def flush(self) -> None:
        """Wait until everything handed over so far is written or dropped."""
        self._queue.join()

    def _run(self) -> None:
        while (row := self._queue.get()) is not None:
            try:
                self._write(row)
                self.written += 1
            except Exception:
                self.dropped += 1
                if (
                    self.dropped & (self.dropped - 1) == 0
                ):  # 1, 2, 4, 8 …: a dead database must not fill the disk
                    log.exception("a decision could not be written (%d lost so far)", self.dropped)
            finally:
                self._queue.task_done()
        self._queue.task_done()
