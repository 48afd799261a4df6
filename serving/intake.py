"""The event intake: Segment's protocol as its and RudderStack's clients speak it (docs/events.md)."""

import asyncio
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
from nextbest.settings import Settings
from serving.access import Access, Right
from serving.bodies import read_body
from serving.openapi import Call
from serving.refused import Refused
from serving.web import json_response, problem

log = logging.getLogger("nextbest.intake")

BATCH_BYTES = 500 * 1024
BATCH_EVENTS = 2_500
ASIDE_BYTES = 16 * 1024
"""Bodies above are read in a helper thread, so that pages need not wait for them."""
RETRY_SECONDS = 1
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
    found = [Route(path, _posted(None, path), methods=["POST"]) for path in BATCHES]
    for kind, short in SINGLE.items():
        found += [Route(f"/v1/{p}", _posted(kind, f"/v1/{kind}"), methods=["POST"]) for p in (kind, short)]
    return [*found, Route("/v1/projects/{key}/settings", _settings, methods=["GET"])]


def calls() -> list[Call]:
    """Return what the OpenAPI document says of them."""
    also = (400, 413, 429, 503)
    takes: dict[str, Any] = {"right": Right.WRITE, "limit": BATCH_BYTES, "also": also}
    told = [Call("POST", path, "Send events of any type in a batch.", Received, **takes) for path in BATCHES]
    for kind, short in SINGLE.items():
        told += [
            Call("POST", f"/v1/{path}", f"Send one {kind} call.", Received, **takes) for path in (kind, short)
        ]
    settings = "Settings for analytics-next with this service as its cdnURL."
    return [
        *told,
        Call("GET", "/v1/projects/{key}/settings", settings, "application/json", also=(401,)),
    ]


def _posted(kind: str | None, name: str) -> Callable[[Http], Awaitable[Response]]:
    """Return the handler of a route; `kind` None: a batch."""

    async def answer(http: Http) -> Response:
        started = time.perf_counter()
        try:
            response = json_response(await _take(http, kind))
        except Refused as refused:
            response = problem(refused.status, refused.code, refused.message)
            if refused.status in (429, 503):
                response.headers["retry-after"] = str(RETRY_SECONDS)
        except Exception:
            log.exception("%s failed", name)
            response = problem(500, "internal_error", "this is a fault of the service; its log says more")
        metrics = getattr(http.app.state, "metrics", None)
        if metrics is not None:
            metrics.requests.labels(name, response.status_code).inc()
            metrics.seconds.labels(name, "intake").observe(time.perf_counter() - started)
        return response

    return answer


async def _take(http: Http, kind: str | None) -> Received:
    """Read, store, and only then answer."""
    collector: Collector = http.app.state.engine
    body = await read_body(http, BATCH_BYTES)
    encoding = ""  # read_body has inflated it
    now = collector.now()
    if len(body) > ASIDE_BYTES:
        said = await to_thread.run_sync(_parsed, body, encoding)
    else:
        said = _parsed(body, encoding)
    collector.access.admit(Right.WRITE, http, said.get("writeKey"))
    if len(body) > ASIDE_BYTES:
        read = await to_thread.run_sync(_read, said, kind, now)
    else:
        read = _read(said, kind, now)
    if kind is not None and read.rejected:
        await to_thread.run_sync(collector.turned_away.add, _turned_away(read), now)
        raise Refused(400, "invalid_event", read.rejected[0].message)
    try:
        if read.rejected:
            await to_thread.run_sync(collector.turned_away.add, _turned_away(read), now)
        if len(read.arrival):
            await asyncio.wrap_future(collector.writer.submit(read.arrival))
    except Busy as busy:
        raise Refused(429, "busy", str(busy)) from None
    except Exception:
        raise Refused(503, "not_stored", "the events could not be stored; send them again") from None
    return Received(stored=read.count, rejected=read.rejected)


def _turned_away(read: Read) -> list[tuple[Any, str]]:
    return [(message, rejected.message) for message, rejected in zip(read.bad, read.rejected, strict=True)]


# --- bodies


def _parsed(body: bytes, encoding: str) -> dict[str, Any]:
    """Return the JSON object a body is. Raises Refused(400 or 413)."""
    if "gzip" in encoding.lower() or body[:2] == b"\x1f\x8b":
        body = _inflated(body)
    try:
        said = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, "malformed_json", f"the body is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise Refused(400, "malformed_json", "the body is to be a JSON object")
    return said


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, BATCH_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, "malformed_gzip", f"the body is not gzip: {error}") from None
    if len(plain) > BATCH_BYTES:
        raise Refused(
            413, "too_big", f"the body is bigger than {BATCH_BYTES // 1024} KB; send smaller batches"
        )
    if not inflater.eof:
        raise Refused(400, "malformed_gzip", "the gzip body ends too early")
    return plain


def _read(said: Mapping[str, Any], kind: str | None, now: datetime) -> Read:
    """Translate every message of a body."""
    if kind is not None:
        return _translated([said], kind, now, said.get("sentAt"))
    batch = said.get("batch")
    if not isinstance(batch, list):
        raise Refused(400, "invalid_request", "'batch' is to be a list of messages")
    if len(batch) > BATCH_EVENTS:
        raise Refused(413, "too_many", f"{len(batch)} events in a batch; at most {BATCH_EVENTS} are taken")
    return _translated(batch, None, now, said.get("sentAt"))


def _translated(messages: list[Any], kind: str | None, now: datetime, sent_at: Any) -> Read:
    read = Read()
    for index, message in enumerate(messages):
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
            continue
        read.count += 1
        read.arrival.rows += arrival.rows
        read.arrival.contacts += arrival.contacts
        read.arrival.links += arrival.links
    return read


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


# --- settings of analytics-next


async def _settings(http: Http) -> Response:
    """Tell analytics-next to send everything here, by the address it asked at."""
    collector: Collector = http.app.state.engine
    key = str(http.path_params["key"])
    try:
        collector.access.admit(Right.WRITE, http, key)
    except Refused as refused:
        return problem(refused.status, refused.code, refused.message)
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
            access=Access(settings), now=now, writer=writer, turned_away=TurnedAway(settings.rejects)
        )
        try:
            yield
        finally:
            await to_thread.run_sync(writer.close)
            events.close()

    return Starlette(routes=routes(), lifespan=lifespan)
