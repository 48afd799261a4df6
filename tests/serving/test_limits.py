"""Token buckets against the rule they follow, with a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.limits import Buckets, take
from serving.refused import Refused


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(rate=2.0, size=3.0, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    clock.now = 0.5
    assert buckets.take("a") == 0.0
    clock.now = 1000.0
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=50), st.floats(0.1, 5), st.floats(1, 10))
def test_never_more_than_the_burst_and_what_flowed_in(waits: list[float], rate: float, size: float) -> None:
    clock = Clock()
    buckets = Buckets(rate, size, clock=clock)
    taken = 0
    for wait in waits:
        clock.now += wait
        taken += buckets.take("a") == 0.0
        assert taken <= size + clock.now * rate + 1e-6


def test_memory_is_bounded_and_who_asked_last_is_remembered() -> None:
    buckets = Buckets(rate=1e-6, size=1.0, most=10, clock=Clock())
    buckets.take("held back")
    for n in range(1000):
        buckets.take(str(n))
        assert buckets.take("held back") > 0
    assert len(buckets) == 10


def test_the_refusal_says_when_to_come_back() -> None:
    take(None, "a", "this key")
    buckets = Buckets(rate=0.4, size=1.0, clock=Clock())
    take(buckets, "a", "this key")
    with pytest.raises(Refused) as refused:
        take(buckets, "a", "this key")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "3"})
    assert "wait 3 s" in refused.value.message
