from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features._known import SPANS
from features.points import Rules
from nextbest.columns import HALF_LIVES
from nextbest.errors import BadInput

TRICKY = Rules.model_validate(
    {
        "rules": [
            {"name": "any view", "event": "product_viewed", "points": 1, "half_life_days": 7},
            {"name": "dots", "event": "product_viewed", "points": 2, "url": "*x.org/a?b*"},
            {"name": "brackets", "event": "product_viewed", "points": 4, "url": "[a](b)+^$|\\–é*"},
            {"name": "dairy", "event": "order_completed", "points": 8, "category": "food/dairy/*"},
            {"name": "order", "event": "order_completed", "points": -16, "half_life_days": None},
            {"name": "item", "event": "order_completed", "points": 32, "item": "m?lk", "half_life_days": 365},
            {"name": "mail", "event": "message_clicked", "points": 0.5, "campaign": "winback*",
             "channel": "email"},
            {"name": "message", "event": "message_clicked", "points": 0.25, "message": "_%"},
        ]
    }
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["product_viewed", "order_completed", "message_clicked", "wished"]),
        "url": st.sampled_from(
            [None, "", "http://x.org/a?b", "http://x.org/acb/", "http://x.org/a\nb", "xxorg/a.b",
             "[a](b)+^$|\\–é", "[a](b)+^$|\\–é\n"]
        ),
        "item_id": st.sampled_from([None, "milk", "malk", "mlk", "butter", "bag"]),
        "order_id": st.sampled_from([None, "o1", "o2"]),
        "campaign_id": st.sampled_from([None, "winback", "winback_7", "xwinback"]),
        "channel": st.sampled_from([None, "email", "sms"]),
        "message_id": st.sampled_from([None, "_%", "ab"]),
        "contact_id": st.sampled_from(["a", "b"]),
    }
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(ROW, min_size=1, max_size=30))
@pytest.mark.parametrize("rules", [TRICKY, Rules.load()], ids=["tricky", "packaged"])
def test_the_expression_and_the_function_agree(rules: Rules, rows: Any, event: Any, ready: Any) -> None:
    backend, table = ready([event(**row) for row in rows])
    table = table.mutate(**{f"slot_{i}": rules.expression(table, span) for i, span in enumerate(SPANS)})
    for row in backend.to_pyarrow(table).to_pylist():
        expected = tuple(row[f"slot_{i}"] for i in range(len(SPANS)))
        assert rules.points(row, row["path"]) == pytest.approx(expected), row


def test_an_order_counts_once_but_each_line_of_a_category() -> None:
    first = {"event": "order_completed", "item_id": "milk", "lead": True}
    further = first | {"lead": False}
    assert TRICKY.points(first, "food/dairy/fresh") == (0, 8, 0, 32, -16)
    assert TRICKY.points(further, "food/dairy/fresh") == (0, 8, 0, 32, 0)


def test_the_packaged_rules_explain_themselves() -> None:
    rules = Rules.load()
    assert rules.thresholds["engaged"] < rules.thresholds["sales_ready"]
    assert all(rule.why for rule in rules.rules)
    assert {rule.half_life_days for rule in rules.rules} <= {*HALF_LIVES, None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{name: view, event: product_viewed}]", "view → points: Field required"),
        ("rules: [{name: view, event: v, points: 1, half_life_days: 8}]", "view → half_life_days"),
        ("rules: [{name: view, event: v, points: 1, urll: x}]", "view → urll: Extra inputs"),
        ("rules: [{event: v, points: 1}]", "number 1 → name: Field required"),
        ("rules: [{name: v, event: v, points: 1}, {name: v, event: w, points: 1}]", "twice: v"),
        ("rules: [1]", "number 1"),
        ("rules: 3", "rules"),
        ("just text", "wrong"),
        ("rules: [", "cannot be read"),
    ],
)
def test_a_wrong_rule_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        Rules.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        Rules.load(tmp_path / "none.yaml")
