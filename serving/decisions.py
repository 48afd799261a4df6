"""Every answer is written down, with its propensity, off the hot path."""

import logging
import queue
import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

log = logging.getLogger("nextbest.decisions")

Row = Mapping[str, Any]
MOST = 500
"""Decisions in one transaction."""


_random = random.Random()  # an id is no secret; seeded by the operating system, once a process


def new_id() -> str:
    """Return a new decision's id: a version 4 UUID, without a system call for each."""
    return uuid.UUID(int=_random.getrandbits(128), version=4).hex


class DecisionSink:
    """A bounded queue and a thread that writes; full means dropped and counted, never waiting.

    `write` is EventLog.record_decisions: many rows, one transaction. The thread lets some gather, so that a
    busy service pays for a few transactions a second and not for one an answer.
    """

    def __init__(
        self, write: Callable[[Sequence[Row]], object], size: int = 10_000, gather_seconds: float = 0.25
    ) -> None:
        self._write, self._gather = write, gather_seconds
        self._closing = threading.Event()
        self._queue: queue.Queue[Row | None] = queue.Queue(size)
        self._unwritten: dict[str, list[Row]] = {}
        self._lock = threading.Lock()
        self.written = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    def put(self, row: Row) -> None:
        """Hand a decision over."""
        self._hold(row)
        try:
            self._queue.put_nowait(row)
        except queue.Full:
            self._let_go([row])
            self.dropped += 1

    def unwritten(self, contact_id: str) -> list[Row]:
        """Return the contact's decisions of this process that the log does not hold yet."""
        with self._lock:
            return list(self._unwritten.get(contact_id, ()))

    def close(self, seconds: float = 5.0) -> None:
        """Write what is queued, for at most so long."""
        self._closing.set()
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def flush(self) -> None:
        """Wait until everything handed over so far is written or lost."""
        self._queue.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            self._closing.wait(self._gather)
            batch, last = [first], False
            while len(batch) < MOST and not last:
                try:
                    row = self._queue.get_nowait()
                except queue.Empty:
                    break
                if row is None:
                    last = True
                else:
                    batch.append(row)
            self._store(batch)
            for _ in range(len(batch) + last):
                self._queue.task_done()
            if last:
                return
        self._queue.task_done()

    def _store(self, batch: Sequence[Row]) -> None:
        try:
            self._write(batch)
            self.written += len(batch)
        except Exception:
            before, self.dropped = self.dropped, self.dropped + len(batch)
            if before.bit_length() != self.dropped.bit_length():  # a dead database must not fill the disk
                log.exception("decisions could not be written (%d lost so far)", self.dropped)
        finally:
            self._let_go(batch)

    def _hold(self, row: Row) -> None:
        if contact_id := row.get("contact_id"):
            with self._lock:
                self._unwritten.setdefault(contact_id, []).append(row)

    def _let_go(self, rows: Sequence[Row]) -> None:
        with self._lock:
            for row in rows:
                held = self._unwritten.get(row.get("contact_id") or "", [])
                held[:] = [other for other in held if other is not row]
                if not held:
                    self._unwritten.pop(row.get("contact_id") or "", None)
