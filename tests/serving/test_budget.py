"""What takes too long is left behind."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as Overrun

import pytest

from serving.budget import PROVEN, Budget, Deadline, Skipped
from serving.decisions import DecisionSink


def test_work_within_its_time_answers_and_its_errors_come_through() -> None:
    budget = Budget()
    assert budget.run("quick", lambda: 7, 1000) == 7
    with pytest.raises(ZeroDivisionError):
        budget.run("broken", lambda: 1 // 0, 1000)
    budget.close()


def test_an_error_that_looks_like_an_overrun_is_the_works_own() -> None:
    def fail() -> None:
        raise Overrun

    budget = Budget()
    with pytest.raises(Overrun):
        budget.run("broken", fail, 1000)
    budget.close()


def test_a_hanging_step_is_left_behind_and_then_left_alone() -> None:
    hold = threading.Event()
    budget = Budget(threads=2, patience=2, rest_seconds=60)
    try:
        for _ in range(2):
            with pytest.raises(Skipped) as skipped:
                budget.run("hangs", hold.wait, 10)
            assert skipped.value.reason == "over_budget"
        started = time.perf_counter()
        with pytest.raises(Skipped):
            budget.run("hangs", hold.wait, 5000)
        assert time.perf_counter() - started < 1
    finally:
        hold.set()
        budget.close()


def test_after_its_rest_a_step_that_answers_again_is_forgiven() -> None:
    hold = threading.Event()
    budget = Budget(threads=2, patience=1, rest_seconds=0.05)
    with pytest.raises(Skipped):
        budget.run("slow", hold.wait, 5)
    hold.set()
    time.sleep(0.1)
    assert [budget.run("slow", lambda: 1, 1000) for _ in range(3)] == [1, 1, 1]
    budget.close()


def test_a_proven_step_runs_where_it_is_asked_until_it_comes_late() -> None:
    budget = Budget()
    here = threading.get_ident()
    where = [budget.run("step", threading.get_ident, 1000) for _ in range(PROVEN + 1)]
    assert here not in where[:PROVEN]
    assert where[PROVEN] == here

    def late() -> int:
        time.sleep(0.02)
        return threading.get_ident()

    assert budget.run("step", late, 5) == here
    with pytest.raises(Skipped):
        budget.run("step", late, 5)
    budget.close()


def test_a_deadline_is_shared_by_the_steps_of_a_request() -> None:
    budget = Budget()
    deadline = Deadline(budget, 30)
    deadline.run("first", lambda: None)
    time.sleep(0.04)
    with pytest.raises(Skipped):
        deadline.run("second", lambda: 1)
    budget.close()


def test_decisions_are_written_and_a_failing_database_only_loses_them() -> None:
    written: list[object] = []

    def write(rows: Sequence[object]) -> None:
        if {"n": 1} in rows:
            raise OSError("disk full")
        written.extend(rows)

    sink = DecisionSink(write, gather_seconds=0)
    for n in range(3):
        sink.put({"n": n})
        sink.flush()
    sink.close()
    assert written == [{"n": 0}, {"n": 2}]
    assert (sink.written, sink.dropped) == (2, 1)


def test_decisions_gather_into_few_transactions() -> None:
    batches: list[Sequence[object]] = []
    sink = DecisionSink(batches.append, gather_seconds=0.2)
    for n in range(700):
        sink.put({"n": n})
    sink.close()
    assert sum(len(batch) for batch in batches) == 700
    assert len(batches) <= 3


def test_a_full_queue_drops_and_never_waits() -> None:
    hold = threading.Event()
    sink = DecisionSink(lambda rows: hold.wait(5), size=2, gather_seconds=0)
    for n in range(10):
        sink.put({"n": n})
    assert sink.dropped >= 5
    hold.set()
    sink.close()


def test_what_is_not_written_yet_can_be_asked_for() -> None:
    hold = threading.Event()
    sink = DecisionSink(lambda rows: hold.wait(5), gather_seconds=0)
    rows = [{"contact_id": "a", "n": 1}, {"contact_id": "b", "n": 2}, {"contact_id": "a", "n": 3}]
    for row in rows:
        sink.put(row)
    assert sink.unwritten("a") == [rows[0], rows[2]]
    hold.set()
    sink.flush()
    assert sink.unwritten("a") == sink.unwritten("b") == []
    sink.close()


def test_a_step_that_one_caller_makes_slow_does_not_rest_for_the_others() -> None:
    hold = threading.Event()
    budget = Budget(threads=8, patience=2, rest_seconds=60)
    try:
        for _ in range(5):
            with pytest.raises(Skipped):
                budget.run("features", hold.wait, 5, rests=False)
        assert budget.run("features", lambda: "somebody else's", 1000, rests=False) == "somebody else's"
    finally:
        hold.set()
        budget.close()
