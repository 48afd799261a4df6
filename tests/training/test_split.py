from datetime import UTC, datetime, timedelta

import pytest

from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training.base import Context
from training.split import TemporalSplit


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def context(tmp_path, now="2018-06-01", **options):
    return Context(Settings(home=tmp_path, holdout_days=30), day(now), 7, options)


YEAR = (day("2017-01-01T08:00"), day("2017-12-30T21:15"))


def test_windows_follow_each_other_and_end_with_the_last_day(tmp_path):
    split = TemporalSplit.of(YEAR, context(tmp_path))
    assert split.end == day("2017-12-31")
    assert split.cut == split.validation_until == day("2017-12-01")
    assert split.train_until == day("2017-11-01")


def test_a_day_that_is_not_over_is_left_out(tmp_path):
    split = TemporalSplit.of(YEAR, context(tmp_path, now="2017-12-30T22:00"))
    assert split.end == day("2017-12-30")


def test_the_cut_may_be_chosen(tmp_path):
    split = TemporalSplit.of(YEAR, context(tmp_path, cut="2017-06-15"))
    assert (split.cut, split.end) == (day("2017-06-15"), day("2017-07-15"))
    assert split.train_until == day("2017-05-16")


def test_the_window_may_be_the_jobs_own(tmp_path):
    split = TemporalSplit.of(YEAR, context(tmp_path), days=60)
    assert split.end - split.cut == timedelta(days=60) == split.cut - split.train_until


@pytest.mark.parametrize("cut", ["soon", "2017-13-01"])
def test_a_cut_that_is_no_date(tmp_path, cut):
    with pytest.raises(BadInput, match="must be a date such as 2017-12-01"):
        TemporalSplit.of(YEAR, context(tmp_path, cut=cut))


@pytest.mark.parametrize("cut", ["2017-12-15", "2017-01-20", "2031-01-01"])
def test_a_cut_without_room_says_which_would_work(tmp_path, cut):
    with pytest.raises(BadInput, match="a cut from 2017-03-03 to 2017-12-01 would work"):
        TemporalSplit.of(YEAR, context(tmp_path, cut=cut))
    for good in ("2017-03-03", "2017-12-01"):
        TemporalSplit.of(YEAR, context(tmp_path, cut=good))


def test_too_short_data_say_what_would_work(tmp_path):
    span = (day("2017-01-01"), day("2017-03-01T12:00"))
    with pytest.raises(NotReady, match=r"span 60 days.*need 90: holdout_days=20 would work"):
        TemporalSplit.of(span, context(tmp_path))
    TemporalSplit.of(span, context(tmp_path), days=20)


def test_one_day_of_data(tmp_path):
    with pytest.raises(NotReady, match="ingest more events"):
        TemporalSplit.of((day("2017-01-01"), day("2017-01-01")), context(tmp_path))


def test_no_events(tmp_path):
    with pytest.raises(NotReady, match="nextbest ingest"):
        TemporalSplit.of(None, context(tmp_path))


def test_dates_for_the_facts(tmp_path):
    facts = TemporalSplit.of(YEAR, context(tmp_path)).facts()
    assert facts["validation_until"].startswith("2017-12-01")
    assert facts["holdout_until"].startswith("2017-12-31")


def test_naive_moments_are_utc(tmp_path):
    naive = (YEAR[0].replace(tzinfo=None), YEAR[1].replace(tzinfo=None))
    assert TemporalSplit.of(naive, context(tmp_path)) == TemporalSplit.of(YEAR, context(tmp_path))
