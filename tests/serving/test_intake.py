"""The intake over HTTP: every route and every way to send, bounded, durable before the 200."""

import base64
import csv
import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from features.events.log import EventLog
from nextbest.settings import Settings
from serving.intake import BATCH_BYTES, calls, create_collector

from .conftest import NOW

WRITE, SECRET = "wr1te", "s3cret"
BASIC = {"authorization": "Basic " + base64.b64encode(f"{WRITE}:".encode()).decode()}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, write_key=SecretStr(WRITE), secret_key=SecretStr(SECRET))


@pytest.fixture
def client(settings: Settings, client_of: Any) -> Iterator[Any]:
    with client_of(create_collector(settings, lambda: NOW)) as client:
        yield client


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with closing(EventLog(settings.event_log_url)) as log:
        yield log


def track(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": f"m{number}", "userId": "u", "event": "Product Viewed",
            "properties": {"product_id": f"p{number}"}, **more}  # fmt: skip


def rejects(settings: Settings) -> list[dict[str, str]]:
    texts = [path.read_text() for path in settings.rejects.glob("http-*.csv")]
    return [row for text in texts for row in csv.DictReader(text.splitlines())]


def test_every_route_takes_what_is_its(client: Any, log: EventLog) -> None:
    for number, (long, short) in enumerate((("track", "t"), ("page", "p"), ("screen", "s"))):
        for place, path in enumerate((long, short)):
            said = {"messageId": f"{number}{place}", "userId": "u", "event": "X", "name": "n"}
            answer = client.post(f"/v1/{path}", json=said, headers=BASIC)
            assert (answer.status_code, answer.json()) == (
                200,
                {"success": True, "stored": 1, "rejected": []},
            )
    for path in ("identify", "i"):
        said = {"userId": "u", "anonymousId": path, "traits": {"plan": "gold"}}
        assert client.post(f"/v1/{path}", json=said, headers=BASIC).status_code == 200
    for path in ("alias", "a"):
        said = {"userId": "u", "previousId": f"old-{path}"}
        assert client.post(f"/v1/{path}", json=said, headers=BASIC).status_code == 200
    for path in ("group", "g"):
        said = {"userId": "u", "groupId": path}
        assert client.post(f"/v1/{path}", json=said, headers=BASIC).status_code == 200
    for number, path in enumerate(("/v1/batch", "/v1/b", "/beacon/v1/batch")):
        answer = client.post(path, json={"batch": [track(number), track(9)]}, headers=BASIC)
        assert answer.json()["stored"] == 2
    events = log.tail(["u"], 0)
    assert [event["event"] for event in events].count("page_viewed") == 4
    assert len(events) == 6 + 4
    (person,) = log.people(["old-a"])
    assert (person.contact_id, set(person.members)) == ("u", {"u", "old-alias", "old-a"})
    assert json.loads(log.contacts(["u"])["traits"][0]) == {"plan": "gold", "group_id": "g"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"headers": BASIC}, 200),
        ({"headers": {"authorization": f"Bearer {WRITE}"}}, 200),
        ({"headers": {"authorization": f"Bearer {SECRET}"}}, 200),
        ({"params": {"writeKey": WRITE}}, 200),
        ({"body": {"writeKey": WRITE}}, 200),
        ({}, 401),
        ({"params": {"writeKey": "nonsense"}}, 401),
        ({"body": {"writeKey": "nonsense"}}, 401),
        ({"body": {"writeKey": ["wr1te"]}}, 401),
        ({"headers": {"authorization": "Basic ????"}}, 401),
        ({"params": {"writeKey": SECRET}}, 401),
    ],
)
def test_the_key_may_come_in_many_ways(client: Any, log: EventLog, sent: Any, status: int) -> None:
    said = json.dumps({"batch": [track(1)], **sent.pop("body", {})})
    answer = client.post("/v1/batch", content=said, **sent)
    assert answer.status_code == status
    assert len(log.tail(["u"], 0)) == (status == 200)


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
def test_gzip_is_noticed_and_the_content_type_is_not(
    client: Any, log: EventLog, headers: Any, kind: str
) -> None:
    body = gzip.compress(json.dumps({"batch": [track(1)]}).encode())
    sent = {**BASIC, **headers, "content-type": kind}
    assert client.post("/v1/batch", content=body, headers=sent).status_code == 200
    assert len(log.tail(["u"], 0)) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/batch", b"{", 400, "malformed_json"), ("/v1/batch", b"[]", 400, "malformed_json"),
        ("/v1/batch", b"", 400, "malformed_json"), ("/v1/batch", b'{"a": NaN}', 400, "malformed_json"),
        ("/v1/batch", b'{"batch": {}}', 400, "invalid_request"), ("/v1/track", b"{}", 400, "invalid_event"),
        ("/v1/batch", b"\x1f\x8b nonsense", 400, "malformed_gzip"),
        ("/v1/batch", gzip.compress(b'{"batch": []}', mtime=0)[:-9], 400, "malformed_gzip"),
        ("/v1/batch", gzip.compress(b" " * (BATCH_BYTES + 1)), 413, "too_big"),
        ("/v1/batch", b" " * (BATCH_BYTES + 1), 413, "too_big"),
        ("/v1/batch", json.dumps({"batch": [{}] * 2501}).encode(), 413, "too_many"),
        ("/v1/batch", b"[" * 100_000, 400, "malformed_json"),
    ],
)  # fmt: skip
def test_what_can_never_be_taken_is_refused(
    client: Any, path: str, body: bytes, status: int, code: str
) -> None:
    answer = client.post(path, content=body, headers=BASIC)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message"}


def test_good_events_are_stored_and_bad_ones_told(client: Any, log: EventLog, settings: Settings) -> None:
    bad = track(2, properties={"price": "dear", "email": "ann@b.org"})
    big = track(3, properties={"text": "x" * 33_000})
    answer = client.post("/v1/batch", json={"batch": [track(1), bad, "text", big, track(4)]}, headers=BASIC)
    assert answer.status_code == 200
    said = answer.json()
    assert said["stored"] == 2
    assert [(one["index"], one["message_id"]) for one in said["rejected"]] == [
        (1, "m2"),
        (2, None),
        (3, "m3"),
    ]
    assert "price 'dear'" in said["rejected"][0]["message"]
    assert "at most 32768" in said["rejected"][2]["message"]
    assert len(log.tail(["u"], 0)) == 2
    kept = rejects(settings)
    assert [row["message_id"] for row in kept] == ["m2", "", "m3"]
    assert kept[0]["reason"] == said["rejected"][0]["message"]
    assert "ann@b.org" not in kept[0]["message"]


def test_sent_again_nothing_doubles(client: Any, log: EventLog) -> None:
    products = [{"product_id": "p"}, {"product_id": "q"}]
    order = track(1, event="Order Completed", properties={"order_id": "o", "products": products})
    for _ in range(3):
        assert (
            client.post("/v1/batch", json={"batch": [order, track(2)]}, headers=BASIC).json()["stored"] == 2
        )
    assert [event["event_id"] for event in log.tail(["u"], 0)] == ["m1:1", "m1:2", "m2"]


@pytest.mark.parametrize(("key", "merged"), [(WRITE, False), (SECRET, True)])
def test_contacts_become_one_with_the_secret_key_only_where_that_is_wanted(
    settings: Settings, client_of: Any, log: EventLog, key: str, merged: bool
) -> None:
    strict = settings.model_copy(update={"alias_key": "secret"})
    with client_of(create_collector(strict, lambda: NOW)) as client:
        said = {"userId": "ann", "previousId": "bob"}
        sent = {"authorization": f"Bearer {key}"}
        assert client.post("/v1/alias", json=said, headers=sent).status_code == 200
    (person,) = log.people(["ann"])
    assert ("bob" in person.members, "bob" in person.visitors) == (merged, True)


def test_a_full_queue_says_when_to_come_back(client: Any, settings: Settings) -> None:
    from features.events.writer import Busy

    def full(arrival: Any) -> Any:
        raise Busy("too much waits")

    client.app.state.engine.writer.submit = full
    answer = client.post("/v1/track", json=track(1), headers=BASIC)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (429, "1", "busy")


def test_analytics_next_is_told_where_to_send(client: Any) -> None:
    told = client.get(f"/v1/projects/{WRITE}/settings").json()["integrations"]["Segment.io"]
    assert (told["apiKey"], told["apiHost"], told["protocol"]) == (WRITE, "localhost/v1", "http")
    assert client.get("/v1/projects/nonsense/settings").status_code == 401


def test_the_document_shows_every_route() -> None:
    shown = {(call.method, call.path) for call in calls()}
    assert ("POST", "/v1/t") in shown
    assert len(shown) == 16
