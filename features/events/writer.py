"""Group commit: what arrives at the same time shares a transaction; acknowledged is what is durable."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from sqlalchemy.exc import OperationalError

from features.events.segment import Arrival
from nextbest.errors import NextbestError

log = logging.getLogger("nextbest.intake")

MOST = 50_000
"""Rows that may wait; beyond, senders are to come back."""
TOGETHER = 5_000
"""Rows after which a transaction takes no more arrivals."""


class Busy(NextbestError):
    """More arrives than can be written; the sender is to come back later."""


class Writer:
    """A thread that writes arrivals, many in one transaction; while it waits for the disk, others gather.

    `store` is EventLog.take: durable when it returns.
    """

    def __init__(
        self, store: Callable[[Sequence[Arrival]], object], most: int = MOST, together: int = TOGETHER
    ) -> None:
        self._store, self._most, self._together = store, most, together
        self._waiting: deque[tuple[Arrival, Future[None]]] = deque()
        self._rows = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def submit(self, arrival: Arrival) -> "Future[None]":
        """Hand over what arrived; the future is done when it is durable. Raises Busy when too much waits."""
        done: Future[None] = Future()
        with self._changed:
            if self._closing:
                raise Busy("the service is stopping")
            if self._rows and self._rows + len(arrival) > self._most:
                raise Busy(f"{self._rows} events wait to be written; send again in a second")
            self._waiting.append((arrival, done))
            self._rows += len(arrival)
            self._changed.notify()
        return done

    def close(self, seconds: float = 30.0) -> None:
        """Write what waits, for at most so long, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while group := self._next():
            self._write(group)

    def _next(self) -> "list[tuple[Arrival, Future[None]]]":
        """Wait for arrivals and return those of one transaction; none once everything is written."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            group: list[tuple[Arrival, Future[None]]] = []
            rows = 0
            while self._waiting and (not group or rows + len(self._waiting[0][0]) <= self._together):
                group.append(self._waiting.popleft())
                rows += len(group[-1][0])
            self._rows -= rows
            return group

    def _write(self, group: "list[tuple[Arrival, Future[None]]]") -> None:
        try:
            self._store([arrival for arrival, _ in group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, OperationalError):
                for one in group:  # whatever is wrong with one must not cost the others
                    self._write([one])
                return
            log.exception("events could not be written")
            for _, done in group:
                done.set_exception(error)
        else:
            for _, done in group:
                done.set_result(None)
