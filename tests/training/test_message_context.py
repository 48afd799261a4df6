from datetime import UTC, datetime

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from models.local_time import week_hours
from nextbest.columns import STEPS
from serving import _channel_rank
from training._message_context import DONE_TO_THEM, earned_after, left_after, seen_before, zones_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
HOUR, DAY = 3_600.0, 86_400.0


def sent(*messages):
    """(contact, hours after Monday's midnight, channel)."""
    frame = pd.DataFrame([(*m, "email")[:3] for m in messages], columns=["contact_id", "hours", "channel"])
    return frame.assign(seconds=MONDAY + frame.pop("hours").astype(float) * HOUR)


def events(*rows):
    """(contact, event, hours after Monday's midnight, further columns)."""
    blank = {"channel": None, "price": None, "quantity": None}
    made = [
        {"contact_id": c, "event": e, "seconds": MONDAY + h * HOUR, **blank, **(more[0] if more else {})}
        for c, e, h, *more in rows
    ]
    frame = pd.DataFrame(made, columns=["contact_id", "event", "seconds", *blank])
    moments = pd.to_datetime((frame["seconds"].astype(float) * 1e6).astype("int64"), unit="us", utc=True)
    numbers = {name: frame[name].astype(float) for name in ("price", "quantity")}
    return frame.assign(timestamp=moments, **numbers)


def hours_of(seen):
    return [{int(hour): int(row[hour]) for hour in np.flatnonzero(row)} for row in seen]


# --- who was there


def test_only_what_came_before_a_message_counts():
    steps = events(
        ("a", "page_viewed", 9), ("a", "product_viewed", 9), ("a", "page_viewed", 11), ("b", "page_viewed", 1)
    )  # fmt: skip
    seen = seen_before(sent(("a", 9), ("a", 10), ("a", 12), ("c", 12), ("b", 2)), steps, np.full(5, None))
    assert hours_of(seen) == [{}, {9: 2}, {9: 2, 11: 1}, {}, {1: 1}]
    assert seen.dtype == np.float32


def test_what_is_done_to_contacts_does_not_tell_that_they_were_there_but_takes_its_place():
    told = [("a", event, 5 + n) for n, event in enumerate(DONE_TO_THEM)]
    steps = events(("a", "message_opened", 4), *told, ("a", "order_completed", 8))
    assert hours_of(seen_before(sent(("a", 10)), steps, np.full(1, None))) == [{4: 1}]
    many = [("a", "message_sent", 5 + n / 100) for n in range(STEPS)]
    steps = events(("a", "message_opened", 4), *many)
    assert hours_of(seen_before(sent(("a", 10)), steps, np.full(1, None))) == [{}], "as the service remembers"


def test_the_service_leaves_out_the_same():
    assert set(DONE_TO_THEM) == set(_channel_rank.DONE_TO_THEM)


def test_the_last_steps_are_looked_at_and_no_more():
    steps = events(*[("a", "page_viewed", hour) for hour in range(STEPS + 4)])
    (found,) = hours_of(seen_before(sent(("a", 100)), steps, np.full(1, None)))
    assert sorted(found) == list(range(4, STEPS + 4))


def test_hours_are_the_contacts_own():
    steps = events(("a", "page_viewed", 9), ("b", "page_viewed", 9))
    zones = np.array(["Asia/Kolkata", None], dtype=object)
    assert hours_of(seen_before(sent(("a", 10), ("b", 10)), steps, zones)) == [{14: 1}, {9: 1}]


def test_nobody_did_anything():
    assert not seen_before(sent(("a", 10)), events(), np.full(1, None)).any()
    assert seen_before(sent().astype({"seconds": float}), events(), np.empty(0, dtype=object)).shape == (
        0,
        168,
    )


KINDS = ("page_viewed", "message_opened", "message_sent", "order_completed", "unsubscribed")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("abd"), st.sampled_from(KINDS), st.integers(0, 200)), max_size=60),
)
def test_it_is_what_looking_back_from_each_message_finds(messages, done):
    asked, steps = sent(*messages), events(*done)
    zone_of = {"a": "Europe/Berlin", "b": None, "c": "Asia/Kolkata"}
    zones = np.array([zone_of[contact] for contact in asked["contact_id"]], dtype=object)
    seen = seen_before(asked, steps, zones)
    for row, (contact, hour) in enumerate(messages):
        before = [
            (at, kind)
            for who, kind, at in done
            if who == contact and at < hour and kind not in ("order_completed", "order_refunded")
        ]
        if len(before) > STEPS and sorted(before)[-STEPS][0] == sorted(before)[-STEPS - 1][0]:
            continue  # which of one moment's are the last is anybody's guess
        there = [at for at, kind in sorted(before)[-STEPS:] if kind not in DONE_TO_THEM]
        hours = week_hours(MONDAY + np.array(there, dtype=float) * HOUR, [zone_of[contact]] * len(there))
        assert seen[row].tolist() == np.bincount(hours, minlength=168).tolist()


# --- who left


def test_the_last_message_over_the_channel_is_what_they_left_over():
    asked = sent(("a", 0), ("a", 5), ("a", 6, "sms"), ("a", 9), ("b", 5))
    gone = events(("a", "unsubscribed", 7, {"channel": "email"}), ("a", "message_opened", 6))
    assert left_after(asked, gone, 7).tolist() == [0, 1, 0, 0, 0]


def test_leaving_altogether_is_put_down_to_the_last_message_over_any():
    asked = sent(("a", 5), ("a", 6, "sms"), ("b", 6))
    assert left_after(asked, events(("a", "unsubscribed", 7)), 7).tolist() == [0, 1, 0]


def test_leaving_long_after_or_before_is_put_down_to_nothing():
    asked = sent(("a", 0))
    within, too_late = 7 * 24 - 1, 7 * 24 + 1
    assert left_after(asked, events(("a", "unsubscribed", within)), 7).tolist() == [1]
    assert left_after(asked, events(("a", "unsubscribed", too_late)), 7).tolist() == [0]
    assert left_after(asked, events(("a", "unsubscribed", -1)), 7).tolist() == [0]
    assert left_after(asked, events(), 7).tolist() == [0]
    assert left_after(sent(), events(("a", "unsubscribed", 1)), 7).tolist() == []


def test_messages_need_not_be_in_order():
    asked = sent(("a", 9), ("a", 5), ("a", 0))
    assert left_after(asked, events(("a", "unsubscribed", 7, {"channel": "email"})), 7).tolist() == [0, 1, 0]


# --- what was earned


def order(contact, hour, price, quantity=1.0):
    return (contact, "order_completed", hour, {"price": price, "quantity": quantity})


def earned(asked, answers, orders, until=100 * 24, days=7, margin=0.5):
    """answers: hours after Monday's midnight, None: not answered."""
    moments = np.array([np.nan if a is None else MONDAY + a * HOUR for a in answers])
    found = earned_after(asked, moments, orders, days, MONDAY + until * HOUR, margin)
    return [None if np.isnan(value) else float(value) for value in found]


def test_an_order_is_credited_to_the_last_answer_before_it():
    asked = sent(("a", 0), ("a", 2), ("a", 4), ("b", 0))
    orders = events(order("a", 6, 10.0, 3.0), order("a", 6, 4.0), order("a", 30, 100.0))
    assert earned(asked, [1, 5, 20, 1], orders) == [0.0, 17.0, 50.0, 0.0]


def test_the_answer_counts_not_the_message():
    asked = sent(("a", 0), ("a", 2))
    assert earned(asked, [5, 3], events(order("a", 6, 10.0))) == [5.0, 0.0]


def test_what_was_not_answered_earned_nothing_and_nor_did_orders_before_it_or_long_after():
    asked = sent(("a", 0), ("a", 1))
    assert earned(asked, [None, None], events(order("a", 6, 10.0))) == [0.0, 0.0]
    assert earned(asked, [5, None], events(order("a", 4, 10.0))) == [0.0, 0.0]
    assert earned(asked, [5, None], events(order("a", 5 + 8 * 24, 10.0))) == [0.0, 0.0]
    assert earned(asked, [5, None], events()) == [0.0, 0.0]


def test_while_the_window_is_open_it_is_not_known():
    asked = sent(("a", 0), ("a", 30), ("a", 60), ("a", 0))
    answers, until = [1, 31, None, 50], 40 + 7 * 24
    assert earned(asked, answers, events(order("a", 32, 10.0)), until) == [0.0, 5.0, None, None]


def test_an_order_without_a_price_or_quantity():
    asked = sent(("a", 0))
    orders = events(("a", "order_completed", 2, {"price": 10.0}), ("a", "order_completed", 2))
    assert earned(asked, [1], orders) == [5.0]


def test_zones_are_those_recorded_last():
    contacts = pd.DataFrame(
        {"contact_id": ["a", "b", "a", "c"], "timezone": ["UTC", None, "Asia/Kolkata", float("nan")]}
    )
    assert zones_of(["c", "a", "nobody", "b", "a"], contacts).tolist() == [
        None, "Asia/Kolkata", None, None, "Asia/Kolkata",
    ]  # fmt: skip
    assert zones_of([], contacts).tolist() == []
    assert zones_of(["a"], contacts.iloc[:0]).tolist() == [None]
