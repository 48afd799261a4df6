"""Every route, asked by every kind of caller; every page, by every kind of origin."""

import gzip
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.requests import Request as Http
from starlette.responses import Response

from serving.access import Right
from serving.bodies import read_body
from serving.endpoints import ENDPOINTS
from serving.engine import Engine
from serving.export import ContactExport
from serving.openapi import Call
from serving.schemas import Problem
from serving.web import create_app, route

SECRET, WRITE, SHOP, STRANGER = "s3cret", "wr1te", "https://shop.example", "https://strange.example"
TOKEN = hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest()
MOUNTED = Call("POST", "/beacon/v1/batch", "A mounted route.", Problem, right=Right.WRITE, limit=1000)
BODIES: dict[str, dict[str, Any] | None] = {
    "/v1/recommendations": {"contact_id": "c1"},
    "/v1/bought-together": {"item_ids": ["i00"]},
    "/v1/best-channel": {"contact_ids": ["c1"]},
    "/v1/predictions": {"contact_ids": ["c1"]},
    "/v1/segments": {"expression": "value.past > 1"},
    MOUNTED.path: {"writeKey": WRITE},
}
CALLS = [*(endpoint.call for endpoint in ENDPOINTS), MOUNTED]
OPERATIONS = ("/livez", "/readyz", "/metrics", "/openapi.json")


async def mounted(engine: Engine, http: Http) -> Response:
    """Take a key in the body, as the beacon and the SDKs send it."""
    body = await read_body(http, MOUNTED.limit)
    engine.access.admit(Right.WRITE, http, json.loads(body or b"{}").get("writeKey"))
    return Response(b"{}", media_type="application/json")


def little_of(engine: Any, contact_id: str, now: datetime) -> ContactExport:
    """Stand for the export, which reads real stores."""
    lists = ("ids", "anonymous_ids", "traits", "identities", "events", "decisions", "triggers")
    told = {name: [] for name in lists} | {"stored": {}, "profile": {}, "tags": None, "left_out": None}
    return ContactExport.model_validate({"contact_id": contact_id, "exported_at": now, **told})


@pytest.fixture
def serve(
    shop: Any, client_of: Any, engine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Return a client of the app with these settings, and a mounted route."""
    monkeypatch.setattr("serving.segments.profiles", lambda *asked: iter(()))
    monkeypatch.setattr("serving.endpoints.export", little_of)
    opened = []

    def serve(**settings: Any) -> Any:
        shop.settings = shop.settings.model_copy(update=settings)
        app = create_app(lambda: engine_of(shop), more_routes=[route(MOUNTED, mounted)], more_calls=[MOUNTED])
        held = client_of(app)
        opened.append(held)
        return held.__enter__()

    yield serve
    for held in opened:
        held.__exit__(None, None, None)


KEYS = {"write_key": SecretStr(WRITE), "secret_key": SecretStr(SECRET), "origins": [SHOP]}


@dataclass(frozen=True)
class Caller:
    """What a caller sends, and what a route with each right answers."""

    name: str
    headers: dict[str, str]
    write: int
    """Status of a route that needs the write key."""
    secret: int
    """Status of a route that needs the secret key."""
    known: int | None = None
    """Status of recommendations for a known contact, where it is another."""
    query: str = ""


def bearer(key: str, **more: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {key}",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


CALLERS = [
    Caller("nobody", {}, 401, 401),
    Caller("unknown key", bearer("guess"), 401, 401),
    Caller("unknown key in the query", {}, 401, 401, query="?writeKey=guess"),
    Caller("write key", bearer(WRITE), 200, 403, known=403),
    Caller("write key in the query", {}, 200, 403, known=403, query=f"?writeKey={WRITE}"),
    Caller("write key and a token", bearer(WRITE, x_identity_token=TOKEN), 200, 403),
    Caller("write key and another's token", bearer(WRITE, x_identity_token="0" * 64), 200, 403, known=403),
    Caller("secret key", bearer(SECRET), 200, 200),
    Caller("secret key where others can read it", {}, 401, 401, query=f"?writeKey={SECRET}"),
    Caller("the shop's page", bearer(WRITE, origin=SHOP, x_identity_token=TOKEN), 200, 403),
    Caller("our own page", bearer(WRITE, origin="http://localhost", x_identity_token=TOKEN), 200, 403),
    Caller("a strange page with the write key", bearer(WRITE, origin=STRANGER), 403, 403),
    Caller("a strange page with the secret key", bearer(SECRET, origin=STRANGER), 403, 403),
    Caller("a page of no origin", bearer(SECRET, origin="null"), 403, 403),
]


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_every_route_and_every_caller(serve: Callable[..., Any], caller: Caller) -> None:
    client = serve(**KEYS)
    for call in CALLS:
        body = BODIES.get(call.path)
        if call is MOUNTED and caller.name not in ("nobody",):
            body = {}
        answer = client.request(
            call.method,
            call.path.replace("{contact_id:path}", "c1") + caller.query,
            json=body,
            headers=caller.headers,
        )
        expected = caller.secret if call.right is Right.SECRET else caller.write
        if call.path == "/v1/recommendations" and caller.known:
            expected = caller.known
        if call is MOUNTED and caller.name == "nobody":
            expected = 200  # its key is in the body
        assert answer.status_code == expected, call.path
        if expected >= 400:
            assert set(answer.json()) == {"code", "message"}
        readable = answer.headers.get("access-control-allow-origin")
        assert readable == (SHOP if caller.headers.get("origin") == SHOP else None)
    for path in OPERATIONS:
        assert client.get(path, headers=caller.headers).status_code == 200


@pytest.mark.parametrize("limit", [{"address_rate": 0.01}, {"key_rate": 0.01}])
def test_whoever_asks_too_often_is_told_when_to_come_back(serve: Callable[..., Any], limit: Any) -> None:
    client = serve(**KEYS, **limit)
    for call in CALLS:
        headers = bearer(WRITE, origin=SHOP)
        asked = (call.method, call.path.replace("{contact_id:path}", "c1"))
        client.request(*asked, json=BODIES.get(call.path), headers=headers)
        answer = client.request(*asked, json=BODIES.get(call.path), headers=headers)
        if call.right is Right.SECRET and "key_rate" in limit:
            assert answer.status_code == 403
            continue
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 1
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["access-control-expose-headers"] == "retry-after"
    assert 'code="too_many_requests",route="/beacon/v1/batch"' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/t", "/beacon/v1/batch"])
@pytest.mark.parametrize(
    ("origin", "origins", "allowed"),
    [
        (SHOP, [SHOP], SHOP),
        (SHOP, ["*"], "*"),
        ("null", ["*"], "*"),
        (STRANGER, [SHOP], None),
        (SHOP, [], None),
        (SHOP + ".strange.example", [SHOP], None),
        ("http" + SHOP.removeprefix("https"), [SHOP], None),
    ],
)
def test_preflights(
    serve: Callable[..., Any], path: str, origin: str, origins: list[str], allowed: str | None
) -> None:
    client = serve(**KEYS | {"origins": origins})
    asked = {"origin": origin, "access-control-request-method": "POST"}
    answer = client.request("OPTIONS", path, headers=asked)
    assert answer.headers.get("access-control-allow-origin") == allowed
    if allowed is None:
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        return
    assert answer.status_code == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    for name in (
        "authorization",
        "content-type",
        "x-retry-count",
        "anonymousid",
        "sentat",
        "x-identity-token",
    ):
        assert name in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:3000", None, 200),
        ("127.0.0.1:3000", "http://127.0.0.1:3000", 200),
        ("[::1]:3000", "http://[::1]:3000", 200),
        ("localhost:3000", "http://localhost:4000", 403),
        ("localhost:3000", "http://[", 403),
        ("[", None, 403),
        ("localhost:3000", STRANGER, 403),
        ("strange.example:3000", "http://strange.example:3000", 403),  # a name made to point to this machine
        ("strange.example:3000", None, 403),
    ],
)
def test_without_keys_no_strange_page_reaches_the_service(
    serve: Callable[..., Any], host: str, origin: str | None, status: int
) -> None:
    headers = {"host": host, **({"origin": origin} if origin else {})}
    assert serve().get("/v1/contacts/c1", headers=headers).status_code == status


def test_a_compressed_body_is_read_and_a_bomb_is_not(serve: Callable[..., Any]) -> None:
    client = serve(**KEYS)
    small = gzip.compress(json.dumps({"contact_id": "c1", "k": 1}).encode())
    answer = client.post("/v1/recommendations", content=small, headers=bearer(SECRET))
    assert len(answer.json()["items"]) == 1
    bomb = gzip.compress(b" " * 10_000_000)
    answer = client.post("/v1/recommendations", content=bomb, headers=bearer(SECRET, content_encoding="gzip"))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_big")
