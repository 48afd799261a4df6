"""What messages bring beyond sending nothing, on logs whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models._response_worth import Answered, ResponseWorth
from training import uplift
from training.off_policy import ThinOverlap
from training.uplift import Uplift, channel_uplift, told

from .test_campaigns import LIFT, NOW, PERSONS, decisions, log_of


def decided(count: int, share: float, effect: float, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    """Contacts who spend by what is known of them, and those sent to `effect` more."""
    random = np.random.default_rng(seed)
    known = random.normal(size=(count, 2))
    held = random.random(count) < share
    revenue = 20 + 8 * known[:, 0] + random.normal(0, 2, count) + effect * ~held
    rows = pd.DataFrame({"campaign": "spring", "person": range(count), "held_out": held, "revenue": revenue})
    return rows, np.hstack([known, np.ones((count, 1))])


def test_what_would_have_come_anyway_is_not_counted(monkeypatch: Any, tmp_path: Path) -> None:
    from nextbest.settings import Settings

    settings, held_the_truth = Settings(home=tmp_path, margin=0.5), 0
    for seed in range(20):
        rows, known = decided(2_000, 0.2, effect=3.0, seed=seed)
        monkeypatch.setattr(uplift, "_known", lambda settings, of, known=known: known[of.index])
        found = uplift._uplift(settings, rows, seed=7)
        held_the_truth += found.low < 1.5 < found.high
    assert held_the_truth >= 15, "of 20 intervals that promise 90 %"
    assert (found.treated, found.held_out) == (int((~rows.held_out).sum()), int(rows.held_out.sum()))
    means = rows.groupby("held_out")["revenue"].agg(["var", "size"])
    plain = 2 * 1.645 * 0.5 * float(np.sqrt((means["var"] / means["size"]).sum()))
    assert found.high - found.low < plain / 2, "what is known of contacts is taken account of"


def test_too_few_held_out_tell_nothing(monkeypatch: Any, tmp_path: Path) -> None:
    from nextbest.settings import Settings

    rows, known = decided(300, 0.05, effect=3.0)
    monkeypatch.setattr(uplift, "_known", lambda settings, of: known[of.index])
    with pytest.raises(ThinOverlap):
        uplift._uplift(Settings(home=tmp_path), rows, seed=7)


def test_each_channel_by_the_decision_log(monkeypatch: Any, tmp_path: Path) -> None:
    many = [f"{person}-{n}" for person in PERSONS for n in range(2)]
    settings = log_of(tmp_path, decisions("spring", 1, many), LIFT)
    monkeypatch.setattr(uplift, "_known", lambda settings, of: np.ones((len(of), 1)))
    found = channel_uplift(settings, NOW, seed=7)
    assert found["sms"].low < LIFT < found["sms"].high
    assert found["sms"].low > 0
    assert found["email"].profit < LIFT / 2, "which brings nothing"
    assert told(found)["sms"].endswith("held out")
    early = channel_uplift(settings, settings.present() - pd.Timedelta(days=3650), seed=7)
    assert early == {}, "no window is over"


@pytest.mark.parametrize(
    ("profit", "half", "attributed", "factor"),
    [
        (0.5, 0.4, 1.0, 0.5),
        (-0.5, 0.4, 1.0, 0.0),
        (9.0, 0.4, 1.0, 2.0),
        (0.5, 1.1, 1.0, None),
        (0.5, 0.4, 0.0, None),
    ],
)
def test_a_factor_is_told_only_where_the_log_can_tell(
    profit: float, half: float, attributed: float, factor: float | None
) -> None:
    assert Uplift(profit, profit - half, profit + half, 100, 100).factor(attributed) == factor


def test_the_worth_of_a_response_is_its_uplift_where_known(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    answered = Answered(random.normal(size=(500, 2)), random.integers(0, 2, 500), np.full(500, 10.0))
    worth = ResponseWorth.learn(answered, ("email", "sms"))
    worth.uplift = {"email": 0.5}
    worth.save(tmp_path)
    again = ResponseWorth.load(tmp_path)
    np.testing.assert_allclose(again.of(answered.contacts[:3], ("email", "sms")), [[5.0, 10.0]] * 3)
