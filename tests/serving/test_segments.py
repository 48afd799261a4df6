"""POST /v1/segments: counts, lists, bounds; and the counting they share with the command line."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from nextbest.errors import NotReady
from serving import segment_call, segments
from serving.expression import Expression
from serving.segments import Selection
from serving.vocabulary import KNOWN
from serving.web import create_app

PEOPLE = pd.DataFrame(
    {
        "contact_id": [f"c{n}" for n in range(6)],
        "churn.band": pd.Series(["high", "low", "high", None, "high", "low"], dtype=object),
        "value.next_90d": [60.0, 70.0, 10.0, 90.0, np.nan, np.inf],
    }
)


@pytest.fixture
def client(shop: Any, engine_of: Any, client_of: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def profiles(settings: Any, now: Any, ids: Any, columns: Any, progress: Any) -> Iterator[pd.DataFrame]:
        assert (now, ids) == (shop.now, None)
        wanted = list(dict.fromkeys(("contact_id", *columns)))
        yield from (PEOPLE[:4][wanted], PEOPLE[4:][wanted])

    monkeypatch.setattr(segments, "profiles", profiles)
    with client_of(create_app(lambda: engine_of(shop))) as client:
        yield client


def ask(client: Any, **asked: Any) -> Any:
    return client.post("/v1/segments", json=asked)


def test_it_counts_and_tells_no_one_by_default(client: Any) -> None:
    said = ask(client, expression='churn.band == "high" and value.next_90d > 50').json()
    assert said == {
        "count": 1, "total": 6,
        "conditions": [
            {"expression": 'churn.band == "high"', "count": 3},
            {"expression": "value.next_90d > 50", "count": 4},
        ],
        "contacts": [],
    }  # fmt: skip


def test_it_lists_with_what_the_expression_reads_or_what_is_asked(client: Any) -> None:
    said = ask(client, expression='churn.band == "high"', count_only=False).json()
    assert said["contacts"] == [{"contact_id": c, "churn.band": "high"} for c in ("c0", "c2", "c4")]
    said = ask(
        client, expression="contact_id is not missing", count_only=False, columns=["value.next_90d"], limit=5
    ).json()
    assert (said["count"], len(said["contacts"])) == (6, 5)
    assert said["contacts"][-1] == {"contact_id": "c4", "value.next_90d": None}
    said = ask(client, expression="value.next_90d > 100", count_only=False).json()
    assert said["contacts"] == [{"contact_id": "c5", "value.next_90d": None}]  # JSON knows no infinity


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ({}, "invalid_request", "'expression' is needed"),
        ({"expression": "churn.band > 3"}, "invalid_expression", "compares a name with a number"),
        (
            {"expression": "value.past > 1", "count_only": False, "columns": ["x"]},
            "invalid_expression",
            "'x'",
        ),
        ({"expression": "value.past > 1", "columns": ["value.past"]}, "invalid_request", "count_only false"),
        ({"expression": "value.past > 1", "count_only": False, "limit": 10_001}, "invalid_request", "limit"),
        ({"expression": "x" * 10_001}, "invalid_request", "expression"),
    ],
)
def test_what_cannot_be_asked_says_why(client: Any, asked: Any, code: str, says: str) -> None:
    answer = ask(client, **asked)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert says in answer.json()["message"]


def test_one_is_counted_at_a_time(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with segment_call._ALONE:
        answer = ask(client, expression="value.next_90d > 1")
    assert (answer.status_code, answer.json()["code"]) == (429, "busy")
    assert answer.headers["retry-after"] == "5"
    assert ask(client, expression="value.next_90d > 1").status_code == 200


def test_it_gives_up_before_its_callers_do(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_call, "MOST_SECONDS", -1.0)
    answer = ask(client, expression="value.next_90d > 1")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_long")
    assert not segment_call._ALONE.locked()


def test_nothing_built_is_no_fault(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def profiles(*asked: Any) -> Iterator[pd.DataFrame]:
        raise NotReady("run: nextbest features build")
        yield

    monkeypatch.setattr(segments, "profiles", profiles)
    answer = ask(client, expression="value.next_90d > 1")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


def test_what_is_answered_is_what_the_document_says(client: Any) -> None:
    document = client.get("/openapi.json").json()
    answer = ask(client, expression='churn.band == "high" and value.next_90d > 1', count_only=False)
    schema = document["paths"]["/v1/segments"]["post"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())
    assert len(answer.json()["contacts"]) == 2


def test_groups_are_counted_over_blocks() -> None:
    selection = Selection(Expression.parse("value.next_90d > 50", KNOWN), ["churn.band"])
    assert selection.columns == ("value.next_90d", "churn.band")
    found = [row for block in (PEOPLE[:4], PEOPLE[4:]) for row in selection.take(block)["contact_id"]]
    assert found == ["c0", "c1", "c3", "c5"]
    assert selection.groups == {"churn.band": {"high": (1, 3), "low": (2, 2)}}
    assert (selection.count, selection.total, selection.conditions) == (4, 6, [])
