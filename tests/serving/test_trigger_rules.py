"""Trigger rules: what they see, when they fire, and what is said of those that cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.trigger_rules import TriggerRules, Watch


def watch(**rule: Any) -> Watch:
    [only] = TriggerRules.read({"rules": [{"name": "one", **rule}]}).watches
    return only


def test_the_rules_that_come_with_the_package(tmp_path: Path) -> None:
    rules = TriggerRules.load(Settings(home=tmp_path))
    names = [one.rule.name for one in rules.watches]
    assert names == ["sales_ready", "score_reached", "segment_fall", "churn_rise", "due_soon"]
    assert {"lifecycle.stage", "rfm.segment", "churn.band", "next_order.days"} < set(rules.columns)
    assert rules.cooldowns["score_reached"] == 7 * 86_400 * 10**6
    score = rules.watches[1]
    assert score.fires("none", "engaged")
    assert score.fires("none", "sales_ready")
    assert not score.fires("sales_ready", "engaged")


def test_an_expression_fires_as_it_becomes_true() -> None:
    due = watch(when="next_order.days <= 3")
    frame = pd.DataFrame({"next_order.days": [1.0, 9.0, np.nan]})
    assert due.values(frame).tolist() == ["true", "false", "false"]
    assert due.fires("false", "true")
    assert not due.fires("true", "false")


@pytest.mark.parametrize(
    ("rule", "before", "after", "fires"),
    [
        ({"moves": "rfm.segment", "direction": "down"}, "champions", "at_risk", True),
        ({"moves": "rfm.segment", "direction": "down"}, "at_risk", "champions", False),
        ({"moves": "rfm.segment", "direction": "down"}, "a name of before", "at_risk", False),
        ({"moves": "churn.band", "direction": "up"}, "low", "high", True),
        ({"moves": "lifecycle.stage", "direction": "up"}, "sales_ready", "new", True),
        ({"moves": "lifecycle.stage", "direction": "down"}, "loyal", "slipping", True),
        ({"moves": "lifecycle.stage", "direction": "up"}, "lost", "active", True),
        ({"moves": "churn.source", "direction": "any"}, "bgnbd", "lightgbm", True),
        ({"moves": "churn.source", "direction": "any"}, "bgnbd", "bgnbd", False),
        ({"moves": "churn.band", "to": ["high"]}, "low", "high", True),
        ({"moves": "churn.band", "to": ["high"]}, "high", "low", False),
        ({"moves": "churn.band", "from": ["medium"], "to": ["high"]}, "low", "high", False),
        ({"moves": "lifecycle.stage", "from": ["loyal", "active"]}, "loyal", "lost", True),
    ],
)
def test_moves(rule: dict[str, Any], before: str, after: str, fires: bool) -> None:
    assert watch(**rule).fires(before, after) is fires


def test_a_name_outside_its_order_is_no_place_unless_it_is_listed() -> None:
    frame = pd.DataFrame({"churn.band": ["low", "unknown", None]})
    assert watch(moves="churn.band", to=["high"]).values(frame).tolist() == ["low", None, None]
    assert watch(moves="churn.band", direction="up").values(frame).tolist() == ["low", None, None]
    assert watch(moves="churn.band", direction="any").values(frame).tolist() == ["low", "unknown", None]
    listed = watch(**{"moves": "churn.band", "from": ["unknown"]})
    assert listed.values(frame).tolist() == ["low", "unknown", None]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"when": "churn.bnd == 'high'"}, r"^one: .*no column 'churn.bnd'"),
        ({"when": "churn.band == 'high"}, "^one: "),
        ({}, "^one: a rule has either 'when'"),
        ({"when": "rfm.score > 3", "moves": "rfm.segment"}, "either 'when'"),
        ({"when": "rfm.score > 3", "direction": "up"}, "go with 'moves'"),
        ({"moves": "rfm.segment"}, "needs either 'direction'"),
        ({"moves": "rfm.segment", "direction": "up", "to": ["lost"]}, "needs either 'direction'"),
        ({"moves": "rfm.segment", "direction": "sideways"}, "one → direction: "),
        ({"moves": "rfm.score", "direction": "up"}, "is a number; write when: rfm.score >"),
        ({"moves": "churn.source", "direction": "up"}, "has no order.* ordered: rfm.segment"),
        ({"moves": "rfm.sgment", "direction": "up"}, "no column 'rfm.sgment'; known: rfm.segment"),
        ({"moves": "rfm.segment", "to": ["champion"]}, "never champion; it is one of champions"),
        ({"when": "rfm.score > 3", "carry": ["rfm.nothing"]}, "carry: no column 'rfm.nothing'"),
        ({"when": "rfm.score > 3", "cooldown_days": -1}, "one → cooldown_days: "),
        ({"when": "rfm.score > 3", "colour": "red"}, "one → colour: "),
        ({"name": "One Two", "when": "rfm.score > 3"}, "^One Two → name: "),
    ],
)
def test_a_wrong_rule_is_named_with_what_would_work(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        watch(**rule)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "write 'rules:'"),
        ({"rules": [], "thresholds": {}}, "write 'rules:'"),
        ({"rules": ["one"]}, "^rule number 1: "),
        ({"rules": [{"name": "one", "when": "rfm.score > 3"}] * 2}, "twice: one"),
    ],
)
def test_a_wrong_file(raw: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        TriggerRules.read(raw)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, triggers=tmp_path / "mine.yaml")
    with pytest.raises(BadInput, match=r"mine.yaml cannot be read"):
        TriggerRules.load(settings)
    (tmp_path / "mine.yaml").write_text('rules: [{name: rich, when: "value.total >= 1000"}]')
    assert TriggerRules.load(settings).columns == ("value.total",)
    (tmp_path / "mine.yaml").write_text('rules: [{name: rich, when: "value.total >"}]')
    with pytest.raises(BadInput, match=r"mine.yaml are wrong: rich: "):
        TriggerRules.load(settings)
