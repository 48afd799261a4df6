"""Contacts at month ends, out of the contact table: what Feast gives at those moments, and nothing later."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.build import build
from features.history import contacts_at, first_touches, history_of, last_months, month_ends
from features.snapshots import contact_frame
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, TIME_COLUMNS, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings

Put = Callable[[Settings, Sequence[Any]], None]
TICK = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, event: Callable[..., Any], now: datetime, put: Put
) -> Settings:
    def order(days_ago: float, contact: str, order_id: str) -> Any:
        values = {"contact_id": contact, "order_id": order_id, "item_id": "milk", "price": 3.0}
        return event("order_completed", days_ago, **values, quantity=2.0)

    settings = Settings(home=tmp_path_factory.mktemp("history"))
    put(
        settings,
        [
            event("page_viewed", 120, contact_id="anna"), order(100, "anna", "1"), order(40, "anna", "2"),
            event("form_submitted", 70, contact_id="bert"), order(70, "bert", "3"),
            event("message_sent", 33, contact_id="carl"), event("product_viewed", 5, contact_id="dora"),
            event("song_played", 50, contact_id="emil"),
        ],
    )  # fmt: skip
    build(settings, now, online=False)
    return settings


def test_months_end_at_the_last_microsecond(now: datetime) -> None:
    ends = month_ends(datetime(2025, 11, 5, tzinfo=UTC), now)
    assert [end + TICK for end in ends] == [
        datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC),
    ]  # fmt: skip
    assert last_months(now, 2) == [*ends[-2:], now]
    assert last_months(now, 0) == [now]
    start = datetime(2026, 3, 1, tzinfo=UTC)
    assert last_months(start, 1) == [start - TICK, start]
    assert month_ends(now, now) == []


@pytest.mark.parametrize("days_ago", [0, 40, 40.001, 69.9, 110])
def test_everyone_is_as_feast_says(settings: Settings, now: datetime, days_ago: float) -> None:
    at = now - timedelta(days=days_ago)
    found = contacts_at(settings, at)
    assert list(found.columns) == [CONTACT_ID, TIMESTAMP, *CONTACT_FEATURES, *TIME_COLUMNS]
    assert found[CONTACT_ID].is_monotonic_increasing
    pd.testing.assert_frame_equal(found, contact_frame(settings, "churn", found[[CONTACT_ID, TIMESTAMP]]))


def test_who_was_not_seen_yet_has_no_row(settings: Settings, now: datetime) -> None:
    assert contacts_at(settings, now - timedelta(days=60))[CONTACT_ID].tolist() == ["anna", "bert"]
    assert contacts_at(settings, now - timedelta(days=130)).empty


def test_ones_history_is_everyones_month_by_month(settings: Settings, now: datetime) -> None:
    history = history_of(settings, "anna", now)
    assert history["orders_total"].tolist() == [1, 1, 2, 2, 2]
    assert history["recency_days"].is_monotonic_increasing is False
    for _, row in history.iterrows():
        everyone = contacts_at(settings, row[TIMESTAMP].to_pydatetime())
        own = everyone[everyone[CONTACT_ID] == "anna"].iloc[0]
        pd.testing.assert_series_equal(row, own, check_names=False)
    pd.testing.assert_frame_equal(
        history_of(settings, "anna", now, months=2), history.tail(3).reset_index(drop=True)
    )


def test_nothing_later_enters(settings: Settings, now: datetime) -> None:
    past = now - timedelta(days=45)
    whole, then = history_of(settings, "anna", now), history_of(settings, "anna", past)
    kept = whole[whole[TIMESTAMP] <= past]
    pd.testing.assert_frame_equal(then.head(len(kept)), kept)
    assert then["orders_total"].max() == 1
    assert history_of(settings, "dora", past).empty
    nobody = history_of(settings, "nobody", now)
    assert nobody.empty
    assert list(nobody.columns) == list(whole.columns)


def test_what_somebody_was_first_seen_by(settings: Settings, now: datetime) -> None:
    assert first_touches(settings, now).to_dict() == {
        "anna": "visit", "bert": "order", "carl": "message sent", "dora": "visit", "emil": "other",
    }  # fmt: skip


def test_before_a_build_it_says_what_to_run(tmp_path: Path, now: datetime) -> None:
    for ask in (lambda s: contacts_at(s, now), lambda s: history_of(s, "anna", now)):
        with pytest.raises(NotReady, match="nextbest features build"):
            ask(Settings(home=tmp_path))
