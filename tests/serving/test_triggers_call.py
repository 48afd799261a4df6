"""GET /v1/triggers: pages, cursors, and what is said of parameters that cannot be."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from features.events.log import EventLog
from features.events.triggers import Change, Firing, TriggerLog
from serving.web import create_app

from .conftest import NOW


@pytest.fixture
def triggers(tmp_path: Path) -> Iterator[TriggerLog]:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with closing(EventLog(url)), closing(TriggerLog(url)) as opened:
        for number, rule in enumerate(("hot", "due", "hot")):
            firing = Firing(
                rule, None if rule == "due" else "false", "true", {"score.points": 2.5, "x": None}
            )
            change = Change(f"c{number}", None, "{}", (firing,))
            opened.store([change], opened.basis(), NOW + timedelta(days=number))
        yield opened


@pytest.fixture
def client(shop: Any, client_of: Any, engine_of: Any, triggers: TriggerLog) -> Iterator[Any]:
    engine = engine_of(shop)
    engine.triggers = triggers
    with client_of(create_app(lambda: engine)) as client:
        yield client


def test_pages(client: Any) -> None:
    first = client.get("/v1/triggers?limit=2").json()
    assert [one["contact_id"] for one in first["triggers"]] == ["c0", "c1"]
    assert first["triggers"][1].pop("id").startswith("trg_")
    assert first["triggers"][1] == {
        "position": 2, "timestamp": "2026-03-02T00:00:00Z", "contact_id": "c1", "rule": "due", "before": None,
        "after": "true", "facts": {"score.points": 2.5, "x": None},
    }  # fmt: skip
    second = client.get(f"/v1/triggers?since={first['next']}").json()
    assert [one["contact_id"] for one in second["triggers"]] == ["c2"]
    assert client.get(f"/v1/triggers?since={second['next']}").json() == {"triggers": [], "next": 3}


@pytest.mark.parametrize(
    ("query", "contacts"),
    [
        ("", ["c0", "c1", "c2"]),
        ("?since=2026-03-02", ["c1", "c2"]),
        ("?since=2026-03-02T01:00:00%2B01:00", ["c1", "c2"]),
        ("?since=2026-03-03T00:00:00Z&rule=hot", ["c2"]),
        ("?rule=hot&since=1", ["c2"]),
        ("?rule=nothing", []),
        ("?writeKey=x", ["c0", "c1", "c2"]),
    ],
)
def test_what_is_asked_for(client: Any, query: str, contacts: list[str]) -> None:
    answer = client.get(f"/v1/triggers{query}").json()
    assert ([one["contact_id"] for one in answer["triggers"]], answer["next"]) == (contacts, 3)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?since=yesterday", "'since': write a position"),
        ("?since=2026-03-02T00:00:00+01:00", "with + as %2B"),
        ("?since=9999999999999999999", "no position has more than 18 digits"),
        ("?since=-1", "write a position"),
        ("?since=", "'since'"),
        ("?limit=0", "'limit': input should be greater than or equal to 1"),
        ("?limit=many", "'limit'"),
        ("?limit=1&limit=2", "each parameter once; given again: limit"),
        ("?rule=Hot", "'rule'"),
        ("?colour=red", "unknown field 'colour'; known: since, limit, rule"),
    ],
)
def test_what_cannot_be_asked_for(client: Any, query: str, said: str) -> None:
    answer = client.get(f"/v1/triggers{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert said in answer.json()["message"]


def test_a_log_that_cannot_be_read_is_said(client: Any, triggers: TriggerLog) -> None:
    with triggers.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE triggers")
    answer = client.get("/v1/triggers")
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")


def test_it_needs_the_secret_key(shop: Any, client_of: Any, engine_of: Any) -> None:
    keys = {"write_key": SecretStr("w"), "secret_key": SecretStr("s")}
    shop.settings = shop.settings.model_copy(update=keys)
    with client_of(create_app(lambda: engine_of(shop))) as client:
        for key, status in ((None, 401), ("w", 403), ("s", 200)):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            assert client.get("/v1/triggers", headers=headers).status_code == status


def test_the_document_shows_the_parameters(client: Any) -> None:
    shown = client.get("/openapi.json").json()["paths"]["/v1/triggers"]["get"]
    assert [one["name"] for one in shown["parameters"]] == ["since", "limit", "rule"]
    since, limit, _ = shown["parameters"]
    assert (since["in"], since["required"], since["schema"]["type"]) == ("query", False, "string")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert "400" in shown["responses"]
