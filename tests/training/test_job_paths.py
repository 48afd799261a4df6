"""The paths job and its report, on a simulated shop whose paths are known."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from features.events._types import SCHEMAS
from features.events.lake import Lake
from models import artifact
from models.paths import Paths
from nextbest.cli import app
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training._walked import walked
from training.base import Context
from training.jobs.paths import PathsJob
from training.simulated_walks import simulate_walks, simulated_items

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CART = "product_viewed:shoes > product_added:shoes"
run = CliRunner()


def put(home, events):
    settings = Settings(home=home, now=NOW)
    lake = Lake(settings.lake)
    lake.write([pa.Table.from_pandas(events, schema=SCHEMAS["events"], preserve_index=False).to_pandas()])
    lake.write_items(simulated_items())
    return settings


@pytest.fixture(scope="module")
def events():
    """2,100 walks that begin on one of 40 days each, so that every week has some."""
    parts = [
        simulate_walks(60, 7, NOW - timedelta(days=6 * n), seed=n).assign(
            contact_id=lambda f, n=n: f["contact_id"] + f"-{n}",
            event_id=lambda f, n=n: f["event_id"] + f"-{n}",
            order_id=lambda f, n=n: f["order_id"] + f"-{n}",
        )
        for n in range(5)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def context(events, tmp_path_factory):
    return Context(put(tmp_path_factory.mktemp("walks"), events), NOW, 7)


@pytest.fixture(scope="module")
def data(context):
    return PathsJob().prepare(context)


@pytest.fixture(scope="module")
def model(data, context):
    return PathsJob().fit(data, context)


def test_it_beats_the_base_rate_and_recency(model, data, context):
    job = PathsJob()
    ours = job.evaluate(model, data)
    for baseline in job.baselines(data, context).values():
        theirs = job.evaluate(baseline, data)
        assert theirs.units == ours.units
        assert ours.metrics["log_loss"] < theirs.metrics["log_loss"] - 0.1
    assert ours.metrics["auc"] > 0.7
    everyone = np.arange(ours.units)
    assert ours.statistic(everyone) == pytest.approx(ours.metrics["log_loss"])


def test_nothing_after_the_cut_is_learned_from(model, data, context, events, tmp_path):
    cut = data.split.cut
    before = put(tmp_path, events[events["timestamp"] <= cut])
    again = Paths.learn(walked(before, cut), data.config, until=cut.timestamp())
    pd.testing.assert_frame_equal(model.table(), again.table())
    whole = Paths.counted(data.steps, data.config, cut.timestamp())
    pd.testing.assert_frame_equal(whole.table(), again.table())
    over = cut - timedelta(days=data.config.horizon_days)
    assert model.tree.paths[0] == len(np.unique(data.steps.paths[data.steps.times <= over.timestamp()]))


def test_figures_tables_example_and_artifact(model, data, tmp_path):
    job = PathsJob()
    assert set(job.figures(model, data)) == {"calibration.png", "lift.png"}
    best = job.tables(model, data)["best"]
    assert CART in set(best["path"])
    asked, answer = job.example(model, data)
    assert len(asked) == len(answer)
    assert answer["probability"].between(0, 1).all()
    found = model.predict(pd.DataFrame({"path": [CART, f"something > {CART}", "never"]}))
    assert found["known"].tolist() == [CART, CART, ""]
    assert found["probability"][0] > 2 * found["base"][0]
    again = artifact.load(artifact.save(model, tmp_path / "model"))
    pd.testing.assert_frame_equal(again.table(), model.table())
    assert job.evaluate(again, data).metrics == job.evaluate(model, data).metrics


def test_options_are_read_and_wrong_ones_named(context):
    job = PathsJob()
    short = job.prepare(Context(context.settings, NOW, 7, {"horizon_days": "2", "length": "1"}))
    assert (short.config.horizon_days, short.config.length) == (2.0, 1)
    with pytest.raises(BadInput, match="length is 'x'"):
        job.prepare(Context(context.settings, NOW, 7, {"length": "x"}))


def test_orders_alone_make_no_paths(events, tmp_path):
    settings = put(tmp_path, events[events["event"] == "order_completed"])
    with pytest.raises(NotReady, match="there are no steps"):
        walked(settings, NOW)


def test_visits_before_a_link_are_on_the_contacts_path(events, tmp_path):
    own = events.head(40).astype({"anonymous_id": object})
    first = own["contact_id"].iloc[0]
    visits = (own["contact_id"] == first) & (own["event"] != "order_completed")
    own.loc[visits, ["contact_id", "anonymous_id"]] = [None, "visitor"]
    settings = put(tmp_path, own)
    assert "visitor" in set(walked(settings, NOW)["contact_id"])
    link = {"anonymous_id": ["visitor"], "contact_id": [first], "timestamp": [pd.Timestamp(NOW)]}
    Lake(settings.lake).write_identities(pd.DataFrame(link))
    found = walked(settings, NOW)
    assert (found["contact_id"] == first).sum() == (visits.sum() + (own["contact_id"] == first).sum())


# --- nextbest report paths


def report(settings, *arguments):
    return run.invoke(
        app, ["report", "paths", "--home", str(settings.home), "--now", "2026-03-01", *arguments]
    )


def test_the_report_names_the_best_and_the_worst(context):
    answer = json.loads(report(context.settings, "--json", "--top", "3").stdout)
    assert answer["facts"]["paths"] > 1500
    assert answer["any_order"]["best"][0]["path"] in {CART, "product_added:shoes"}
    assert {row["path"] for row in answer["any_order"]["worst"]} >= {"page_viewed"}
    for side in answer["by_category"].values():
        assert len(side) == 3
        assert all(row["q_value"] <= 0.05 for row in side)
    lifts = [row["lift"] for row in answer["by_category"]["best"]]
    assert lifts == sorted(lifts, reverse=True)


def test_the_report_by_category_and_by_conversion_for_people(context):
    shown = report(context.settings, "--category", "shoes", "--by", "conversion").stdout
    assert "by category of the order" in shown
    assert "any order" not in shown
    assert "hats" not in shown.replace("product_viewed:hats", "")
    assert "product_added:shoes" in shown


def test_the_report_says_what_would_work(context, tmp_path):
    wrong = report(context.settings, "--category", "shoos")
    assert wrong.exit_code == 2
    assert "no category 'shoos'" in wrong.stderr
    assert "shoes" in wrong.stderr
    few = report(context.settings, "--least", "100000")
    assert (few.exit_code, "fewer than 100000 paths" in few.stderr) == (2, True)
    empty = report(Settings(home=tmp_path / "empty"))
    assert (empty.exit_code, "nextbest ingest" in empty.stderr) == (2, True)
