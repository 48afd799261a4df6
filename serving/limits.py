"""Token buckets: how often one address and one key may ask, before a request costs anything."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from serving.refused import Refused

MOST_BUCKETS = 10_000


class Buckets:
    """One bucket a name, full at first: `rate` tokens a second flow in, `size` fit.

    At most `most` are kept. The one asked for longest ago is forgotten first and is full when it comes back,
    as most are by then. Every process counts for itself.
    """

    def __init__(
        self, rate: float, size: float, most: int = MOST_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._size, self._most, self._clock = rate, max(size, 1.0), most, clock
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> tokens left at a moment
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, name: str) -> float:
        """Take a token and return 0.0; without one, return the seconds until there is one."""
        now = self._clock()
        with self._lock:
            tokens, seen = self._held.pop(name, (self._size, now))
            tokens = min(self._size, tokens + (now - seen) * self._rate)
            short = 1.0 - tokens
            self._held[name] = (tokens if short > 0 else tokens - 1.0, now)
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        return max(short, 0.0) / self._rate


def take(buckets: Buckets | None, name: str, who: str) -> None:
    """Take a token where there is a limit. Raises Refused(429) with Retry-After in whole seconds."""
    wait = 0.0 if buckets is None else buckets.take(name)
    if wait > 0:
        seconds = str(max(1, -int(-wait // 1)))
        raise Refused(
            429,
            "too_many_requests",
            f"{who} asks too often; wait {seconds} s and ask less often",
            {"retry-after": seconds},
        )
