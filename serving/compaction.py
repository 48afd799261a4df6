"""The event log is brought into the lake now and then, by one process of the service."""

import logging
import threading

from features.events.lake import Lake
from features.events.log import EventLog

log = logging.getLogger("nextbest.compaction")


class Compaction:
    """A thread that compacts every so many seconds where there is news; 0: never."""

    def __init__(self, events: EventLog, lake: Lake, seconds: float) -> None:
        self._events, self._lake, self._seconds = events, lake, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compaction", daemon=True)
        if seconds > 0:
            self._thread.start()

    def once(self) -> bool:
        """Compact, unless another process holds the lake or there is no news; tell whether it was done."""
        try:
            if not self._events.has_news(self._lake):
                return False
            with self._lake.locked(wait=False):
                self._events.compact(self._lake)
        except BlockingIOError:
            return False  # another process compacts, builds or takes something in
        return True

    def close(self, seconds: float = 10.0) -> None:
        """Let a compaction under way end, for at most so long; killed halfway, the next completes it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                if self.once():
                    log.info("the event log is in the lake up to position %d", self._events.position())
            except Exception:
                log.exception("the event log could not be brought into the lake; it is tried again")
