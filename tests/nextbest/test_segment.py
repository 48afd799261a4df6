"""`nextbest segment`: counts first, a list only with --out, saved segments."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nextbest.cli import app
from nextbest.settings import Settings
from serving import segments

BANDS = ("low", "medium", "high", None)
SEGMENTS = ("champions", "loyal", "lost")
PEOPLE = pd.DataFrame(
    {
        "contact_id": [f"c{n:02d}" for n in range(24)],
        "churn.band": pd.Series([BANDS[n % 4] for n in range(24)], dtype=object),
        "churn.probability": [n / 24 for n in range(24)],
        "rfm.segment": [SEGMENTS[n % 3] for n in range(24)],
        "lifecycle.stage": ["active"] * 12 + ["leaving"] * 12,
        "value.next_90d": [np.nan if n == 23 else 10.0 * n for n in range(24)],
    }
)
LEAVING = 'churn.band == "high" and value.next_90d > 50'  # c06, c10, c14, c18, c22


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Put people in the place of the profiles; tell which columns were asked for."""
    asked: list[set[str]] = []

    def profiles(
        settings: Settings, now: datetime, ids: Sequence[str] | None, columns: Collection[str], progress: Any
    ) -> Iterator[pd.DataFrame]:
        asked.append(set(columns) - {"contact_id"})
        people = PEOPLE if ids is None else PEOPLE[PEOPLE["contact_id"].isin(ids)]
        for start in range(0, len(people), 10):
            yield people[start : start + 10][["contact_id", *sorted(asked[-1])]]

    monkeypatch.setattr(segments, "profiles", profiles)
    return asked


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["segment", *arguments, "--now", "2026-06-01"])


def line(result: Any) -> str:
    """Return what was printed without the breaks of a narrow screen."""
    return " ".join(result.output.split())


def said(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_counts_before_anything(asked: list[set[str]]) -> None:
    result = run(LEAVING)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("5 of 24 contacts (20.8%)")
    assert asked == [{"churn.band", "value.next_90d", "rfm.segment", "lifecycle.stage"}]
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    assert ['churn.band == "high"', "6", "25.0%"] in lines
    assert ["value.next_90d > 50", "17", "70.8%"] in lines
    assert ["leaving", "3", "60.0%", "25.0% of 12"] in lines
    assert ["champions", "2", "40.0%", "25.0% of 8"] in lines


def test_json_says_the_same() -> None:
    report = said(LEAVING)
    assert (report["count"], report["total"], report["share"]) == (5, 24, 5 / 24)
    assert report["conditions"] == [
        {"expression": 'churn.band == "high"', "count": 6},
        {"expression": "value.next_90d > 50", "count": 17},
    ]
    assert report["breakdown"]["lifecycle.stage"] == {
        "leaving": {"count": 3, "total": 12}, "active": {"count": 2, "total": 12},
    }  # fmt: skip
    assert (report["file"], report["rows"]) == (None, 0)


def test_count_says_a_number_and_asks_for_no_more_than_it_reads(asked: list[set[str]]) -> None:
    assert run(LEAVING, "--count").stdout == "5\n"
    assert asked == [{"churn.band", "value.next_90d"}]


def test_nobody_found_is_an_answer(tmp_path: Path) -> None:
    result = run("value.next_90d > 1000", "--out", str(tmp_path / "x.csv"))
    assert result.exit_code == 0, result.output
    assert "0 of 24 contacts (0.0%)" in result.stdout
    assert (tmp_path / "x.csv").read_text() == "contact_id,value.next_90d\n"


def test_a_csv_has_what_the_expression_reads(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "x.csv"
    result = run(LEAVING, "--out", str(file))
    assert "written: 5 contacts" in result.stdout
    assert file.read_text().splitlines() == [
        "contact_id,churn.band,value.next_90d",
        *(f"c{n:02d},high,{n * 10.0}" for n in (6, 10, 14, 18, 22)),
    ]
    assert [f.name for f in file.parent.iterdir()] == ["x.csv"]


def test_a_parquet_file_has_the_columns_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    report = said("churn.probability > 0.5", "--out", str(file), "--columns", "value.next_90d, churn.band")
    frame = pd.read_parquet(file)
    assert (report["rows"], len(frame)) == (11, 11)
    assert frame.dtypes.astype(str).to_dict() == {
        "contact_id": "object", "value.next_90d": "float64", "churn.band": "object",
    }  # fmt: skip
    last = frame.iloc[-1]
    assert (last["contact_id"], last["churn.band"]) == ("c23", None)
    assert np.isnan(last["value.next_90d"])


def test_a_limit_cuts_the_list_and_not_the_count(tmp_path: Path) -> None:
    report = said("churn.probability >= 0", "--out", str(tmp_path / "x.csv"), "--limit", "13")
    assert (report["count"], report["rows"]) == (24, 13)
    assert len(pd.read_csv(tmp_path / "x.csv")) == 13


def test_only_a_files_contacts_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("contact_id\nc06\nc07\nc99\n")
    report = said(LEAVING, "--contacts", str(tmp_path / "some.csv"))
    assert (report["count"], report["total"], report["unknown"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["churn.band > 3"], "compares a name with a number; churn.band is one of low, medium, high"),
        (['churn.band == "[/x]"'], 'churn.band is never "[/x]"'),
        (['score.stage == "sales_redy"'], "did you mean sales_ready?"),
        ([], "give an expression"),
        ([LEAVING, "--name", "winback"], "give an expression"),
        (["--name", "winback"], "no segments are saved; NEXTBEST_SEGMENTS names a YAML file"),
        ([LEAVING, "--limit", "3"], "--columns and --limit are for --out FILE"),
        ([LEAVING, "--out", "x.xlsx"], "ends in .csv or .parquet"),
        ([LEAVING, "--out", "x.csv", "--columns", "churn.prob"], "did you mean churn.probability"),
        ([LEAVING, "--contacts", "nowhere.csv"], "no file nowhere.csv"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, message in line(result)) == (2, True), result.output
    assert not list(tmp_path.iterdir())


def test_without_anybody_it_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "profiles", lambda *asked: iter(()))
    result = run(LEAVING, "--out", str(tmp_path / "x.csv"))
    assert (result.exit_code, "nextbest features build" in line(result)) == (2, True)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "segments.yaml"
    monkeypatch.setenv("NEXTBEST_SEGMENTS", str(file))
    file.write_text(f"winback: {LEAVING}\nall: churn.probability >= 0\n")
    return file


def test_a_saved_segment_is_asked_by_its_name(saved: Path) -> None:
    assert said("--name", "winback")["count"] == 5
    assert said("--list") == {"winback": LEAVING, "all": "churn.probability >= 0"}
    assert "winback" in run("--list").stdout
    assert "it has: winback, all" in line(run("--name", "winbak"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: churn.band > 3\nb: churn.prob > 1", "a: churn.band > 3 compares a name with a number"),
        ("a: churn.band > 3\nb: churn.prob > 1", "b: no column 'churn.prob'"),
        ("a: value.past > 1\na: value.past > 2", "the name a stands there twice"),
        ("- value.past > 1", "is to hold names and expressions"),
        ("a: 5", "is to hold names and expressions"),
        ("a: {", "cannot be read"),
        ("? [1]\n: x", "cannot be read"),
    ],
)
def test_saved_segments_are_checked_when_they_are_read(saved: Path, content: str, message: str) -> None:
    saved.write_text(content)
    result = run("--list")
    assert (result.exit_code, message in line(result)) == (2, True), result.output


def test_an_empty_file_saves_none(saved: Path) -> None:
    saved.write_text("# nothing yet\n")
    assert said("--list") == {}
    assert "it has: none" in line(run("--name", "x"))
