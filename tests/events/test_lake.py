"""The lake: nothing twice, nothing lost, readable at every moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.events.lake import Lake
from features.events.schema import validate_events

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def rows(count: int, contact: str = "c") -> pd.DataFrame:
    """One order line every nine hours."""
    raw = pd.DataFrame(
        {
            "event_id": [f"{contact}-{n}" for n in range(count)],
            "event": "order_completed",
            "timestamp": [NOW - timedelta(hours=9 * n) for n in range(count)],
            "contact_id": contact,
            "order_id": [f"o{n // 2}" for n in range(count)],
            "item_id": [f"i{n % 3}" for n in range(count)],
            "quantity": 1,
            "price": 2.5,
        }
    )
    good, rejects = validate_events(raw, NOW)
    assert rejects.empty
    return good


def stored(lake: Lake) -> pd.DataFrame:
    frame: pd.DataFrame = lake.events().order_by(["timestamp", "event_id"]).to_pandas()
    return frame


def test_a_new_lake_is_empty(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert lake.span() is None
    assert lake.events(until=NOW).count().execute() == 0
    assert lake.items().empty
    assert "consent_email" in lake.contacts().columns
    assert list(lake.identities().columns) == ["anonymous_id", "contact_id", "timestamp", "alias"]


def test_one_file_a_day_and_nothing_twice(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first = lake.write([rows(10)])
    assert (first.stored, first.duplicates, first.days) == (10, 0, 5)
    again = lake.write([rows(6), rows(12)])
    assert (again.stored, again.duplicates) == (2, 16)
    assert [f.stem for f in lake.files()][-1] == "2024-06-01"
    assert stored(lake)["event_id"].is_unique
    assert lake.span() == (NOW - timedelta(hours=99), NOW)


def test_the_same_id_on_another_day_is_the_same_event(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write([rows(1)])
    resent = rows(1).assign(timestamp=pd.Timestamp(NOW - timedelta(days=3)).as_unit("us"))
    assert lake.write([resent]).duplicates == 1


def test_events_between_two_moments_both_included(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write([rows(10)])
    table = lake.events(since=NOW - timedelta(hours=27), until=NOW - timedelta(hours=9))
    assert sorted(table.event_id.execute()) == ["c-1", "c-2", "c-3"]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_split_order_and_repetition_gives_the_same_lake(data: st.DataObject, tmp_path: Path) -> None:
    frame = rows(9)
    order = data.draw(st.permutations([*range(9), *data.draw(st.lists(st.integers(0, 8), max_size=4))]))
    cut = data.draw(st.integers(0, len(order)))
    once, pieces = Lake(tmp_path / "once"), Lake(tmp_path / f"pieces-{data.draw(st.uuids())}")
    once.write([frame])
    pieces.write([frame.iloc[order[:cut]]])
    pieces.write([frame.iloc[order[cut:]]])
    pd.testing.assert_frame_equal(stored(once), stored(pieces))
    assert [f.read_bytes() for f in once.files()] == [f.read_bytes() for f in pieces.files()]


def test_killed_half_way_the_lake_is_readable_and_a_rerun_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path)
    lake.write([rows(4)])
    replace, calls = Path.replace, []

    def dies(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            lake.write([rows(20)])
    half = stored(lake)
    assert 4 < len(half) < 20
    assert half["event_id"].is_unique
    lake.write([rows(20)])
    assert len(stored(lake)) == 20


def test_an_error_in_the_source_changes_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)

    def broken() -> Iterator[pd.DataFrame]:
        yield rows(3)
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="broke"):
        lake.write(broken())
    assert lake.files() == []


def test_upsert_keeps_what_is_known_and_merges_traits(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    empty = dict.fromkeys(lake.contacts().columns)
    lake.write_contacts(
        pd.DataFrame([{**empty, "contact_id": "a", "traits": '{"x":1,"y":1}', "consent_sms": True}])
    )
    lake.write_contacts(
        pd.DataFrame(
            [
                {**empty, "contact_id": "a", "traits": '{"y":2}', "consent_email": False},
                {**empty, "contact_id": "b"},
            ]
        )
    )
    a, b = lake.contacts().to_dict("records")
    assert (a["traits"], a["consent_sms"], a["consent_email"]) == ('{"x": 1, "y": 2}', True, False)
    assert (b["contact_id"], b["consent_email"]) == ("b", None)


def test_erase_takes_linked_visits_too_and_leaves_others_alone(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    visits = rows(4, "v").assign(contact_id=None, anonymous_id="anon", event="page_viewed")
    strangers = rows(4, "w").assign(contact_id=None, anonymous_id="other", event="page_viewed")
    lake.write([rows(4, "a"), rows(4, "b"), visits, strangers])
    lake.write_identities(pd.DataFrame([{"anonymous_id": "anon", "contact_id": "a", "timestamp": NOW}]))
    lake.write_contacts(pd.DataFrame([dict.fromkeys(lake.contacts().columns) | {"contact_id": "a"}]))
    assert lake.erase(["a"]) == 8
    assert set(stored(lake)["event_id"].str[0]) == {"b", "w"}
    assert lake.contacts().empty
    assert lake.identities().empty


def test_notes_on_sources_are_added_to(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.note("shop", shift_weeks=3)
    lake.note("shop", rows=10)
    assert lake.manifest() == {"shop": {"shift_weeks": 3, "rows": 10}}
