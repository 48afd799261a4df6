"""The days contacts buy on in a category, and the gaps between them, against the plainest way to count."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.cadence import CADENCE_COLUMNS, bought_days, cadences, moved_on
from nextbest.errors import NotReady
from nextbest.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
LATE = START + timedelta(days=1000)
HOUR = 3600.0


def stored(folder: Path, rows: list[tuple[str, str, float]]) -> Settings:
    """Write contact_category.parquet of (contact, category, hours after START), sorted by contact."""
    frame = pd.DataFrame(rows, columns=["contact_id", "category", "hours"]).drop_duplicates()
    stamps = pd.to_datetime(START) + pd.to_timedelta(frame["hours"], unit="h")
    frame["timestamp"] = stamps.astype("datetime64[us, UTC]")
    frame = frame.sort_values("contact_id", kind="stable").drop(columns="hours")
    made = Settings(home=folder)
    made.tables.mkdir(parents=True, exist_ok=True)
    frame.astype({"contact_id": "string[pyarrow]", "category": "string[pyarrow]"}).to_parquet(
        made.tables / "contact_category.parquet", index=False, row_group_size=7
    )
    return made


rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "cä"]), st.sampled_from(["x/y", "x/z"]), st.integers(0, 400).map(float)
    ),
    min_size=1,
    max_size=40,
)


def by_hand(found: list[tuple[str, str, float]]) -> dict[tuple[str, str], tuple[float, float, float]]:
    days: dict[tuple[str, str], dict[int, float]] = {}
    for contact, category, hours in found:
        held = days.setdefault((contact, category), {})
        held[int(hours // 24)] = max(held.get(int(hours // 24), 0.0), hours)
    told = {}
    for pair, held in days.items():
        order = sorted(held)
        gaps = np.diff(order)
        last = START.timestamp() + held[order[-1]] * HOUR
        told[pair] = (float(len(order)), last, float(np.log(gaps).sum()))
    return told


@given(rows)
@settings(max_examples=40, deadline=None)
def test_it_counts_as_one_would_by_hand(tmp_path_factory: Any, rows: list[tuple[str, str, float]]) -> None:
    home = stored(tmp_path_factory.mktemp("c"), rows)
    found = cadences(bought_days(home, LATE))
    assert list(found.columns) == list(CADENCE_COLUMNS)
    pairs = zip(found["contact_id"], found["category"], strict=True)
    told = dict(zip(pairs, found[["purchases", "last", "log_gaps"]].to_numpy(), strict=True))
    expected = by_hand(rows)
    assert set(told) == set(expected)
    for pair, values in expected.items():
        np.testing.assert_allclose(told[pair], values)


@given(rows, st.tuples(st.sampled_from(["x/y", "x/z"]), st.integers(401, 900)))
@settings(max_examples=40, deadline=None)
def test_news_moves_a_stored_pair_on_as_counting_anew_would(
    tmp_path_factory: Any, rows: list[tuple[str, str, float]], news: tuple[str, int]
) -> None:
    category, hours = news
    before = cadences(bought_days(stored(tmp_path_factory.mktemp("c"), rows), LATE))
    told = pd.DataFrame(
        {"contact_id": ["a"], "category": [category], "last": [START.timestamp() + hours * HOUR]}
    )
    moved = moved_on(before, told)
    again = [*rows, ("a", category, float(hours))] if ("a", category) in by_hand(rows) else rows
    anew = cadences(bought_days(stored(tmp_path_factory.mktemp("c"), again), LATE))
    numbers = ["purchases", "first", "last", "log_gaps", "gap_days"]
    np.testing.assert_allclose(moved[numbers].to_numpy(), anew[numbers].to_numpy())


def test_some_contacts_are_read_as_among_all(tmp_path: Path) -> None:
    home = stored(tmp_path, [(f"c{n % 9}", f"k{n % 4}", 30.0 * n) for n in range(200)])
    whole = cadences(bought_days(home, LATE))
    some = cadences(bought_days(home, LATE, ["c3", "c7", "nobody"]))
    held = whole[whole["contact_id"].isin(["c3", "c7"])].reset_index(drop=True)
    numbers = ["purchases", "last", "log_gaps", "gap_days"]
    np.testing.assert_allclose(some[numbers], held[numbers])
    for nobody in (["nobody"], []):
        assert len(cadences(bought_days(home, LATE, nobody))) == 0


def test_nothing_later_enters_and_a_day_is_one_purchase(tmp_path: Path) -> None:
    home = stored(tmp_path, [("a", "k", 1.0), ("a", "k", 2.0), ("a", "k", 49.0), ("a", "k", 200.0)])
    (pair,) = cadences(bought_days(home, START + timedelta(hours=100))).to_dict("records")
    assert pair["purchases"] == 2
    assert pair["gap_days"] == 2
    assert pair["log_gaps"] == pytest.approx(math.log(2))
    assert pair["last"] == START.timestamp() + 49 * HOUR


def test_before_a_build_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="nextbest features build"):
        bought_days(Settings(home=tmp_path), LATE)
