"""A business nobody here has seen, through the whole command line: another language, refunds, gaps, junk."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from benchmarks.odd_shop import MAPPING, write
from nextbest.cli import app

NOW = "2025-01-02"
run = CliRunner()


def nextbest(*arguments: str) -> Any:
    result = run.invoke(app, [*arguments, "--now", NOW, "--json"])
    assert result.exit_code == 0, f"{arguments}: {result.output}"
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("own")
    write(folder / "shop.csv", lines=9_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTBEST_HOME", str(folder / "home"))
        yield folder


@pytest.mark.slow
def test_from_a_strange_file_to_answers_in_bulk(home: Path) -> None:
    taken = nextbest("ingest", str(home / "shop.csv"), "--map", MAPPING)
    assert taken["stored"] + taken["duplicates"] + taken["rejected"] == taken["rows"]
    assert taken["duplicates"] > 0
    assert list(taken["reasons"].values()) == [taken["rejected"]]
    rejects = Path(taken["reject_file"]).read_text(encoding="utf-8")
    assert "'gestern' is not a time" in rejects

    again = nextbest("ingest", str(home / "shop.csv"), "--map", MAPPING)
    assert again["stored"] == 0

    built = nextbest("features", "build")
    assert built["contacts"] > 100

    reports = {report["job"]: report for report in nextbest("train", "all")}
    assert reports["rfm"]["status"] == "champion"
    assert reports["channel"]["status"] == "skipped"
    assert "no message" in reports["channel"]["why"]
    assert not [report for report in reports.values() if report["status"] == "failed"]

    models = {row["model"] for row in nextbest("models", "list")}
    assert "nextbest-rfm" in models

    contacts = home / "some.csv"
    contacts.write_text("contact_id\n10001\n10002\nnobody\n")
    for what, columns in {
        "recommendations": ["contact_id", "rank", "item_id", "score", "probability", "reason", "source"],
        "channels": [
            "contact_id",
            "channel",
            "probability",
            "expected_value",
            "send_at",
            "source",
            "propensity",
            "held_out",
        ],
        "predictions": [
            *("contact_id", "task", "value", "low", "high", "percentile", "band", "source"),
            *("horizon_days", "model_version", "fallback", "past", "total", "next_90d", "next_365d"),
            *("orders_90d", "orders_365d", "days", "low_days", "high_days"),
        ],
    }.items():
        out = home / f"{what}.parquet"
        nextbest("score", what, "--out", str(out), "--contacts", str(contacts))
        table = pq.read_table(out)
        assert table.column_names == columns
        assert set(table["contact_id"].to_pylist()) == {"10001", "10002", "nobody"}

    mail = home / "mail.parquet"
    asked = ("--ask", "placement=email", "--ask", "max_per_category=2", "--ask", "explore=true")
    first = nextbest("score", "recommendations", "--out", str(mail), "--contacts", str(contacts), *asked)
    before = pq.read_table(mail).to_pylist()
    assert first["rows"] == len(before)
    nextbest("score", "recommendations", "--out", str(mail), "--contacts", str(contacts), *asked)
    shown = [(row["contact_id"], row["item_id"]) for row in before + pq.read_table(mail).to_pylist()]
    assert len(set(shown)) == len(shown), "the second mailing repeats nothing of the first"

    everything = home / "events.parquet"
    assert nextbest("events", "--out", str(everything))["events"] == taken["stored"]

    states = {finding["part"]: finding["state"] for finding in nextbest("doctor")}
    assert states["features"] == states["online store"] == "ok"

    nextbest("erase", "10001")
    nextbest("events", "--out", str(everything))
    assert "10001" not in pq.read_table(everything, columns=["contact_id"])["contact_id"].to_pylist()
