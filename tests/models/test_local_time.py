from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.local_time import HOUR, seen_hours, slot_moments, slots, week_hours

ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Auckland", "UTC")
UNKNOWN = (None, "", "Mars/Olympus", "nan")


def by_the_clock(seconds, zone):
    local = datetime.fromtimestamp(seconds, ZoneInfo(zone if zone in ZONES else "UTC"))
    return local.weekday() * 24 + local.hour


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(2020, 1, 1), datetime(2030, 12, 31)), st.sampled_from(ZONES + UNKNOWN)
        ),
        max_size=20,
    )
)
def test_the_hour_of_the_week_is_what_the_clock_says(asked):
    seconds = np.array([moment.replace(tzinfo=UTC).timestamp() for moment, _ in asked], dtype=float)
    zones = [zone for _, zone in asked]
    expected = [by_the_clock(*pair) for pair in zip(seconds, zones, strict=True)]
    assert week_hours(seconds, zones).tolist() == expected
    assert week_hours(seconds, np.array(zones, dtype=object)).tolist() == expected


@pytest.mark.parametrize(
    ("zone", "begins", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 0, tzinfo=UTC), [1, 3, 4]),  # the clock goes forward
        ("Europe/Berlin", datetime(2026, 10, 24, 23, tzinfo=UTC), [1, 2, 2]),  # and back
        ("America/New_York", datetime(2026, 3, 8, 6, tzinfo=UTC), [1, 3, 4]),
        ("America/New_York", datetime(2026, 11, 1, 5, tzinfo=UTC), [1, 1, 2]),
        ("Asia/Kolkata", datetime(2026, 3, 29, 0, tzinfo=UTC), [5, 6, 7]),  # half past
    ],
)
def test_the_clock_goes_forward_and_back(zone, begins, hours):
    sunday = 6 * 24
    assert slots(begins.timestamp(), [zone], 3).tolist() == [[sunday + hour for hour in hours]]


def test_slots_are_now_and_the_full_hours_after_it():
    now = datetime(2026, 3, 2, 9, 17, 30, tzinfo=UTC)
    moments = [datetime.fromtimestamp(seconds, UTC) for seconds in slot_moments(now.timestamp(), 4)]
    full = now.replace(minute=0, second=0)
    assert moments == [now, *(full + timedelta(hours=hour) for hour in (1, 2, 3))]
    assert slot_moments(now.timestamp(), 1).tolist() == [now.timestamp()]
    on_the_hour = full.timestamp()
    assert slot_moments(on_the_hour, 3).tolist() == [on_the_hour, on_the_hour + HOUR, on_the_hour + 2 * HOUR]


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)),
    st.lists(st.sampled_from(ZONES + UNKNOWN), max_size=5),
    st.integers(1, 168),
)
def test_slots_are_the_hours_of_their_moments_in_each_zone(now, zones, count):
    start = now.replace(tzinfo=UTC).timestamp()
    moments = slot_moments(start, count)
    table = slots(start, zones, count)
    assert table.shape == (len(zones), count)
    for row, zone in zip(table, zones, strict=True):
        assert row.tolist() == week_hours(moments, [zone] * count).tolist()


def test_what_contacts_did_is_counted_at_their_own_hours():
    monday = datetime(2026, 3, 2, 20, 30, tzinfo=UTC).timestamp()
    seen = seen_hours(
        np.array([monday, monday, monday]),
        np.array([0, 0, 2]),
        4,
        ["Europe/Berlin", None, "Asia/Kolkata", None],
    )
    expected = np.zeros((4, 168))
    expected[0, 21], expected[2, 24 + 2] = 2, 1
    np.testing.assert_array_equal(seen, expected)


def test_nothing_was_done():
    nobody = seen_hours(np.empty(0), np.empty(0, dtype=np.int64), 2, [None, "Europe/Berlin"])
    assert nobody.shape == (2, 168)
    assert not nobody.any()
    assert week_hours(np.empty(0), []).shape == (0,)
    assert slots(0.0, [], 24).shape == (0, 24)
