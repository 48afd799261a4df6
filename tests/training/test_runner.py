"""The whole path of training on a toy whose answer is known: the less noise a model has, the better it is."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import models
from models.artifact import load
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training.base import Context, Evaluation
from training.metrics import brier, mean_of, roc_auc
from training.plots import calibration
from training.runner import train
from training.tracking import Registry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 300


def toy():
    from models import toy as module

    return module


class ToyJob:
    name = "toy"
    metric = "auc"
    higher_is_better = True
    description = "Says on which side of zero a number lies."
    options: ClassVar = {
        "noise": "how blurred the model sees; default 0",
        "baseline": "noise of the baseline; default 3",
    }

    def prepare(self, context):
        random = np.random.default_rng(1)
        x = random.normal(0, 1, ROWS)
        return pd.DataFrame({"x": x, "y": (x + random.normal(0, 0.5, ROWS) > 0).astype(float)})

    def fit(self, data, context):
        return toy().Toy(toy().ToyConfig(float(context.options.get("noise", 0))))

    def baselines(self, data, context):
        return {
            "blurred": toy().Toy(toy().ToyConfig(float(context.options.get("baseline", 3)))),
            "other": self.fit(data, context),
        }

    def evaluate(self, model, data):
        y, p = data["y"].to_numpy(), model.score(data[["x"]])["probability"].to_numpy()
        metrics = {"auc": roc_auc(y, p), "brier": brier(y, p), "hit@1": 0.5, "nothing": float("nan")}
        return Evaluation(metrics, len(y), lambda rows: roc_auc(y[rows], p[rows]))

    def figures(self, model, data):
        return {"calibration": calibration(data["y"], model.score(data)["probability"])}

    def tables(self, model, data):
        return {"by_side": pd.DataFrame({"side": ["left", "right"], "rows": [1.0, 2.0]})}

    def example(self, model, data):
        return data[["x"]].head(3), model.score(data[["x"]].head(3))

    def facts(self, data):
        return {"rows": np.int64(len(data)), "validation_until": NOW, "simulated": True}


class LowerIsBetter(ToyJob):
    name = "toy-lower"
    metric = "brier"
    higher_is_better = False

    def evaluate(self, model, data):
        y, p = data["y"].to_numpy(), model.score(data[["x"]])["probability"].to_numpy()
        return Evaluation({"brier": brier(y, p)}, len(y), mean_of((y - p) ** 2))


class Rule(ToyJob):
    """A job without a learned competitor: as good as the baseline is good enough."""

    name = "toy-rule"
    tolerance = 0.01

    def baselines(self, data, context):
        return {"same": self.fit(data, context)}


class NoEvents(ToyJob):
    name = "toy-empty"

    def prepare(self, context):
        raise NotReady("there are no events; run nextbest ingest")


class Broken(ToyJob):
    name = "toy-broken"

    def fit(self, data, context):
        raise BadInput("this data set cannot be learned from")


JOBS = {job.name: job for job in (ToyJob(), LowerIsBetter(), Rule(), NoEvents(), Broken())}


@pytest.fixture(scope="module")
def toys():
    """Let models find tests/training/toy_models/toy.py."""
    models.__path__.append(str(Path(__file__).parent / "toy_models"))
    yield
    models.__path__.pop()


class Story:
    """What happened in one home, run after run; each a day later."""

    def __init__(self, home):
        self.settings = Settings(home=home)
        self.registry = Registry(self.settings)
        self.stages = []
        self.days = 0

    def run(self, *names, **options):
        self.days += 1
        context = Context(
            self.settings,
            NOW + timedelta(days=self.days),
            7,
            options,
            lambda *stage: self.stages.append(stage),
        )
        return train(names, context, JOBS)


@pytest.fixture(scope="module")
def story(toys, tmp_path_factory):
    return Story(tmp_path_factory.mktemp("runner"))


@pytest.fixture(scope="module")
def told(story):
    """First good, then worse, then the same as the first, then better; then the reports."""
    noises = {"first": "1", "worse": "2", "same": "1", "better": "0"}
    return {name: story.run("toy", noise=noise)[0] for name, noise in noises.items()}


def test_the_first_version_that_beats_the_baseline_is_champion(told):
    first = told["first"]
    assert (first.status, first.won, first.version, first.model) == ("champion", True, "1", "nextbest-toy")
    assert first.why.startswith("beats blurred on auc (+0.")
    assert first.champion is None
    gate, other = first.baselines
    assert (gate.name, other.name) == ("blurred", "other")
    assert 0 < gate.improvement_low < gate.improvement < gate.improvement_high
    assert first.ours.low < first.ours.metrics["auc"] < first.ours.high
    assert (other.improvement, other.improvement_low, other.improvement_high) == (0, 0, 0)
    assert first.ours.metrics["nothing"] is None
    assert first.seconds > 0


def test_worse_than_the_champion_is_registered_only(told):
    worse = told["worse"]
    assert (worse.status, worse.won, worse.version) == ("registered", False, "2")
    assert worse.champion.name == "champion (version 1)"
    assert worse.champion.improvement < 0
    assert "no better than the champion (version 1)" in worse.why


def test_same_data_and_seed_give_the_same_figures_and_no_promotion(told):
    first, same = told["first"], told["same"]
    assert first.ours == same.ours
    assert first.baselines == same.baselines
    assert same.champion.improvement == 0
    assert same.status == "registered"


def test_better_is_promoted(told, story):
    assert (told["better"].status, told["better"].version) == ("champion", "4")
    assert story.registry.champion("toy")[0] == "4"
    assert story.registry.load("toy").config.noise == 0
    assert story.registry.load("toy", 2).config.noise == 2


def test_history_and_list_and_show(told, story):
    past = story.registry.history("toy")[:2]
    assert [(move["before"], move["after"], move["action"]) for move in past] == [
        (None, "1", "promote"),
        ("1", "4", "promote"),
    ]
    assert past[0]["when"] == (NOW + timedelta(days=1)).isoformat()
    assert past[0]["metrics"]["auc"] == told["first"].ours.metrics["auc"]
    assert past[0]["why"] == told["first"].why
    (row,) = [row for row in story.registry.list() if row["model"] == "nextbest-toy"]
    assert (row["champion"], row["newest"], row["versions"], row["simulated"]) == ("4", "4", 4, "true")
    shown = story.registry.show("toy", 2)
    assert (shown["version"], shown["is_champion"], shown["status"]) == ("2", False, "registered")
    assert shown["ours"]["metrics"]["auc"] == told["worse"].ours.metrics["auc"]
    assert shown["champion_then"]["name"] == "champion (version 1)"
    assert shown["facts"]["rows"] == ROWS
    assert load(Path(shown["folder"])).config.noise == 2
    json.dumps([past, row, shown], allow_nan=False)


def test_the_run_holds_figures_tables_card_and_facts(told, story):
    run = next(story.settings.artifacts.glob(f"{told['better'].run_id}/artifacts"))
    assert (run / "figures" / "calibration.png").stat().st_size > 1000
    assert pd.read_csv(run / "tables" / "by_side.csv")["rows"].tolist() == [1, 2]
    assert json.loads((run / "facts.json").read_text())["rows"] == ROWS
    card = (run / "card.md").read_text()
    for part in (
        "# nextbest-toy",
        "simulated data",
        "blurred",
        "champion (version 1)",
        "2026-01-01",
        "load_model",
        "By side",
    ):
        assert part in card


def test_lower_may_be_better(story):
    (report,) = story.run("toy-lower", noise="1")
    assert report.status == "champion"
    assert report.baselines[0].improvement > 0
    (worse,) = story.run("toy_lower", noise="2")
    assert worse.status == "registered"


def test_a_baseline_that_is_not_beaten_keeps_even_the_first_version_out(story):
    (report,) = story.run("toy-lower", noise="3", baseline="1")
    assert report.status == "registered"
    assert report.why.startswith("does not beat blurred")


def test_tolerance_lets_a_job_without_competitor_ship(story):
    (report,) = story.run("toy-rule")
    assert report.status == "champion"
    (again,) = story.run("toy-rule")
    assert again.status == "champion"
    assert "as good as the champion (version 1)" in again.why


def test_a_champion_that_cannot_be_measured_is_said_and_left_out(story, monkeypatch):
    story.run("toy-rule")
    measured = Rule.evaluate

    def evaluate(self, model, data):
        if model.config.noise == 0:
            raise KeyError("a column that is gone")
        return measured(self, model, data)

    monkeypatch.setattr(Rule, "evaluate", evaluate)
    (report,) = story.run("toy-rule", noise="1")
    assert report.champion is None
    assert report.status == "champion"
    assert "could not be measured: KeyError" in report.why


def test_all_goes_on_past_what_is_not_ready(story):
    reports = {report.job: report for report in story.run("all", noise="1")}
    assert list(reports) == list(JOBS)
    assert (reports["toy-empty"].status, reports["toy-empty"].version) == ("skipped", None)
    assert reports["toy-empty"].why == "there are no events; run nextbest ingest"
    assert (reports["toy-broken"].status, reports["toy-broken"].why) == (
        "failed",
        "this data set cannot be learned from",
    )
    assert reports["toy"].version


def test_one_job_that_is_not_ready_is_reported_and_one_that_is_wrong_raises(story):
    (report,) = story.run("toy-empty")
    assert report.status == "skipped"
    with pytest.raises(BadInput, match="cannot be learned from"):
        story.run("toy-broken")


def test_unknown_names_and_options(story):
    with pytest.raises(BadInput, match="no job 'chrun'; known: all, toy, toy-lower"):
        story.run("chrun")
    with pytest.raises(BadInput, match=r"no option 'nois' for toy; known: baseline: .*; noise: how blurred"):
        story.run("toy", nois="1")


def test_progress_names_the_job_and_the_step(told, story):
    assert ("train toy: fit", 1, 1) in story.stages


def test_a_statistic_that_is_not_the_metric_is_an_error(story, monkeypatch):
    def evaluate(self, model, data):
        return Evaluation({"auc": 0.9}, ROWS, lambda rows: 0.1)

    monkeypatch.setattr(ToyJob, "evaluate", evaluate)
    with pytest.raises(ValueError, match=r"the statistic over all units is 0\.1"):
        story.run("toy")
