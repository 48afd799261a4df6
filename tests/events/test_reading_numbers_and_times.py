"""Numbers and times as people write them."""

from datetime import UTC, datetime

import duckdb
import pytest

from features.events.importers._numbers import decimal_mark, digits_of, values_of
from features.events.importers._times import read_times


def numbers(*texts: str) -> list[float | None]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE cells AS SELECT unnest(?) AS text", [list(texts)])
        digits_of(connection, "read", "SELECT text FROM cells")
        values_of(connection, "read", decimal_mark(connection, ["read"])[0])
        known = dict(connection.execute("SELECT text, value FROM read").fetchall())
    return [known.get(text) for text in texts]


def times(*texts: str) -> tuple[list[datetime | None], str | None]:
    with duckdb.connect() as connection:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("CREATE TABLE cells AS SELECT unnest(?) AS text", [list(texts)])
        note = read_times(connection, "read", "SELECT text FROM cells")
        known = dict(connection.execute("SELECT text, moment FROM read").fetchall())
    return [known.get(text) for text in texts], note


def test_points_commas_signs_and_currencies() -> None:
    assert numbers("12.5", "1,234", "1,234.50", ".5", "1'000") == [12.5, 1234, 1234.5, 0.5, 1000]
    assert numbers("-3", "(4.00)", "5-", "£3.5", "$ 1,000.25") == [-3, -4, -5, 3.5, 1000.25]
    assert numbers("EUR 12", "12 USD", "Rs. 12.50", "1.5E-2", "7.") == [12, 12, 12.5, 0.015, 7]


def test_decimal_commas_are_told_by_the_other_values() -> None:
    assert numbers("12,50", "1.234", "1.234,50", "1.234.567", "12,50 €", "0,125") == [
        12.5, 1234, 1234.5, 1234567, 12.5, 0.125,
    ]  # fmt: skip
    assert numbers("1,234", "1.5") == [1234, 1.5]
    assert numbers("1.234") == [1.234]


def test_what_is_no_number_is_none() -> None:
    assert numbers("abc", "", "12abc4", "nan", "one 2", "2010-12-01") == [None] * 6


@pytest.mark.parametrize(
    "text",
    [
        "2010-12-01 08:26:00", "2010-12-01T08:26Z", "2010-12-01T10:26:00.000+02:00", "2010/12/1 8:26",
        "20101201082600", "20101201T0826", "1291191960", "1291191960000", "1291191960.0",
        "1 December 2010 8:26 AM", "Wed, 01 Dec 2010 08:26:00 GMT", "Wed Dec  1 08:26:00 UTC 2010",
        "Dec 1, 2010 8:26 am", " 2010-12-01 08:26:00+00", "12/1/2010 8:26", "12/1/10 08:26",
    ],
)  # fmt: skip
def test_one_moment_in_many_spellings(text: str) -> None:
    assert times(text)[0] == [datetime(2010, 12, 1, 8, 26, tzinfo=UTC)]


def test_the_whole_column_decides_between_day_and_month() -> None:
    found, note = times("1/2/2011", "13/2/2011")
    assert found == [datetime(2011, 2, 1, tzinfo=UTC), datetime(2011, 2, 13, tzinfo=UTC)]
    assert note == "dates are day first: 1 of 2 distinct ones can only be that"
    found, note = times("1/2/2011", "2/13/2011")
    assert found[0] == datetime(2011, 1, 2, tzinfo=UTC)
    assert note is not None
    assert note.startswith("dates are month first")


def test_what_stays_open_is_said() -> None:
    assert times("1/2/2011")[1] == "dates could be day or month first; taken as month first"
    found, note = times("1.2.2011")
    assert found == [datetime(2011, 2, 1, tzinfo=UTC)]
    assert note == "dates could be day or month first; taken as day first, as dates with dots are"


def test_what_is_no_time_is_none() -> None:
    assert (
        times("2010-02-30", "abc", "2010-12-01 25:00", "2010-12-01 soon", "", "12", "12.5")[0] == [None] * 7
    )
