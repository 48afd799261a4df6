"""The replenishment job and the demand outlook, on a small shop taken through lake and feature tables."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.build import build
from features.events.lake import Lake
from models import artifact
from nextbest.cli import app
from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training.base import Context
from training.demand import ERRORS, demand_report
from training.jobs.replenishment import ReplenishmentJob

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 240
NOW = START + timedelta(days=DAYS)
ITEMS = {"soap": "home/soap", "sweets": "food/sweets", "late": "food/sweets", "bag": None}
run = CliRunner()


def shop(contacts=120, seed=3):
    """Soap every twelve days or so, sweets by chance, an item new in the last month, one of no category."""
    random = np.random.default_rng(seed)
    rows = []
    for contact in range(contacts):
        usual = random.uniform(9, 15)
        due = random.uniform(0, usual)
        for day in np.flatnonzero(random.random(DAYS) < 0.35):
            if day >= due:
                rows.append((contact, "soap", day))
                due = day + usual * random.uniform(0.8, 1.2)
            if random.random() < 0.25:
                rows.append((contact, "sweets", day))
            if day > DAYS - 20 and random.random() < 0.2:
                rows.append((contact, "late", day))
            if random.random() < 0.02:
                rows.append((contact, "bag", day))
    frame = pd.DataFrame(rows, columns=["contact", "item_id", "day"])
    frame["timestamp"] = (pd.Timestamp(START) + pd.to_timedelta(frame["day"] * 24 + 12, unit="h")).astype(
        "datetime64[us, UTC]"
    )
    frame["received_at"] = frame["timestamp"]
    frame["contact_id"] = frame["contact"].map("c{:03d}".format)
    frame["order_id"] = frame["contact_id"] + frame["day"].astype(str)
    frame["event_id"] = [f"e{n}" for n in range(len(frame))]
    frame = frame.assign(event="order_completed", quantity=1.0, price=2.0)
    return frame.reindex(columns=list(EVENT_COLUMNS)).astype({"price": float}).sort_values("timestamp")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    made = Settings(home=tmp_path_factory.mktemp("home"))
    lake = Lake(made.lake)
    lake.write([shop()])
    items = pd.DataFrame(
        {"item_id": list(ITEMS), "category": list(ITEMS.values()), "title": [name.title() for name in ITEMS]}
    )
    lake.write_items(items.reindex(columns=list(ITEM_COLUMNS)))
    build(made, NOW)
    return made


@pytest.fixture(scope="module")
def fitted(settings):
    context = Context(settings, NOW, 7)
    data = ReplenishmentJob().prepare(context)
    return context, data, ReplenishmentJob().fit(data, context)


def test_every_step_of_the_job(fitted, tmp_path):
    context, data, model = fitted
    job = ReplenishmentJob()
    ours = job.evaluate(model, data)
    assert ours.statistic(np.arange(ours.units)) == pytest.approx(ours.metrics["mae_days"])
    baselines = {name: job.evaluate(one, data) for name, one in job.baselines(data, context).items()}
    assert list(baselines) == ["own_gap", "category_gap"]
    for theirs in baselines.values():
        assert theirs.units == ours.units
        assert theirs.metrics["mae_days"] > ours.metrics["mae_days"]
    assert ours.metrics["mae_days"] < 4
    assert 0.7 < ours.metrics["coverage_80"] < 0.95
    assert ours.metrics["ece_14d"] < 0.12
    again = artifact.load(artifact.save(model, tmp_path / "model"))
    assert job.evaluate(again, data).metrics == pytest.approx(ours.metrics)
    for frame in job.example(model, data):
        assert {str(dtype) for dtype in frame.dtypes} <= {"float64", "object"}
    assert job.tables(model, data)["categories"]["category"].tolist() == ["home/soap"]
    assert all(hasattr(figure, "savefig") for figure in job.figures(model, data).values())


def test_nothing_of_the_hold_out_is_learned_from(fitted):
    _, data, _ = fitted
    assert data.days["time"].max() <= data.split.cut.timestamp()
    assert data.window == 60
    assert (data.until_bought > 0).all()
    assert set(data.pairs["category"]) == {"home/soap"}
    assert ReplenishmentJob().facts(data)["natural_categories"] == 1


# --- demand


def test_the_outlook_foresees_what_goes_on(settings):
    now = NOW - timedelta(days=30)
    report = demand_report(settings, now, 30)
    lines = shop()
    came = lines[(lines["timestamp"] > now) & (lines["timestamp"] <= NOW)]["item_id"].value_counts()
    expected = report.products.set_index("item_id")["expected"]
    assert "late" not in expected.index, "nothing later enters"
    for item in ("soap", "sweets"):
        assert expected[item] == pytest.approx(came[item], rel=0.1)
    assert report.facts["expected"] == pytest.approx(expected.sum())
    categories = report.categories.set_index("category")["expected"]
    np.testing.assert_allclose(categories.sum(), expected.sum())
    assert categories["(no category)"] == pytest.approx(expected["bag"])


def test_the_forecast_before_is_judged_by_what_came(settings):
    report = demand_report(settings, NOW, 30)
    before, lines = report.facts["before"], shop()
    then = NOW - timedelta(days=30)
    came = lines[(lines["timestamp"] > then) & (lines["timestamp"] <= NOW)]["item_id"].value_counts()
    assert before["actual"] == came.sum()
    made = demand_report(settings, then, 30).products.set_index("item_id")["expected"]
    gap = made.reindex(came.index).fillna(0.0) - came
    assert before["products"]["wape"] == pytest.approx(gap.abs().sum() / came.sum())
    assert before["products"]["bias"] == pytest.approx(gap.sum() / came.sum())
    sweets = report.categories.set_index("category").loc["food/sweets"]
    assert sweets["actual_before"] == came[["sweets", "late"]].sum()
    assert sweets["wape"] >= came["late"] / sweets["actual_before"] - 0.1, "nobody foresaw the new item"


def test_a_short_history_has_no_forecast_before_and_a_shorter_one_none(settings):
    soon = START + timedelta(days=70)
    report = demand_report(settings, soon, 30)
    assert report.facts["before"] is None
    assert report.categories[list(ERRORS)].isna().all().all()
    with pytest.raises(NotReady, match="needs orders of the last 60"):
        demand_report(settings, START + timedelta(days=50), 30)


def test_the_command_shows_prints_and_writes(settings, tmp_path):
    home = ["--home", str(settings.home), "--now", NOW.isoformat()]
    shown = run.invoke(app, ["report", "demand", *home])
    assert shown.exit_code == 0, shown.output
    assert "home/soap" in shown.output
    assert "the same forecast made on" in shown.output
    file = tmp_path / "demand.parquet"
    given = run.invoke(
        app, ["report", "demand", *home, "--by", "product", "--top", "1", "--json", "--out", str(file)]
    )
    told = json.loads(given.output)
    assert [row["item_id"] for row in told["rows"]] == [
        max(told["rows"], key=lambda row: row["expected"])["item_id"]
    ]
    assert told["facts"]["days"] == 30
    assert set(pd.read_parquet(file)["item_id"]) == set(ITEMS)
    wrong = run.invoke(app, ["report", "demand", *home, "--out", "demand.csv"])
    assert wrong.exit_code == 2
    short = run.invoke(app, ["report", "demand", *home, "--days", "200"])
    assert short.exit_code != 0
    assert "fewer --days" in " ".join(short.output.split())
