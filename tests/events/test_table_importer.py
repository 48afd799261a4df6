"""Any table by a mapping: what is read, what is refused, what is told."""

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.events.importers import _delimited
from features.events.ingest import IngestSummary, ingest
from features.events.lake import Lake
from nextbest.errors import BadInput
from nextbest.settings import Settings

NOW = datetime(2012, 1, 15, tzinfo=UTC)
RETAIL = {
    "contact_id": "CustomerID",
    "order_id": "InvoiceNo",
    "item_id": "StockCode",
    "timestamp": "InvoiceDate",
    "quantity": "Quantity",
    "price": "UnitPrice",
    "title": "Description",
}
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
LINES = """536365,85123A,HOLDER,6,12/1/2010 8:26,2.55,17850.0,UK
536365,71053,LANTERN,6,12/1/2010 8:27,3.39,17850.0,UK
C536379,D,Discount,-1,12/1/2010 9:41,27.50,14527.0,UK
536414,22139,,56,12/13/2010 11:52,0,,UK"""


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def take(home: Settings, path: Path, mapping: dict[str, str] | None = None, **options: Any) -> IngestSummary:
    return ingest(home, str(path), now=NOW, mapping=mapping or RETAIL, **options)


def write(home: Settings, text: str, name: str = "orders.csv", encoding: str = "utf-8") -> Path:
    path = home.home.parent / name
    path.write_bytes(text.encode(encoding))
    return path


def stored(home: Settings) -> pd.DataFrame:
    frame: pd.DataFrame = Lake(home.lake).events().order_by("timestamp", "item_id", "event_id").to_pandas()
    return frame


def test_online_retail_as_it_is(home: Settings) -> None:
    path = write(home, f"{HEADER}\n{LINES}\n")
    summary = take(home, path)
    assert (summary.rows, summary.stored, summary.rejected, summary.items, summary.contacts) == (
        4,
        4,
        0,
        4,
        2,
    )
    assert "dates are month first" in " ".join(summary.notes)
    frame = stored(home)
    assert frame["contact_id"].fillna("").tolist() == ["17850", "17850", "14527", ""]
    assert frame["event"].tolist() == [
        "order_completed",
        "order_completed",
        "order_refunded",
        "order_completed",
    ]
    assert frame["quantity"].tolist() == [6, 6, 1, 56]
    assert frame["anonymous_id"].iloc[3] == "order:536414"
    # an order has one time, the earliest
    assert frame["timestamp"].iloc[0] == frame["timestamp"].iloc[1] == pd.Timestamp("2010-12-01T08:26Z")
    # the country was not mapped
    assert frame["properties"].isna().all()


def test_the_same_file_again_and_a_longer_one_store_each_row_once(home: Settings) -> None:
    take(home, write(home, f"{HEADER}\n{LINES}\n{LINES}\n"))
    assert len(stored(home)) == 4
    again = take(home, write(home, f"{HEADER}\n{LINES}\n536415,22139,CUP,1,12/14/2010 1:00,2,1.0,UK\n"))
    assert (again.stored, again.duplicates) == (1, 4)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_encoding_and_separator(home: Settings, encoding: str, delimiter: str) -> None:
    lines = [
        delimiter.join(("who", "what", "when", "name")),
        delimiter.join(("a", "x", "2011-05-01", "Café £")),
    ]
    path = write(home, "\r\n".join(lines), encoding=encoding)
    take(home, path, {"contact_id": "who", "item_id": "what", "timestamp": "when", "title": "name"})
    assert Lake(home.lake).items()["title"].tolist() == ["Café £"]


def test_gzip(home: Settings) -> None:
    path = home.home.parent / "orders.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{LINES}".encode()))
    assert take(home, path).stored == 4


def test_parquet_with_typed_columns(home: Settings) -> None:
    path = home.home.parent / "orders.parquet"
    frame = pd.DataFrame(
        {
            "user": [1.0, None, 3.0],
            "order": [10, 11, 12],
            "sku": ["a", "b", "c"],
            "at": pd.to_datetime(["2011-05-01", "2011-05-02", "2011-05-03"]),
            "paid": [5.0, 6.0, -7.0],
        }
    )
    frame.to_parquet(path)
    mapping = {
        "contact_id": "user",
        "order_id": "order",
        "item_id": "sku",
        "timestamp": "at",
        "amount": "paid",
    }
    assert take(home, path, mapping).stored == 3
    held = stored(home)
    assert held["contact_id"].fillna("").tolist() == ["1", "", "3"]
    assert held["anonymous_id"].iloc[1] == "order:11"
    assert held["event"].tolist() == ["order_completed", "order_completed", "order_refunded"]
    assert (held["price"] * held["quantity"]).tolist() == [5, 6, 7]


def test_amounts_are_of_the_line(home: Settings) -> None:
    path = write(home, "c,i,t,q,a\n1,x,2011-05-01,4,10\n1,y,2011-05-01,0,3\n1,z,2011-05-01,,2\n")
    take(home, path, {"contact_id": "c", "item_id": "i", "timestamp": "t", "quantity": "q", "amount": "a"})
    held = stored(home)
    assert held["price"].tolist() == [2.5, 3, 2]
    assert held["quantity"].tolist() == [4, 1, 1]


def test_without_orders_a_day_is_an_order(home: Settings) -> None:
    path = write(home, "c,i,t\n7,x,2011-05-01 10:00\n7,y,2011-05-01 20:00\n7,x,2011-05-02 10:00\n")
    take(home, path, {"contact_id": "c", "item_id": "i", "timestamp": "t"})
    held = stored(home)
    assert held["order_id"].tolist() == ["7@2011-05-01", "7@2011-05-01", "7@2011-05-02"]
    assert held["timestamp"].dt.hour.tolist() == [10, 10, 10]


def test_a_refund_column(home: Settings) -> None:
    path = write(home, "c,o,i,t,r\n7,1,x,2011-05-01,no\n7,2,x,2011-05-02,Yes\n")
    take(home, path, {"contact_id": "c", "order_id": "o", "item_id": "i", "timestamp": "t", "refund": "r"})
    assert stored(home)["event"].tolist() == ["order_completed", "order_refunded"]


def test_event_names_become_snake_case_and_unknown_ones_are_counted(home: Settings) -> None:
    path = write(
        home, "c,e,t\n1,Product Viewed,2011-05-01\n1,productAdded,2011-05-02\n1,Kiosk-Used,2011-05-03\n"
    )
    summary = take(home, path, {"contact_id": "c", "event": "e", "timestamp": "t"})
    assert stored(home)["event"].tolist() == ["product_viewed", "product_added", "kiosk_used"]
    assert summary.unknown_events == {"kiosk_used": 1}


def test_items_take_the_most_frequent_title_and_the_latest_price(home: Settings) -> None:
    lines = ["1,x,2011-05-01,2,Cup", "1,x,2011-05-03,4,Cup", "2,x,2011-05-02,3,CUP?"]
    path = write(home, "\n".join(["c,i,t,p,n", *lines]))
    take(home, path, {"contact_id": "c", "item_id": "i", "timestamp": "t", "price": "p", "title": "n"})
    (item,) = Lake(home.lake).items().to_dict("records")
    assert (item["title"], item["price"]) == ("Cup", 4)


def test_bad_rows_are_kept_with_the_reason_and_all_their_cells(home: Settings) -> None:
    bad = [
        "1,2,3",
        '536415,22139,"CUP,1,12/14/2010 1:00,2,1.0,UK',  # a quote that never ends
        "536416,22139,CUP,many,12/14/2010 1:00,2,1.0,UK",
        "536417,22139,CUP,1,sometime,2,1.0,UK",
        "536418,22139,CUP,1,12/14/2010 1:00,-2,1.0,UK",
        ",22139,CUP,1,12/14/2010 1:00,2,,UK",
    ]
    path = write(home, "\n".join([HEADER, *bad, LINES]))
    summary = take(home, path)
    assert (summary.stored, summary.rejected) == (5, 5)  # without the quote that row is fine
    assert summary.reject_file is not None
    kept = pd.read_csv(summary.reject_file, dtype=str, keep_default_na=False)
    assert list(kept.columns) == [*HEADER.split(","), "reason"]
    assert set(kept["reason"]) == {
        "3 cells under 8 columns",
        "quantity 'many' is not a number",
        "timestamp 'sometime' is not a time",
        "price is negative, not finite or above 1,000,000,000",
        "neither contact_id nor anonymous_id; an order line without order_id",
    }
    assert summary.reasons["quantity is not a number"] == 1
    assert take(home, path).reject_file == summary.reject_file
    assert len(list(home.rejects.iterdir())) == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            RETAIL | {"contact_id": "customer_id"},
            "no column 'customer_id' .did you mean 'CustomerID'.*it has: Inv",
        ),
        (RETAIL | {"contactid": "CustomerID"}, "knows no 'contactid' .did you mean 'contact_id'"),
        (RETAIL | {"timestamp": "Country"}, "'Country', mapped to timestamp, holds no times: 'UK'"),
        (RETAIL | {"price": "Description"}, "'Description', mapped to price, holds no numbers"),
        (RETAIL | {"amount": "UnitPrice"}, "not both"),
        ({"contact_id": "CustomerID", "item_id": "StockCode"}, "needs timestamp=COLUMN"),
        ({"contact_id": "CustomerID", "timestamp": "InvoiceDate"}, "needs item_id"),
        ({"item_id": "StockCode", "timestamp": "InvoiceDate"}, "needs contact_id"),
    ],
)
def test_a_wrong_mapping_stores_nothing(home: Settings, mapping: dict[str, str], message: str) -> None:
    path = write(home, f"{HEADER}\n{LINES}\n")
    with pytest.raises(BadInput, match=message):
        take(home, path, mapping)
    assert Lake(home.lake).files() == []
    assert not home.rejects.exists()


def test_hardly_a_good_row_stores_nothing(home: Settings) -> None:
    lines = [f"{n},x,2011-05-01,-2" for n in range(300)]
    path = write(home, "\n".join(["c,i,t,p", *lines, "1,x,2011-05-01,2"]))
    with pytest.raises(BadInput, match=re.escape("300 of 301 rows of orders.csv cannot be used")):
        take(home, path, {"contact_id": "c", "item_id": "i", "timestamp": "t", "price": "p"})
    assert Lake(home.lake).files() == []
    assert Lake(home.lake).items().empty
    assert list(home.rejects.iterdir()) == []


def test_a_file_without_mapping_says_what_it_has(home: Settings) -> None:
    with pytest.raises(BadInput, match="InvoiceNo, StockCode"):
        ingest(home, str(write(home, f"{HEADER}\n{LINES}")), now=NOW)
    with pytest.raises(BadInput, match=r"no file .*nowhere\.csv"):
        take(home, home.home / "nowhere.csv")
    with pytest.raises(BadInput, match=r"known: .*complete-journey"):
        ingest(home, "completejourney", now=NOW)
    with pytest.raises(BadInput, match="is empty"):
        take(home, write(home, ""))


def test_a_canonical_csv_needs_no_mapping(home: Settings) -> None:
    path = write(home, "event_id,event,timestamp,contact_id\ne1,page_viewed,2011-05-01,a\n")
    ingest(home, str(path), now=NOW)
    assert stored(home)["event_id"].tolist() == ["e1"]


def test_another_mapping_of_a_known_file_is_told(home: Settings) -> None:
    path = write(home, f"{HEADER}\n{LINES}\n")
    take(home, path)
    again = take(home, path, {key: column for key, column in RETAIL.items() if key != "price"})
    assert again.stored == 0
    assert "taken in before with another --map: the rows stored then stay as they are" in again.notes


def test_a_file_read_in_small_blocks_gives_the_same_lake(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"o{n // 3},i{n % 7},t,1,2011-05-{1 + n % 28:02} 10:00,2,c{n // 9},UK" for n in range(100)]
    path = write(home, "\n".join([HEADER, *lines]))
    take(home, path)
    other = Settings(home=home.home.parent / "other")
    monkeypatch.setattr(_delimited, "_ROWS", 7)
    take(other, path)
    pd.testing.assert_frame_equal(stored(home), stored(other))
    assert [f.read_bytes() for f in Lake(home.lake).files()] == [
        f.read_bytes() for f in Lake(other.lake).files()
    ]


def test_old_tables_move_too(home: Settings) -> None:
    path = write(home, f"{HEADER}\n{LINES}\n")
    summary = take(home, path, shift_to_today=True)
    assert summary.shift_weeks == 56
    assert summary.last == datetime(2012, 1, 9, 11, 52, tzinfo=UTC)
