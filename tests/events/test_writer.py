"""Group commit: shared transactions, nobody pays for another's fault, a bound on what waits."""

import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest
from sqlalchemy.exc import OperationalError

from features.events.segment import Arrival
from features.events.writer import Busy, Writer


def arrival(*names: str) -> Arrival:
    return Arrival(rows=[{"event_id": name} for name in names])


class Disk:
    """Takes arrivals, while `open` is set; `bad` are refused."""

    def __init__(self, error: Exception) -> None:
        self.open, self.error, self.groups = threading.Event(), error, list[list[str]]()

    def __call__(self, arrivals: Sequence[Arrival]) -> None:
        self.open.wait(10)
        names = [row["event_id"] for arrival in arrivals for row in arrival.rows]
        if "bad" in names:
            raise self.error
        self.groups.append(names)


def test_what_gathers_while_the_disk_works_shares_a_transaction() -> None:
    disk = Disk(ValueError())
    writer = Writer(disk, together=3)
    done = [writer.submit(arrival(name)) for name in "abcdef"]
    disk.open.set()
    assert [future.result(10) for future in done] == [None] * 6
    writer.close()
    assert [name for group in disk.groups for name in group] == list("abcdef")
    assert len(disk.groups) < 6
    assert max(map(len, disk.groups)) <= 3


@pytest.mark.parametrize("error", [ValueError("odd"), OperationalError("INSERT", {}, Exception("disk full"))])
def test_one_bad_arrival_fails_alone_but_a_broken_disk_fails_all(error: Exception) -> None:
    disk = Disk(error)
    writer = Writer(disk)
    first = writer.submit(arrival("first"))
    rest = [writer.submit(arrival(name)) for name in ("a", "bad", "b")]
    disk.open.set()
    assert first.exception(10) is None or isinstance(error, OperationalError)
    failed = [future.exception(10) is not None for future in rest]
    assert failed == ([True] * 3 if isinstance(error, OperationalError) else [False, True, False])
    writer.close()


def test_too_much_waiting_is_refused_but_one_arrival_is_always_taken() -> None:
    disk = Disk(ValueError())
    writer = Writer(disk, most=2)
    writer.submit(arrival("a", "b", "c"))
    with suppress(Busy):  # the thread may have taken the first by now, or not
        writer.submit(arrival("d", "e"))
    with pytest.raises(Busy, match="send again"):
        writer.submit(arrival("f", "g"))
    disk.open.set()
    writer.close()
    with pytest.raises(Busy, match="stopping"):
        writer.submit(arrival("x"))
