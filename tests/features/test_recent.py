"""The latest events of a person: out of the days the contact table names, and the log."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features.build import build
from features.events.log import EventLog
from features.recent import active_days, recent_events
from features.whole import WholeHistory
from nextbest.settings import Settings

Put = Callable[[Settings, Sequence[Any]], None]


def test_the_last_days_hold_the_last_events(
    tmp_path: Path, event: Callable[..., Any], now: datetime, put: Put
) -> None:
    settings = Settings(home=tmp_path)
    with closing(EventLog(settings.event_log_url)) as log:
        (anna,) = log.people(["anna"])
        assert active_days(settings, ["anna"], now) == set()
        assert recent_events(settings, log, anna, now, 3) == []
        kinds = ("page_viewed", "song_played", "product_viewed", "message_sent")
        put(settings, [event(kinds[n % 4], 2.0 * n + 1, contact_id="anna") for n in range(12)]
            + [event("page_viewed", 4, contact_id="bert")])  # fmt: skip
        build(settings, now, online=False)

        assert len(active_days(settings, ["anna"], now)) == 12
        found = recent_events(settings, log, anna, now, 3)
        assert [one["event"] for one in found] == ["product_viewed", "song_played", "page_viewed"]
        assert {one["contact_id"] for one in found} == {"anna"}
        earlier = recent_events(settings, log, anna, now - timedelta(days=4), 100)
        assert len(earlier) == 10
        all_of_them = recent_events(settings, log, anna, now, 100)
        assert all_of_them == sorted(
            WholeHistory(settings, log).events(anna), key=lambda one: one["timestamp"]
        )

        log.append([event("cart_viewed", 0.1, contact_id="anna") | {"received_at": now}])
        assert [one["event"] for one in recent_events(settings, log, anna, now, 1)][-1] == "cart_viewed"
