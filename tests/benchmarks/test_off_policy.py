"""Off-policy benchmark: the simulated truth, the reading of Open Bandit's files, and obp where installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import _bandit_data as data
from benchmarks import off_policy as benchmark
from nextbest.errors import BadInput, NotReady
from training import off_policy as ope

installed = pytest.mark.skipif(
    not any(data.ENVIRONMENT.glob(data.OPEN_BANDIT)), reason="obp is not installed; run: make peers-obp"
)


def test_the_simulated_truth_is_what_many_contacts_show() -> None:
    world = data.World.of(3)
    drawn = world.draw(1, contacts=40_000)
    assert drawn.log.rewards.mean() == pytest.approx(world.value(world.logged), abs=0.005)
    assert ope.snips(drawn.log, drawn.target).value == pytest.approx(world.value(world.target), abs=0.012)
    assert ope.Overlap.of(drawn.log, drawn.target, drawn.logged).unseen_mass == 0
    assert drawn.logged.min() >= data.AT_RANDOM / data.ARMS


def test_responses_of_a_contact_are_alike() -> None:
    drawn = data.World.of(3).draw(1, contacts=5_000)
    means = pd.Series(drawn.log.rewards).groupby(drawn.log.clusters).agg(["mean", "size"])
    alone = (drawn.log.rewards.var() / means["size"]).mean()
    assert means["mean"].var() > 1.2 * alone


def test_coverage_is_told_of_every_estimator(capsys: pytest.CaptureFixture[str]) -> None:
    found = benchmark.simulated(seed=7, logs=20)
    assert found["data"]["simulated"] is True
    assert "simulated: 20 logs" in capsys.readouterr().out
    assert set(found["estimators"]) == {*benchmark.NAMES, "gain_snips", "gain_dr"}
    assert all(found["figures"][f"coverage_{name}"] >= 0.7 for name in benchmark.NAMES)


def test_the_command_writes_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark.simulated, "__defaults__", (3,))
    monkeypatch.setattr(sys, "argv", ["off_policy", "--data", "simulated", "--json", str(tmp_path / "out")])
    benchmark.main()
    written = json.loads((tmp_path / "out").read_text())
    assert {"coverage_snips", "coverage_dr", "seconds", "peak_mb"} <= set(written["figures"])
    assert written["seeds"] == [7]


def test_the_reward_model_learns_arms_and_context() -> None:
    random = np.random.default_rng(0)
    context = random.integers(0, 2, (4000, 1)).astype(float)
    actions = random.integers(0, 3, 4000)
    rate = 0.1 + 0.2 * actions + 0.3 * context[:, 0]
    log = ope.Log(actions, (random.random(4000) < rate).astype(float), np.full(4000, 1 / 3))
    predictions = ope.cross_fitted(log, data.additive(log, context, np.eye(3)))
    expected = 0.1 + 0.2 * np.arange(3) + 0.3 * context
    assert np.abs(predictions - expected).max() < 0.08


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return Open Bandit's layout with three rows and two items."""
    place = tmp_path / "bts" / "men"
    place.mkdir(parents=True)
    rows = {
        "timestamp": ["2019-11-24 00:00:02", "2019-11-24 00:00:01", "2019-11-24 00:00:03"],
        "item_id": [1, 0, 1],
        "position": [3, 1, 2],
        "click": [1, 0, 0],
        "propensity_score": [0.4, 0.9, 0.5],
        "user_feature_0": ["b", "a", "a"],
        "user-item_affinity_0": [0.0, 0.0, 0.0],
    }
    items = {"item_id": [1, 0], "item_feature_0": [0.5, -0.5], "item_feature_1": ["y", "x"]}
    pd.DataFrame(rows).to_csv(place / "men.csv")
    pd.DataFrame(items).to_csv(place / "item_context.csv")
    return tmp_path


def test_open_bandits_files_are_read_in_order_of_time(folder: Path) -> None:
    read = data.open_bandit(folder, "bts", "men")
    assert read.log.actions.tolist() == [0, 1, 1]
    assert read.log.rewards.tolist() == [0, 1, 0]
    assert read.log.propensity.tolist() == [0.9, 0.4, 0.5]
    assert read.position.tolist() == [0, 2, 1]
    assert read.context.tolist() == [[0], [1], [0]]
    assert read.items.tolist() == [[0, -0.5], [1, 0.5]]
    assert read.arms.tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_an_unknown_campaign_names_the_known_ones(folder: Path) -> None:
    with pytest.raises(BadInput, match="known"):
        data.open_bandit(folder, "bts", "children")


def test_what_is_missing_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "ENVIRONMENT", tmp_path)
    with pytest.raises(NotReady, match="run: make peers-obp"):
        data.installed()
    for name, message in (("obd", "make peers-obp"), ("criteo", "known: simulated, obd")):
        monkeypatch.setattr(sys, "argv", ["off_policy", "--data", name])
        with pytest.raises(SystemExit, match=message):
            benchmark.main()


@installed
@pytest.mark.slow
def test_ours_and_obps_agree_on_the_same_predictions() -> None:
    folder = data.installed()
    log, other = (data.open_bandit(folder, policy, "men") for policy in ("bts", "random"))
    found = benchmark.task(log, other.log.rewards, "random", "men", seed=1)
    assert found["apart"] < 1e-12
    assert found["truth"] == pytest.approx(0.0046)
    assert found["overlap"]["unseen_mass"] == 0
