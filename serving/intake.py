"""The event intake: Segment's protocol as its and RudderStack's clients speak it (docs/events.md)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Protocol

from anyio import to_thread
from pydantic import BaseModel
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.requests import Request as Http
from starlette.responses import Response
from starlette.routing import Route

from features.events.log import EventLog
from features.events.segment import EVENT_BYTES, Arrival, Unusable, translate
from features.events.turned_away import TurnedAway
from features.events.writer import Busy, Writer
from nextbest.columns import ALIAS
from nextbest.settings import Settings
from serving.access import Access, Right, key_of
from serving.bodies import read_body
from serving.metrics import Metrics
from serving.openapi import Call
from serving.refused import Refused
from serving.web import Respond, json_response, route

BATCH_BYTES = 500 * 1024
BATCH_EVENTS = 2_500
SLICE = 50
"""Messages that are read in one go; then pages have their turn, about two milliseconds later."""
AGAIN = {"retry-after": "1"}
SINGLE = {"track": "t", "identify": "i", "page": "p", "screen": "s", "alias": "a", "group": "g"}
"""Type of a message -> its short route."""
BATCHES = ("/v1/batch", "/v1/b", "/beacon/v1/batch")


class Rejected(BaseModel):
    """An event that was not stored, and can never be."""

    index: int
    """Its place in the batch."""
    message_id: str | None
    message: str
    """What was wrong and what would work."""


class Received(BaseModel):
    """Every event is durably stored but those named in `rejected`."""

    success: bool = True
    stored: int
    """Messages taken in, those sent before included: each is stored once."""
    rejected: list[Rejected]


class Collector(Protocol):
    """What the intake asks of serving.engine.Engine."""

    settings: Settings
    access: Access
    writer: Writer
    turned_away: TurnedAway

    def now(self) -> datetime:
        """Return the present."""


@dataclass
class Read:
    """A body as it was understood."""

    arrival: Arrival = field(default_factory=Arrival)
    count: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    bad: list[Any] = field(default_factory=list)
    """The messages of `rejected`."""


def routes() -> list[Route]:
    """Return the routes of the intake."""
    return [route(call, _settings if call.method == "GET" else _taking(kind)) for call, kind in _calls()]


def calls() -> list[Call]:
    """Return what the OpenAPI document says of them."""
    return [call for call, _ in _calls()]


def _calls() -> Iterator[tuple[Call, str | None]]:
    """Yield each call with the type of the message it takes; None: of any, in a batch."""
    takes: dict[str, Any] = {"right": Right.WRITE, "limit": BATCH_BYTES, "also": (400, 413, 415, 429, 503)}
    for path in BATCHES:
        yield Call("POST", path, "Send events of any type in a batch.", Received, **takes), None
    for kind, short in SINGLE.items():
        for path in (kind, short):
            yield Call("POST", f"/v1/{path}", f"Send one {kind} call.", Received, **takes), kind
    told = "Settings for analytics-next with this service as its cdnURL."
    yield Call("GET", "/v1/projects/{key}/settings", told, "application/json", also=(401,)), None


def _taking(kind: str | None) -> Respond:
    async def respond(engine: Any, http: Http) -> Response:
        http.state.source = "intake"
        started = time.perf_counter()
        received = await _take(engine, http, kind)
        metrics: Metrics = http.app.state.metrics
        metrics.visible.observe(time.perf_counter() - started)  # stored, and so in every answer from now on
        return json_response(received)

    return respond


async def _take(collector: Collector, http: Http, kind: str | None) -> Received:
    """Read, store, and only then answer."""
    right = collector.access.admit(Right.WRITE, http) if key_of(http) is not None else None
    body = await read_body(http, BATCH_BYTES)
    said = _parsed(body)
    if right is None:
        right = collector.access.admit(Right.WRITE, http, said.get("writeKey"))
    now = collector.now()
    read = Read()
    async with http.app.state.reading:  # one at a time: however many send, a page waits for one slice
        for _ in _slices(read, said, kind, now):
            await asyncio.sleep(0)
    if right < Right.SECRET and collector.settings.alias_key == "secret":
        read.arrival.links = [link | {ALIAS: False} for link in read.arrival.links]
    if read.rejected:
        await to_thread.run_sync(collector.turned_away.add, _turned_away(read), now)
        if kind is not None:
            raise Refused(400, "invalid_event", read.rejected[0].message)
    try:
        if len(read.arrival):
            await asyncio.wrap_future(collector.writer.submit(read.arrival))
    except Busy as busy:
        raise Refused(429, "busy", str(busy), AGAIN) from None
    except Exception:
        said_why = "the events could not be stored; send them again"
        raise Refused(503, "not_stored", said_why, AGAIN) from None
    return Received(stored=read.count, rejected=read.rejected)


def _turned_away(read: Read) -> list[tuple[Any, str]]:
    return [(message, rejected.message) for message, rejected in zip(read.bad, read.rejected, strict=True)]


# --- bodies


def _parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object a body is. Raises Refused(400)."""
    try:
        said = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, "malformed_json", f"the body is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise Refused(400, "malformed_json", "the body is to be a JSON object")
    return said


def _slices(read: Read, said: Mapping[str, Any], kind: str | None, now: datetime) -> Iterator[None]:
    """Translate the messages of a body into `read`, SLICE by SLICE. Raises Refused for what is no batch."""
    batch = [said] if kind is not None else _batch(said)
    for start in range(0, len(batch), SLICE):
        if start:
            yield
        for index, message in enumerate(batch[start : start + SLICE], start):
            _take_in(read, index, message, kind, now, said.get("sentAt"))


def _batch(said: Mapping[str, Any]) -> list[Any]:
    batch = said.get("batch")
    if not isinstance(batch, list):
        raise Refused(400, "invalid_request", "'batch' is to be a list of messages")
    if len(batch) > BATCH_EVENTS:
        raise Refused(413, "too_many", f"{len(batch)} events in a batch; at most {BATCH_EVENTS} are taken")
    return batch


def _take_in(read: Read, index: int, message: Any, kind: str | None, now: datetime, sent_at: Any) -> None:
    try:
        if not isinstance(message, dict):
            raise Unusable("a message is to be a JSON object")
        size = len(to_json(message))
        if size > EVENT_BYTES:
            raise Unusable(f"the event has {size} bytes; at most {EVENT_BYTES} are taken")
        arrival = translate(message, kind or message.get("type"), now, sent_at)
    except Unusable as unusable:
        named = message.get("messageId") if isinstance(message, dict) else None
        read.rejected.append(Rejected(index=index, message_id=_text(named), message=str(unusable)))
        read.bad.append(message)
        return
    read.count += 1
    read.arrival.rows += arrival.rows
    read.arrival.contacts += arrival.contacts
    read.arrival.links += arrival.links


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


# --- settings of analytics-next


async def _settings(engine: Any, http: Http) -> Response:
    """Tell analytics-next to send everything here, by the address it asked at."""
    key = str(http.path_params["key"])
    engine.access.admit(Right.WRITE, http, key)
    segment = {"apiKey": key, "apiHost": f"{http.url.netloc}/v1", "protocol": http.url.scheme}
    shown = {
        "integrations": {"Segment.io": {**segment, "versionSettings": {"version": "4.4.7"}}},
        "plan": {"track": {"__default": {"enabled": True}}, "identify": {"__default": {"enabled": True}}},
        "edgeFunction": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
    }
    return Response(json.dumps(shown), media_type="application/json")


# --- the intake alone


def create_collector(settings: Settings, now: Callable[[], datetime]) -> Starlette:
    """Return an app that takes events in and does nothing else."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        events = EventLog(settings.event_log_url)
        writer = Writer(events.take)
        app.state.engine = SimpleNamespace(
            settings=settings,
            access=Access(settings),
            now=now,
            writer=writer,
            turned_away=TurnedAway(settings.rejects),
        )
        try:
            yield
        finally:
            await to_thread.run_sync(writer.close)
            events.close()

    app = Starlette(routes=routes(), lifespan=lifespan)
    app.state.metrics, app.state.reading = Metrics(), asyncio.Lock()
    return app
