"""The ASGI app: every route, every refusal, one form of error, one document."""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jsonschema
import pytest

from serving import endpoints
from serving.logs import configure
from serving.web import create_app

SECRET, WRITE = "s3cret", "wr1te"
ROUTES = {
    ("POST", "/v1/recommendations"), ("POST", "/v1/bought-together"), ("POST", "/v1/best-channel"),
    ("POST", "/v1/predictions"), ("POST", "/v1/segments"), ("GET", "/v1/contacts/{contact_id}"),
    ("DELETE", "/v1/contacts/{contact_id}"), ("GET", "/v1/contacts/{contact_id}/export"),
    ("GET", "/v1/triggers"),
    ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
}  # fmt: skip


@pytest.fixture
def engine(shop: Any, engine_of: Any) -> Any:
    return engine_of(shop)


@pytest.fixture
def client(engine: Any, client_of: Any) -> Iterator[Any]:
    with client_of(create_app(lambda: engine)) as client:
        yield client
    assert engine.closed


def test_recommendations(client: Any) -> None:
    answer = client.post("/v1/recommendations", json={"contact_id": "c1", "k": 2})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert [item["item_id"] for item in said["items"]] == ["i05", "i03"]
    assert set(said) == {
        "recommendation_id", "items", "source", "model_version", "fallback", "as_of", "identified",
        "horizon_days", "notes",
    }  # fmt: skip
    assert set(said["items"][0]) == {
        "item_id", "title", "score", "probability", "reason", "role", "propensity",
    }  # fmt: skip
    assert said["as_of"] == {"moment": "2026-03-01T00:00:00Z", "position": 5}


def test_a_horizon_the_model_does_not_know_is_refused_with_those_it_does(client: Any, shop: Any) -> None:
    shop.champions.models["next-purchase"] = shop.ranks(["i08"])
    answer = client.post("/v1/recommendations", json={"contact_id": "c1", "k": 1, "horizon_days": 60})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_horizon")
    assert "it knows: 30" in answer.json()["message"]
    asked = {"contact_id": "c1", "placement": "home", "show": "complements"}
    answer = client.post("/v1/recommendations", json=asked)
    assert answer.json() == {
        "code": "invalid_request", "message": "'show' is for placement product, not home",
    }  # fmt: skip


def test_the_other_calls_answer(client: Any, engine: Any) -> None:
    assert client.post("/v1/bought-together", json={"item_ids": ["i00"]}).json()["rules"] == []
    channels = client.post("/v1/best-channel", json={"contact_ids": ["c1", "c2"]}).json()
    assert [one["contact_id"] for one in channels["contacts"]] == ["c1", "c2"]
    predictions = client.post("/v1/predictions", json={"contact_ids": ["c1"], "tasks": ["churn"]}).json()
    assert list(predictions["contacts"][0]["predictions"]) == ["churn"]
    assert client.get("/v1/contacts/c1").json()["contact_id"] == "c1"
    assert client.delete("/v1/contacts/a%2Fb").json() == {"contact_id": "a/b", "erased": True}
    assert engine.erased == ["a/b"]


def test_an_export_is_told_apart_from_a_card(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(endpoints, "export", lambda _, contact, now: asked.append(contact))
    for path in ("a/export", "a%2Fb/export", "a/export/export"):
        assert client.get(f"/v1/contacts/{path}").json()["code"] == "unknown_contact"
    client.get("/v1/contacts/export")  # a card
    assert asked == ["a", "a/b", "a/export"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/nowhere", None, 404, "/v1/recommendations"),
        ("GET", "/", None, 404, "/openapi.json"),
        ("POST", "/v1/recommendation", b"{}", 404, "/v1/recommendations"),
        ("GET", "/v1/recommendations", None, 405, "POST"),
        ("PUT", "/v1/contacts/c1", b"{}", 405, "GET, DELETE"),
        ("POST", "/livez", b"", 405, "GET"),
        ("GET", "/v1/contacts/nobody", None, 404, "nobody"),
        ("GET", "/v1/contacts/" + "x" * 201, None, 400, "200"),
        ("POST", "/v1/recommendations", b"{", 400, "not JSON"),
        ("POST", "/v1/recommendations", b'{"kk": 1}', 400, "known: contact_id"),
        ("POST", "/v1/recommendations", b" " * 65_537, 413, "64 KB"),
        ("POST", "/v1/best-channel", b" " * 524_289, 413, "512 KB"),
        ("POST", "/v1/predictions", b"[]", 400, "JSON object"),
    ],
)
def test_every_refusal_has_the_one_form(
    client: Any, method: str, path: str, body: bytes | None, status: int, says: str
) -> None:
    answer = client.request(method, path, content=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message"}
    assert says in answer.json()["message"]


def test_a_body_without_a_length_is_bounded_too(client: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    assert client.post("/v1/recommendations", content=pieces()).status_code == 413


def test_a_fault_of_ours_says_nothing_of_its_insides(client: Any, engine: Any) -> None:
    engine.answers = None
    answer = client.post("/v1/recommendations", json={})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "NoneType" not in answer.text


@pytest.fixture
def guarded(shop: Any, client_of: Any, engine_of: Any) -> Iterator[Any]:
    shop.settings = shop.settings.model_copy(
        update={"write_key": _secret(WRITE), "secret_key": _secret(SECRET)}
    )
    with client_of(create_app(lambda: engine_of(shop))) as client:
        yield client


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


TOKEN = hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("key", "method", "path", "body", "status"),
    [
        (None, "POST", "/v1/recommendations", {}, 401),
        ("nonsense", "POST", "/v1/recommendations", {}, 401),
        (WRITE, "POST", "/v1/recommendations", {}, 200),
        (WRITE, "POST", "/v1/recommendations", {"anonymous_id": "v"}, 200),
        (WRITE, "POST", "/v1/recommendations", {"contact_id": "c1"}, 403),
        (WRITE, "POST", "/v1/recommendations", {"contact_id": "c1", "identity_token": "0" * 64}, 403),
        (WRITE, "POST", "/v1/recommendations", {"contact_id": "c2", "identity_token": TOKEN}, 403),
        (WRITE, "POST", "/v1/recommendations", {"contact_id": "c1", "identity_token": TOKEN}, 200),
        (SECRET, "POST", "/v1/recommendations", {"contact_id": "c1"}, 200),
        (WRITE, "POST", "/v1/bought-together", {"item_ids": ["i00"]}, 200),
        (WRITE, "POST", "/v1/best-channel", {"contact_ids": ["c1"]}, 403),
        (WRITE, "POST", "/v1/predictions", {"contact_ids": ["c1"]}, 403),
        (WRITE, "GET", "/v1/contacts/c1", None, 403),
        (WRITE, "DELETE", "/v1/contacts/c1", None, 403),
        (None, "DELETE", "/v1/contacts/c1", None, 401),
        (SECRET, "GET", "/v1/contacts/c1", None, 200),
        (None, "GET", "/livez", None, 200),
        (None, "GET", "/readyz", None, 200),
        (None, "GET", "/openapi.json", None, 200),
    ],
)
def test_keys_decide(guarded: Any, key: str | None, method: str, path: str, body: Any, status: int) -> None:
    for headers in _both_forms(key):
        answer = guarded.request(method, path, json=body, headers=headers)
        assert answer.status_code == status
        if status >= 400:
            assert set(answer.json()) == {"code", "message"}
        assert ("www-authenticate" in answer.headers) == (status == 401)


def test_the_identity_token_may_come_as_a_header(guarded: Any) -> None:
    headers = {"authorization": f"Bearer {WRITE}", "x-identity-token": TOKEN}
    assert guarded.post("/v1/recommendations", json={"contact_id": "c1"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("key", "token", "identified"),
    [(WRITE, None, False), (WRITE, "0" * 64, False), (WRITE, TOKEN, True), (SECRET, None, True)],
)
def test_an_anonymous_id_opens_its_contact_only_to_who_may_know(
    guarded: Any, key: str, token: str | None, identified: bool
) -> None:
    guarded.app.state.engine.contact_of = {"v": "c1"}.get
    headers = {"authorization": f"Bearer {key}"} | ({"x-identity-token": token} if token else {})
    for visitor, known in (("v", identified), ("w", False)):
        answer = guarded.post("/v1/recommendations", json={"anonymous_id": visitor}, headers=headers)
        assert (answer.status_code, answer.json()["identified"]) == (200, known)


def _both_forms(key: str | None) -> list[dict[str, str]]:
    if key is None:
        return [{}]
    basic = base64.b64encode(f"{key}:".encode()).decode()
    return [{"authorization": f"Bearer {key}"}, {"authorization": f"Basic {basic}"}]


def test_health(client: Any, engine: Any) -> None:
    assert client.get("/livez").json() == {"alive": True}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["missing"]) == (200, {"registry": "gone"})
    engine.gone = {"catalogue": "no feature tables; run: nextbest features build"}
    unready = client.get("/readyz")
    assert (unready.status_code, unready.json()["ready"]) == (503, False)


def test_metrics_count_requests_answers_and_champions(client: Any) -> None:
    client.post("/v1/recommendations", json={"contact_id": "c1"})
    client.post("/v1/recommendations", json={"k": 0})
    client.post("/v1/predictions", json={"contact_ids": ["c1", "c2"]})
    text = client.get("/metrics").text
    for line in (
        'nextbest_requests_total{route="/v1/recommendations",status="200"} 1.0',
        'nextbest_requests_total{route="/v1/recommendations",status="400"} 1.0',
        'nextbest_answers_total{fallback="no_champion",route="/v1/recommendations",source="frequency"} 1.0',
        'fallback="unknown_contact",route="/v1/predictions",source="not_enough_data"} 3.0',
        'nextbest_request_seconds_count{route="/v1/recommendations",source="frequency"} 1.0',
        'nextbest_champion{task="churn",version="nextbest-churn/1"} 1.0',
        'nextbest_champion_fault{task="churn"} 1.0',
        'nextbest_decisions{outcome="lost"} 1.0',
        'nextbest_refused_total{code="invalid_request",route="/v1/recommendations"} 1.0',
        "nextbest_log_tail_events 7.0",
        "nextbest_workers 1.0",
        "nextbest_worker_memory_bytes ",
        "nextbest_event_visible_seconds_count 0.0",
    ):
        assert line in text


@pytest.fixture
def logging_restored() -> Iterator[None]:
    ours, others = logging.getLogger("nextbest"), logging.getLogger().handlers
    before = (ours.level, ours.propagate, ours.handlers, [handler.formatter for handler in others])
    yield
    ours.level, ours.propagate, ours.handlers, formatters = before
    for handler, formatter in zip(others, formatters, strict=True):
        handler.setFormatter(formatter)


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("contacts", [False, True])
def test_a_request_is_a_line_with_the_answers_id_and_no_contact_unless_wanted(
    client: Any, engine: Any, capsys: pytest.CaptureFixture[str], contacts: bool
) -> None:
    configure("info")
    engine.settings = engine.settings.model_copy(update={"log_requests": True, "log_contacts": contacts})
    answer = client.post("/v1/recommendations", json={"contact_id": "c1"}).json()
    engine.answers = None
    client.post("/v1/recommendations", json={"contact_id": "c1"})
    given, failed, refused = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert given["recommendation_id"] == answer["recommendation_id"]
    assert (given["message"], given["status"], given["source"]) == (
        "POST /v1/recommendations",
        200,
        "frequency",
    )
    assert given.get("contact_id") == ("c1" if contacts else None)
    assert "AttributeError" in failed["exception"]
    assert (refused["status"], refused["level"]) == (500, "info")


@pytest.fixture
def document(client: Any) -> dict[str, Any]:
    return dict(client.get("/openapi.json").json())


def test_every_route_is_in_the_document_and_nothing_else(document: dict[str, Any]) -> None:
    shown = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    assert shown == ROUTES


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert {"title", "version"} <= set(document["info"])
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object", name
    operations = [call for calls in document["paths"].values() for call in calls.values()]
    assert len({call["operationId"] for call in operations}) == len(operations)
    assert all(call["responses"] and call["summary"] for call in operations)
    for reference in _references(document):
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/recommendations", {"contact_id": "c1"}),
        ("/v1/bought-together", {"item_ids": ["i00"]}),
        ("/v1/best-channel", {"contact_ids": ["c1", "nobody"]}),
        ("/v1/predictions", {"contact_ids": ["c1", "nobody"]}),
    ],
)
def test_answers_are_what_the_document_says(
    client: Any, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    call = document["paths"][path]["post"]
    validate = _validator(document)
    validate(body, call["requestBody"]["content"]["application/json"]["schema"])
    validate(
        client.post(path, json=body).json(), call["responses"]["200"]["content"]["application/json"]["schema"]
    )
    problem = client.post(path, content=json.dumps({"unknown": 1}))
    validate(problem.json(), call["responses"]["400"]["content"]["application/json"]["schema"])


def _validator(document: dict[str, Any]) -> Callable[[Any, Any], None]:
    def validate(instance: Any, schema: Any) -> None:
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(instance)

    return validate
