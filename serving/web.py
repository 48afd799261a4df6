"""The ASGI app: routes, errors and measurements of serving.endpoints and of what is mounted beside them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from anyio import to_thread
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Http
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from serving.bodies import read_body
from serving.endpoints import ENDPOINTS, Endpoint
from serving.engine import Engine
from serving.metrics import CONTENT_TYPE, Metrics
from serving.openapi import Call, document
from serving.origins import Origins
from serving.refused import Refused, parse, parse_query
from serving.schemas import Problem, Request
from serving.turnover import Turnover

log = logging.getLogger("nextbest.web")


class Health(BaseModel):
    """Whether the service may be asked, and what it does without."""

    ready: bool
    missing: dict[str, str]
    """Part -> what is wrong with it; answers fall back where it is not the catalogue."""
    champions: dict[str, str | None]
    worker: dict[str, float]
    """Of the process that answers: `start_seconds` until it could be asked, resident `memory_mb`."""


class Alive(BaseModel):
    """The process answers."""

    alive: bool = True


Respond = Callable[[Engine, Http], Awaitable[Response]]


OPERATIONS = (
    Call("GET", "/livez", "Whether the process answers.", Alive),
    Call("GET", "/readyz", "Whether it may be asked, and what is missing.", Health, also=(503,)),
    Call("GET", "/metrics", "Prometheus metrics.", "text/plain"),
    Call("GET", "/openapi.json", "This document.", "application/json"),
)


def create_app(
    open_engine: Callable[[], Engine],
    endpoints: Sequence[Endpoint] = ENDPOINTS,
    more_routes: Sequence[BaseRoute] = (),
    more_calls: Sequence[Call] = (),
) -> Starlette:
    """Return the app; the engine is opened when serving starts and closed when it ends.

    `more_routes` (made with `route`) are mounted beside the endpoints; `more_calls` describe them in the
    OpenAPI document.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine = await to_thread.run_sync(open_engine)
        app.state.engine = engine
        metrics.observe_worker()
        try:
            yield
        finally:
            await to_thread.run_sync(engine.close)

    shown = document([*(e.call for e in endpoints), *more_calls, *OPERATIONS], _version())
    app = Starlette(
        routes=[
            *(route(endpoint.call, _respond(endpoint)) for endpoint in endpoints),
            *more_routes,
            Route("/livez", _fixed(to_json(Alive()))),
            Route("/readyz", _readyz),
            Route("/metrics", _metrics(metrics)),
            Route("/openapi.json", _fixed(to_json(shown))),
            Route(
                "/{path:path}", _nowhere(shown), methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
            ),
        ],
        middleware=[Middleware(Turnover), Middleware(Origins, refuse=_refused_at_the_door)],
        exception_handlers={HTTPException: _http_problem, Exception: _crash},
        lifespan=lifespan,
    )
    app.state.metrics, app.state.reading = metrics, asyncio.Lock()
    return app


def route(call: Call, respond: Respond) -> Route:
    """Return a route that measures, and answers what `respond` refuses or fails at.

    `respond` says who answered in `http.state.source`, where that is worth knowing.
    """

    async def answer(http: Http) -> Response:
        started = time.perf_counter()
        state = http.app.state
        http.state.source = "none"
        try:
            response = await respond(state.engine, http)
        except Refused as refused:
            response = refusal(refused, state.metrics, call.path)
        except ClientDisconnect:  # nobody reads this
            response = problem(400, "disconnected", "the caller went away before the body was complete")
        except Exception:
            log.exception("%s %s failed", call.method, call.path)
            response = problem(500, "internal_error", "this is a fault of the service; its log says more")
        seconds, metrics = time.perf_counter() - started, state.metrics
        metrics.observe_request(call.path, response.status_code, http.state.source, seconds)
        if state.engine.settings.log_requests:
            log.info("%s %s", call.method, call.path, extra=_line(http, response.status_code, seconds))
        return response

    return Route(call.path, answer, methods=[call.method])


def _line(http: Http, status: int, seconds: float) -> dict[str, Any]:
    """Return what the log says of a request."""
    said = {"status": status, "milliseconds": round(seconds * 1000, 2), "source": http.state.source}
    return said | getattr(http.state, "said", {})


def _said(asked: Any, result: BaseModel, contacts: bool) -> dict[str, Any]:
    """Return what an answer is known by in the log; whom it is about only where that is wanted."""
    names = ("recommendation_id", "model_version", "fallback")
    said = {name: value for name in names if (value := getattr(result, name, None)) is not None}
    if contacts and (contact := getattr(asked, "contact_id", None)) is not None:
        said["contact_id"] = contact
    return said


def _respond(endpoint: Endpoint) -> Respond:
    call = endpoint.call

    async def respond(engine: Engine, http: Http) -> Response:
        right = engine.access.admit(call.right, http)
        asked: Request | None = None
        if call.asked:
            asked = parse(call.asked, await read_body(http, call.limit))
        elif call.query:
            asked = parse_query(call.query, http.query_params.multi_items())
        if endpoint.aside:
            result = await to_thread.run_sync(endpoint.handle, engine, asked, http, right)
        else:
            result = endpoint.handle(engine, asked, http, right)
        http.state.source = _count(http.app.state.metrics, call.path, result)
        if engine.settings.log_requests:
            http.state.said = _said(asked, result, engine.settings.log_contacts)
        return json_response(result)

    return respond


def _count(metrics: Metrics, path: str, result: BaseModel) -> str:
    """Count who answered; a call for many contacts counts each."""
    parts: Sequence[Any] = getattr(result, "contacts", None) or [result]
    source = "none"
    for part in parts:
        for given in getattr(part, "predictions", {"": part}).values():
            source = getattr(given, "source", "none")
            metrics.observe_answer(path, source, getattr(given, "fallback", None) or "none")
    return source if len(parts) == 1 else "many"


def json_response(
    content: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a model as JSON."""
    return Response(to_json(content), status, headers, "application/json")


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return what was wrong in the one form every error has."""
    if status == 401:
        headers = {"www-authenticate": 'Bearer realm="nextbest"'}
    return json_response(Problem(code=code, message=message), status, headers)


def refusal(refused: Refused, metrics: Metrics, path: str) -> Response:
    """Return a refusal as a problem, counted."""
    metrics.refused.labels(path, refused.code).inc()
    return problem(refused.status, refused.code, refused.message, refused.headers)


def _refused_at_the_door(scope: Scope, refused: Refused) -> Response:
    return refusal(refused, scope["app"].state.metrics, "any")


def _fixed(body: bytes) -> Callable[[Http], Awaitable[Response]]:
    async def answer(http: Http) -> Response:
        del http
        return Response(body, media_type="application/json")

    return answer


async def _readyz(http: Http) -> Response:
    engine: Engine = http.app.state.engine
    missing = engine.missing()
    versions = {task: status.version for task, status in engine.champions.status().items()}
    worker = http.app.state.metrics.observe_worker()
    health = Health(ready="catalogue" not in missing, missing=missing, champions=versions, worker=worker)
    return json_response(health, 200 if health.ready else 503)


def _metrics(metrics: Metrics) -> Callable[[Http], Awaitable[Response]]:
    async def answer(http: Http) -> Response:
        engine: Engine = http.app.state.engine
        metrics.observe_champions(engine.champions)
        metrics.observe_decisions(engine.decisions.written, engine.decisions.dropped)
        await to_thread.run_sync(_observe, engine, metrics)
        return Response(await to_thread.run_sync(metrics.text), headers={"content-type": CONTENT_TYPE})

    return answer


def _observe(engine: Engine, metrics: Metrics) -> None:
    """Take over what is looked up when somebody asks for it."""
    try:
        metrics.observe_gauges(engine.gauges())
    except Exception as error:  # the other metrics say more than none
        log.warning("the event log cannot be measured: %s", error)


def _nowhere(shown: Mapping[str, Any]) -> Callable[[Http], Awaitable[Response]]:
    known = ", ".join(shown["paths"])

    async def answer(http: Http) -> Response:
        allowed = _methods_of(http, shown)
        if allowed:
            refused = problem(405, "method_not_allowed", f"{http.url.path} answers to {', '.join(allowed)}")
            refused.headers["allow"] = ", ".join(allowed)
            return refused
        return problem(404, "not_found", f"nothing at {http.url.path[:200]}; known: {known}")

    return answer


def _methods_of(http: Http, shown: Mapping[str, Any]) -> list[str]:
    path = http.url.path
    for known, operations in shown["paths"].items():
        stem, sign, rest = known.partition("{")
        end = rest.partition("}")[2]
        within = path.startswith(stem) and path.endswith(end) and len(path) > len(stem + end)
        if path == known or (sign and within):
            return [method.upper() for method in operations]
    return []


async def _http_problem(http: Http, error: Exception) -> Response:
    del http
    status = error.status_code if isinstance(error, HTTPException) else 500
    return problem(status, f"http_{status}", str(getattr(error, "detail", "not possible")))


async def _crash(http: Http, error: Exception) -> Response:
    del http, error
    return problem(500, "internal_error", "this is a fault of the service; its log says more")


def _version() -> str:
    try:
        return installed("nextbest")
    except PackageNotFoundError:
        return "0"
