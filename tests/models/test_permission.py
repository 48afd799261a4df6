from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.permission import (
    blocked_by,
    in_quiet_hours,
    most_in_a_week,
    next_allowed,
    permitted,
    quiet_table,
    sent_in_a_week,
    zone_of,
)
from nextbest.settings import ChannelSettings

EMAIL = ChannelSettings(quiet_from=21, quiet_to=8, weekly_cap=2)


@pytest.mark.parametrize(
    ("known", "reasons"),
    [
        ({"consent": True, "reachable": True}, []),
        ({"consent": False, "reachable": True}, ["no_consent"]),
        ({"consent": None, "reachable": True}, ["consent_unknown"]),
        ({"consent": None, "reachable": None, "unknown_consent": "allow"}, []),
        ({"consent": True, "reachable": False}, ["not_reachable"]),
        ({"consent": True, "reachable": None, "unknown_reach": "deny"}, ["reach_unknown"]),
        ({"consent": True, "reachable": True, "sent_week": 2.0}, ["weekly_cap"]),
        ({"consent": True, "reachable": True, "local_hour": 23}, ["quiet_hours"]),
        (
            {"consent": False, "reachable": False, "sent_week": 9.0, "local_hour": 3},
            ["no_consent", "not_reachable", "weekly_cap", "quiet_hours"],
        ),
    ],
)
def test_everything_that_forbids_is_named(known, reasons):
    assert blocked_by(EMAIL, **known) == reasons


def test_a_refusal_outweighs_what_is_allowed_when_unknown():
    assert blocked_by(EMAIL, consent=False, reachable=True, unknown_consent="allow") == ["no_consent"]


def test_a_cap_of_nothing_forbids_always():
    assert blocked_by(ChannelSettings(weekly_cap=0), consent=True, reachable=True) == ["weekly_cap"]


@given(st.lists(st.floats(0, 40), max_size=12))
def test_the_bound_never_counts_less_than_was_sent(ages):
    decayed = sum(2 ** (-age / 7) for age in ages)
    bound = most_in_a_week(decayed, min(ages, default=float("nan")))
    assert bound >= sum(age < 7 for age in ages)


def test_the_bound_is_exact_where_it_must_be():
    assert most_in_a_week(0.0) == 0
    assert most_in_a_week(2 ** (-6.9 / 7), 6.9) == 1
    assert most_in_a_week(3.0, 7.0) == 0
    assert most_in_a_week(2.0, 0.0) >= 2


def test_quiet_hours_span_midnight_or_not():
    assert [hour for hour in range(24) if in_quiet_hours(hour, 21, 8)] == [*range(8), 21, 22, 23]
    assert [hour for hour in range(24) if in_quiet_hours(hour, 1, 4)] == [1, 2, 3]
    assert not any(in_quiet_hours(hour, 8, 8) for hour in range(24))


def test_the_night_is_waited_out_in_the_contacts_own_zone():
    late = datetime(2026, 1, 10, 21, 30, tzinfo=UTC)  # 22:30 in Berlin
    assert next_allowed(late, "Europe/Berlin", 21, 8) == datetime(2026, 1, 11, 7, 0, tzinfo=UTC)
    assert next_allowed(late, "America/New_York", 21, 8) == late
    early = datetime(2026, 1, 10, 4, 0, tzinfo=UTC)  # 05:00 in Berlin
    assert next_allowed(early, "Europe/Berlin", 21, 8) == datetime(2026, 1, 10, 7, 0, tzinfo=UTC)


def test_an_unknown_zone_is_utc_and_said():
    now = datetime(2026, 1, 10, 22, 0, tzinfo=UTC)
    assert next_allowed(now, "Mars/Olympus", 21, 8) == datetime(2026, 1, 11, 8, 0, tzinfo=UTC)
    assert zone_of("Mars/Olympus")[1] == "unknown timezone 'Mars/Olympus': UTC"
    assert zone_of("../../etc/passwd")[1] is not None
    assert zone_of(None)[1] == "no timezone recorded: UTC"
    assert zone_of("Europe/Berlin")[1] is None


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", None]),
    st.integers(0, 23),
    st.integers(0, 23),
)
def test_the_moment_is_allowed_and_within_a_day(moment, zone, quiet_from, quiet_to):
    now = moment.replace(tzinfo=UTC)
    at = next_allowed(now, zone, quiet_from, quiet_to)
    local = at.astimezone(ZoneInfo(zone or "UTC"))
    assert not in_quiet_hours(local.hour, quiet_from, quiet_to)
    assert now <= at <= now + timedelta(hours=25)


FLAGS = st.sampled_from([True, False, None])
KNOWN = st.tuples(
    FLAGS, FLAGS, st.floats(0, 30) | st.just(float("nan")), st.floats(-1, 30) | st.just(float("nan"))
)


@given(
    st.lists(st.tuples(KNOWN, KNOWN), min_size=1, max_size=6),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from(["deny", "allow"]),
    st.sampled_from(["deny", "allow"]),
)
def test_many_at_once_are_permitted_what_each_alone_is(rows, caps, unknown_consent, unknown_reach):
    channels = [ChannelSettings(weekly_cap=cap) for cap in caps]
    unknown = {"unknown_consent": unknown_consent, "unknown_reach": unknown_reach}
    table = np.array([[[np.nan if v is None else v for v in known] for known in row] for row in rows], float)
    found = permitted(channels, *np.moveaxis(table, 2, 0), np.full(len(rows), np.inf), **unknown)
    for row, contact in enumerate(rows):
        for place, (consent, reachable, sent_7d, days) in enumerate(contact):
            week = most_in_a_week(sent_7d, days)
            known = {"consent": consent, "reachable": reachable, "sent_week": week}
            assert found[row, place] == (blocked_by(channels[place], **known, **unknown) == [])


@given(st.lists(st.tuples(st.integers(0, 23), st.integers(0, 23)), max_size=4))
def test_the_table_of_quiet_hours_says_the_same(hours):
    table = quiet_table([ChannelSettings(quiet_from=a, quiet_to=b) for a, b in hours])
    assert table.shape == (len(hours), 24)
    for row, (quiet_from, quiet_to) in zip(table, hours, strict=True):
        assert row.tolist() == [in_quiet_hours(hour, quiet_from, quiet_to) for hour in range(24)]


def test_a_week_whose_messages_are_all_remembered_is_counted():
    """The half-lives of a channel alone would say that the cap may be reached."""
    ages = np.array([2.0, 6.0, 8.0])
    weights = float((2 ** (-ages / 7)).sum())
    assert sent_in_a_week(2.0, weights, weights) == 2
    assert sent_in_a_week(2.0, weights, weights + 0.51) == 3, "one more is not remembered"
    assert sent_in_a_week(0.0, 0.0, np.nan) == 0
    channel, one = [ChannelSettings(weekly_cap=3)], np.ones((1, 1))
    often = {"sent_7d": np.array([[2.9]]), "days_since_sent": np.array([[2.0]])}
    assert not permitted(channel, one, one, **often, sent_any=np.array([np.inf]))[0, 0]
    assert permitted(channel, one, one, **often, sent_any=np.array([2.0]))[0, 0]


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=12))
def test_no_message_of_the_week_is_ever_missed(sent):
    """Whichever of the messages are remembered as steps."""
    ages, kept = np.array([age for age, _ in sent]), np.array([held for _, held in sent], dtype=bool)
    weight = 2 ** (-ages / 7)
    bound = sent_in_a_week(float((ages[kept] < 7).sum()), float(weight[kept].sum()), float(weight.sum()))
    assert bound >= (ages < 7).sum()
