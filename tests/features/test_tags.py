"""Tags from behaviour, of made-up web events whose tags are known beforehand."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import _tags_habits as habits
from features._tags_sources import source_class
from features._tags_table import SCHEMA, write_tags
from features.events.segment import translate
from features.tags import NOTHING, Tags, profile_columns, tags_of
from nextbest.settings import Settings

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"

Make = Callable[..., dict[str, Tags]]


@pytest.fixture
def tagged(ready: Callable[..., Any], tmp_path: Path) -> Make:
    """Return the tags of events, by contact."""

    def make(
        events: Sequence[dict[str, Any]],
        zones: dict[str, str] | None = None,
        now: datetime = NOW,
        **links: Any,
    ) -> dict[str, Tags]:
        backend, known = ready(events, **links)
        settings = Settings(home=tmp_path / "home")
        settings.tables.mkdir(parents=True, exist_ok=True)
        backend.to_parquet(known, tmp_path / "known.parquet")
        rows = [{name: event[name] for name in ("event_id", "url", "properties")} for event in events]
        schema = pa.schema([(name, pa.string()) for name in ("event_id", "url", "properties")])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "day.parquet")
        contacts = pd.DataFrame({"contact_id": list(zones or {}), "timezone": list((zones or {}).values())})
        days = [tmp_path / "day.parquet"] if events else []
        write_tags(tmp_path, days, contacts, NOW, settings.tables / "contact_tags.parquet")
        ids = sorted({str(event["contact_id"]) for event in events} | {"nobody"})
        return tags_of(settings, ids)

    return make


@pytest.fixture
def page(event: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Make a page view as an SDK sends it, some days before NOW."""

    def make(days_ago: float, contact: str | None = "ann", **context: Any) -> dict[str, Any]:
        context = {"page": {"url": "https://shop.org/"}, **context}
        said = {"userId": "x", "messageId": "m", "context": context, "name": "Home"}
        (row,) = translate(said, "page", NOW).rows
        given = {name: row[name] for name in ("url", "properties")}
        return dict(event("page_viewed", days_ago, contact_id=contact, **given))

    return make


def test_the_first_visit_gives_the_source_and_the_last_one_the_last(tagged: Make, page: Any) -> None:
    google = {"page": {"url": "https://shop.org/", "referrer": "https://www.google.com/search?q=a"}}
    inside = {"page": {"url": "https://shop.org/b", "referrer": "https://www.shop.org/"}}
    ann = tagged([
        page(9, **google), page(8.999, **inside), page(5),
        page(1, campaign={"name": "spring", "source": "news", "medium": "email"}), page(0.999, **inside),
    ])["ann"]  # fmt: skip
    assert (ann.source, ann.last_source, ann.visits) == ("search", "email", 3)
    assert ann.source_at is not None
    assert (NOW - ann.source_at).days == 9


def test_an_anonymous_first_visit_counts_and_the_future_does_not(tagged: Make, page: Any) -> None:
    first = page(3, contact=None, page={"url": "https://shop.org/?utm_source=fb&gclid=1"})
    later = page(-1, page={"url": "https://shop.org/?utm_medium=social"})
    found = tagged([{**first, "anonymous_id": "v"}, page(2), later], linked=[("v", "ann")])
    assert (found["ann"].source, found["ann"].last_source) == ("ads", "direct")


def test_a_message_clicked_is_a_source(tagged: Make, event: Any) -> None:
    ann = tagged([event("message_clicked", 2, contact_id="ann", channel="sms")])["ann"]
    assert ann.source == ann.last_source == "sms"


def test_language_and_device_are_what_most_events_say(tagged: Make, page: Any) -> None:
    ann = tagged([
        page(3, locale="de-AT", userAgent=IPHONE), page(2, locale="de_DE", userAgent=IPHONE),
        page(1, locale="en-US", userAgent=WINDOWS), page(1.1, userAgent=IPHONE), page(0.5),
    ])["ann"]  # fmt: skip
    assert (ann.language, ann.language_evidence) == ("de", 3)
    assert ann.language_share == pytest.approx(2 / 3)
    assert (ann.device, ann.device_share, ann.device_evidence) == ("phone", 0.75, 4)


def test_interests_fade_and_weigh_purchases_most(tagged: Make, event: Any) -> None:
    def did(kind: str, days: float, contact: str, item: str) -> Any:
        order = {"order_id": f"{contact}{days}"} if kind == "order_completed" else {}
        return event(kind, days, contact_id=contact, item_id=item, **order)

    found = tagged([
        did("product_viewed", 1, "ann", "milk"), did("order_completed", 1, "bob", "milk"),
        did("product_added", 1, "cid", "milk"), did("product_viewed", 1, "cid", "soap"),
        did("product_viewed", 400, "ann", "bread"),
    ])  # fmt: skip
    strength = {contact: tags.interests.get("food/dairy") for contact, tags in found.items()}
    assert strength["ann"] < strength["cid"] == 0.5 < strength["bob"] < 1  # type: ignore[operator]
    assert found["cid"].interest_evidence == {"food/dairy": 1, "home/bath": 1}
    assert "food/bakery" not in found["ann"].interests  # too long ago
    assert found["bob"].top_interest == "food/dairy"


def test_habitual_hours_are_local(tagged: Make, event: Any) -> None:
    def looked(days: float, contact: str) -> Any:
        return event("product_viewed", days, contact_id=contact, item_id="milk")

    evenings = [looked(7 * week + 16.75 / 24, "ann") for week in range(9)]
    noons = [looked(day, f"c{day % 7}") for day in range(63)]
    found = tagged([*evenings, *noons], zones={"ann": "Europe/Vienna"})
    ann = found["ann"]  # 19:15 UTC on Sundays
    assert ann.timezone == "Europe/Vienna"
    assert any(int(low) <= 20 < int(high) for low, high in (window.split("-") for window in ann.hours))
    assert (ann.hours_share, ann.hours_evidence) == (1.0, 9)
    assert (list(ann.weekdays), ann.weekdays_evidence) == (["Sunday"], 9)
    assert list(found["c1"].hours) == []  # noon is when everybody is there


def test_nothing_told_is_nothing_said(tagged: Make, event: Any) -> None:
    assert tagged([]) == {}
    found = tagged([event("message_sent", 2, contact_id="ann", channel="email")], zones={"ann": "No/Where"})
    assert "nobody" not in found
    assert found.get("ann", NOTHING) == NOTHING


def test_the_profile_has_a_row_for_everybody_asked(tagged: Make, page: Any, tmp_path: Path) -> None:
    tagged([page(3, locale="fr")])
    settings = Settings(home=tmp_path / "home")
    frame = profile_columns(settings, ["zoe", "ann"])
    assert frame.index.tolist() == ["zoe", "ann"]
    assert frame.loc["ann"].tolist() == ["direct", "fr", None, None]
    assert frame.loc["zoe"].isna().all()
    assert tags_of(Settings(home=tmp_path / "none"), ["ann"]) == {}


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ((None, None, False, None, None), "direct"),
        ((None, None, False, "google.co.uk", None), "search"),
        ((None, None, False, "mail.google.com", None), "email"),
        ((None, None, False, "l.facebook.com", None), "social"),
        ((None, None, False, "t.co", None), "social"),
        ((None, None, False, "about.co", None), "referral"),
        (("google", "cpc", False, "google.com", None), "ads"),
        (("google", "organic", False, None, None), "search"),
        (("google", None, True, None, None), "ads"),
        (("newsletter", None, False, None, None), "email"),
        (("facebook", "story", False, None, None), "social"),
        (("partner", "story", False, None, None), "referral"),
        (("x", "Email", False, "google.com", "sms"), "sms"),
    ],
)
def test_sources_have_classes(told: tuple[Any, ...], kind: str) -> None:
    assert source_class(*told) == kind


@given(st.lists(st.integers(0, 23), max_size=60), st.integers(0, 23))
def test_windows_turn_with_the_clock(moments: list[int], turn: int) -> None:
    def counted(by: int) -> Any:
        counts = np.zeros((1, 24))
        np.add.at(counts, (0, [(hour + by) % 24 for hour in moments]), 1.0)
        return habits.hours(counts)

    here, there = counted(0), counted(turn)
    assert here.evidence[0] == there.evidence[0] == len(moments)
    assert bool(here.names[0]) == bool(there.names[0])
    assert len(here.names[0]) <= 2


def test_few_or_even_hours_are_no_habit() -> None:
    counts = np.zeros((3, 24))
    counts[0, 20] = 4  # too few
    counts[1] = 2  # even
    counts[2, [23, 0, 1]] = 7  # over midnight
    found = habits.hours(counts)
    assert found.names == [[], [], ["23-2"]]
    assert np.isnan(found.share[:2]).all()


def test_chance_seldom_makes_a_habit() -> None:
    counts = np.random.default_rng(7).multinomial(25, np.full(24, 1 / 24), size=2_000).astype(float)
    assert np.mean([bool(names) for names in habits.hours(counts).names]) <= habits.LEVEL


def test_the_schema_is_what_tags_hold() -> None:
    held = {"contact_id", "interest_names", "interest_strengths"}
    assert {name for name in SCHEMA.names if name not in held} == set(NOTHING.plain()) - {"interests"}
