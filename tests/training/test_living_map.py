"""RFM and lifecycle over the months: the job, moves, reports and their commands, on the test world."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.events.lake import Lake
from features.history import contacts_at
from models import artifact
from models._lifecycle_rules import LifecycleRules
from models.lifecycle import Lifecycle
from models.rfm import SEGMENT_NAMES, Rfm
from nextbest.cli import app
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training import lifecycle, rfm_map
from training._flow_plot import flow_plot
from training._moves import NOT_SEEN, Moves
from training.base import Context
from training.jobs.lifecycle import Followed, LifecycleData, LifecycleJob
from training.tracking import Registry

run = CliRunner()

# --- the moves


def three_months() -> Moves:
    codes = np.array([[0, 0, 1], [0, 1, 1], [-1, 0, 0], [1, 1, 0], [-1, -1, 1]], dtype=np.int8)
    moments = tuple(datetime(2026, month, 28) for month in (1, 2, 3))
    return Moves(("good", "bad"), moments, pd.Index(list("abcde")), codes)


def test_moves_are_counted_from_one_moment_to_the_next() -> None:
    moves = three_months()
    assert moves.labels == ["2026-01", "2026-02", "2026-03-28"]
    assert moves.counts().tolist() == [[2, 2, 2], [1, 2, 3]]
    assert moves.between(1).tolist() == [[1, 1], [0, 1], [1, 0]]
    assert moves.between(2).tolist() == [[1, 1], [1, 1], [0, 1]]
    for later in (1, 2):
        assert moves.between(later).sum(axis=0).tolist() == moves.counts()[:, later].tolist()
    first = moves.plain()[0]
    assert (first["since"], first["until"]) == ("2026-01", "2026-02")
    assert {"from": NOT_SEEN, "to": "good", "contacts": 1} in first["moves"]
    assert sum(move["contacts"] for move in first["moves"]) == 4


def test_the_flow_plot_has_a_ribbon_a_move_and_a_bar_a_state() -> None:
    moves = three_months()
    axes = flow_plot(moves, "Flows").axes[0]
    ribbons = sum(int((moves.between(later)[:-1] > 0).sum()) for later in (1, 2))
    assert len(axes.collections) == ribbons
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["good", "bad"]
    assert axes.yaxis_inverted()


# --- RFM


@pytest.fixture(scope="module")
def rfm(world: Any) -> rfm_map.RfmReport:
    return rfm_map.rfm_report(world.settings, world.now, months=3, falling=5)


def test_segments_now_are_the_champions_classes_of_everyone(rfm: rfm_map.RfmReport, world: Any) -> None:
    model = Registry(world.settings).load("rfm")
    assert isinstance(model, Rfm)
    last = Lake(world.settings.lake).span()
    assert last is not None
    assert last[1] < world.now, "the data end before the present: the report ends with them"
    everyone = contacts_at(world.settings, last[1])
    counts = model.score(everyone)["segment"].value_counts().to_dict()
    assert rfm.segments.set_index("segment")["contacts"].to_dict() == counts
    assert rfm.segments["share"].sum() == pytest.approx(1.0)
    assert rfm.moves.counts()[:, -1].sum() == len(everyone) == rfm.facts["contacts"]
    assert len(rfm.moves.moments) == 4


def test_edges_stay_while_contacts_move(rfm: rfm_map.RfmReport, world: Any) -> None:
    model, at = Registry(world.settings).load("rfm"), rfm.moves.moments[1]
    then: Any = model.score(contacts_at(world.settings, at))["segment"]  # type: ignore[attr-defined]
    counts = dict(zip(rfm.moves.names, rfm.moves.counts()[:, 1], strict=True))
    assert {name: n for name, n in counts.items() if n} == then.value_counts().to_dict()


def test_the_fallen_are_worse_off_than_a_month_ago_the_dearest_first(rfm: rfm_map.RfmReport) -> None:
    fallen, rank = rfm.falling, list(SEGMENT_NAMES).index
    assert 0 < len(fallen) <= 5 <= rfm.facts["fell"]
    assert all(rank(row.now) > rank(row.before) for row in fallen.itertuples())
    assert fallen["expected_spend"].is_monotonic_decreasing
    assert fallen["expected_spend"].notna().all()
    assert rfm.facts["expected_spend_of_fallen"] >= fallen["expected_spend"].sum() - 1e-6


@pytest.mark.parametrize("cross", rfm_map.CROSSES)
def test_any_two_dimensions_are_crossed(cross: Any, world: Any) -> None:
    model: Any = Registry(world.settings).load("rfm")
    everyone = contacts_at(world.settings, world.now)
    table = rfm_map.crossed(model, everyone, cross)
    assert list(table.columns) == [*cross.split(","), "contacts", "share", "spend"]
    assert len(table) == 25
    with_orders = everyone[everyone["orders_total"] > 0]
    assert table["contacts"].sum() == len(with_orders)
    assert table["share"].sum() == pytest.approx(1.0)
    assert table["spend"].sum() == pytest.approx(with_orders["spend_total"].sum())


def test_without_champions_it_says_what_to_run(
    rfm: rfm_map.RfmReport, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = Registry.champion

    def but(name: str) -> Any:
        return lambda self, job: None if job == name else champion(self, job)

    monkeypatch.setattr(Registry, "champion", but("value"))
    report = rfm_map.rfm_report(world.settings, world.now, months=1)
    assert report.falling["expected_spend"].isna().all()
    assert report.falling["spend"].is_monotonic_decreasing
    assert "nextbest train value" in report.facts["value_why_none"]
    monkeypatch.setattr(Registry, "champion", but("rfm"))
    with pytest.raises(NotReady, match="nextbest train rfm"):
        rfm_map.rfm_report(world.settings, world.now)


# --- lifecycle


def test_stages_by_month_and_what_there_is_of_the_cycle(world: Any) -> None:
    report = lifecycle.lifecycle_report(world.settings, world.now, months=3)
    assert report.stages["contacts"].sum() == len(world.contacts) == report.facts["contacts"]
    assert report.facts["origin"]["after"] == "given by the rules"
    everyone = report.cycles[0]
    assert (everyone.touch, everyone.contacts) == ("everyone", len(world.contacts))
    assert sum(cycle.contacts for cycle in report.cycles[1:]) == everyone.contacts
    assert {cycle.touch: cycle.median_days for cycle in report.cycles}["order"] == 0.0


def test_who_has_not_ordered_yet_counts_as_waiting() -> None:
    now = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
    seen = now.timestamp() - 100 * 86_400
    orders = [10.0, 20.0, 30.0, np.nan, np.nan, np.nan]
    frame = pd.DataFrame({"contact_id": list("abcdef"), "first_seen": seen})
    frame["first_order"] = seen + np.array(orders) * 86_400
    touches = pd.Series(dict.fromkeys("abcde", "visit") | {"f": "form"})
    whole, visit, form = lifecycle.cycles(frame, touches, now)
    assert (whole.ordered, whole.quarter_days, whole.median_days, whole.three_quarters_days) == (
        3,
        20,
        30,
        None,
    )
    assert (visit.touch, visit.contacts, visit.median_days) == ("visit", 5, 30)
    assert (form.median_days, form.ordered) == (None, 0)


def test_learned_cutoffs_answer_where_the_rules_ask_for_them(world: Any, tmp_path: Path) -> None:
    rules = tmp_path / "lifecycle.yaml"
    raw = LifecycleRules.load().model_dump(mode="json") | {"cutoffs": "learned"}
    rules.write_text(json.dumps(raw))
    settings = world.settings.model_copy(update={"lifecycle": rules})
    model, version = lifecycle.lifecycle_model(settings)
    assert version is not None
    assert model.origin["after"].startswith("learned from")
    assert model.origin["before"].startswith("given by the rules: ")
    assert "learning needs 200 contacts" in model.origin["before"]
    empty, none = lifecycle.lifecycle_model(settings.model_copy(update={"home": tmp_path}))
    assert none is None
    assert empty.origin["after"] == "given by the rules"


# --- the job


def followed(seed: int) -> Followed:
    """Visitors and customers: the later either was there, the likelier an order."""
    random = np.random.default_rng(seed)
    n = 1200
    days = random.exponential(20.0, n)
    frame = pd.DataFrame({"seen_days": days, "orders_total": np.where(np.arange(n) % 3 == 0, 0.0, 5.0)})
    frame["recency_days"] = np.where(frame["orders_total"] > 0, days, np.nan)
    frame["order_gap_days"], frame["views_7d"] = 30.0, 5.0 * 2 ** (-days / 7)
    return Followed(frame, (random.random(n) < np.exp(-days / 20.0)).astype(float))


def test_the_job_learns_and_measures_both_halves(world: Any, tmp_path: Path) -> None:
    job, context = LifecycleJob(), Context(world.settings, world.now, 7)
    real = job.prepare(context)
    data = LifecycleData(real.split, real.rules, followed(1), followed(2), 30)
    model = job.fit(data, context)
    ours = job.evaluate(model, data)
    assert ours.metrics["auc"] == pytest.approx(ours.statistic(np.arange(ours.units)))
    assert min(ours.metrics["before.auc"], ours.metrics["after.auc"]) > 0.7
    assert ours.metrics["before.spearman"] > 0.3
    assert all(text.startswith("learned") for text in model.origin.values())
    again = artifact.load(artifact.save(model, tmp_path / "model"))
    assert job.evaluate(again, data).metrics == ours.metrics
    halves = job.tables(model, data)["halves"]
    assert halves["auc_index"].str.contains(" to ").all()
    assert not any("keeps" in name for name in job.facts(data))
    rates = job.tables(model, data)["stages"].set_index("stage")["share_ordering"]
    assert rates["loyal"] > rates["active"] > rates["lost"]
    assert rates["sales_ready"] > rates["engaged"] > rates["lead"]


def test_on_the_world_nobody_is_before_the_first_order_and_the_job_says_so(world: Any) -> None:
    job, context = LifecycleJob(), Context(world.settings, world.now, 7)
    data = job.prepare(context)
    model = job.fit(data, context)
    facts = job.facts(data)
    assert "learning needs 200 contacts" in facts["before_keeps_its_cutoffs"]
    assert "after_keeps_its_cutoffs" not in facts
    assert model.rules.before == data.rules.before
    ours = job.evaluate(model, data).metrics
    assert set(ours) == {"auc", "after.auc", "after.spearman"}
    assert job.tables(model, data)["halves"]["auc_index"].tolist()[0] == "too few"
    cut = pd.Timestamp(data.split.cut)
    assert (data.holdout.frame["timestamp"] == cut).all()
    assert (data.train.frame["timestamp"] == cut - timedelta(days=data.horizon_days)).all()
    asked, answered = job.example(model, data)
    assert len(asked) == len(answered) == 5
    assert all(hasattr(figure, "savefig") for figure in job.figures(model, data).values())


# --- the commands


@pytest.mark.parametrize("name", ["rfm", "lifecycle"])
def test_the_commands(name: str, world: Any, tmp_path: Path) -> None:
    where = ["--home", str(world.settings.home), "--now", world.now.isoformat(), "--months", "2"]
    told = json.loads(run.invoke(app, ["report", name, *where, "--json"]).stdout)
    assert [span["until"] for span in told["moves"]] == ["2026-05", "2026-06-01"]
    assert len(told["by_month"]) == 3
    picture = tmp_path / "flows.png"
    shown = run.invoke(app, ["report", name, *where, "--plot", str(picture)])
    assert shown.exit_code == 0, shown.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    texts = {
        "rfm": (
            "champions",
            "recency by frequency",
            "in a worse segment than on 2026-05-01",
            "expected spend",
        ),
        "lifecycle": (
            "active",
            "days from the first touch",
            "before the first order: ",
            "given by the rules",
        ),
    }
    for text in (*texts[name], "from the row to the column", "drawn: "):
        assert text in shown.stdout


@pytest.mark.parametrize("name", ["rfm", "lifecycle"])
def test_an_empty_home_is_told_what_to_run(name: str, tmp_path: Path) -> None:
    result = run.invoke(app, ["report", name, "--home", str(tmp_path)])
    assert result.exit_code == 2
    assert "nextbest " in result.output
    with pytest.raises(NotReady):
        lifecycle.lifecycle_report(
            Settings(home=tmp_path), datetime.fromisoformat("2026-01-01T00:00:00+00:00")
        )


def test_the_champion_is_a_lifecycle(world: Any) -> None:
    assert isinstance(Registry(world.settings).load("lifecycle"), Lifecycle)
