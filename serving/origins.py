"""Which web pages may call: CORS for the configured origins, and no strange page at all."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import Access, is_loopback
from serving.refused import Refused

ANY = "*"
CALLS = ("/v1/", "/beacon/")
"""Where the calls of the contract begin; operations answer to everybody and hold nothing of anybody."""
ALLOWED_HEADERS = "authorization, content-type, x-retry-count, anonymousid, sentat, x-identity-token"
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": ALLOWED_HEADERS,
    "access-control-max-age": "600",
}


class Origins:
    """ASGI middleware: answers preflights, marks answers as readable, refuses pages of other origins.

    A page's browser says where it comes from in `Origin`; a request without one comes from no page. Pages of
    the service's own host are always welcome. `refuse` answers with a problem.
    """

    def __init__(self, app: ASGIApp, refuse: Callable[[Scope, Refused], ASGIApp]) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what may come."""
        if scope["type"] != "http" or not scope["path"].startswith(CALLS):
            await self._app(scope, receive, send)
            return
        access: Access = scope["app"].state.engine.access
        headers = Headers(scope=scope)
        try:
            shared = sharing(access, headers)
        except Refused as refused:
            await self._refuse(scope, refused)(scope, receive, send)
            return
        if shared is None:
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(shared, send)
        else:
            await self._app(scope, receive, _marking(shared, send))


def sharing(access: Access, headers: Mapping[str, str]) -> dict[str, str] | None:
    """Return the headers that let the page read the answer; None where no page of another origin asks.

    Raises Refused(403) for a page that may not call, and, without keys, for a host name that does not belong
    to this machine: a foreign page's name may be made to point here (DNS rebinding).
    """
    host = headers.get("host", "").lower()
    if access.open and host and not _here(host):
        raise Refused(
            403,
            "host_not_allowed",
            "without keys the service answers to localhost and 127.0.0.1 only; set keys",
        )
    origin = headers.get("origin")
    if origin is None or _netloc(origin) == host:
        return None
    if origin.lower() in access.origins:
        # no cookie is ever read; beacons are sent with credentials, and browsers then ask for this
        return {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "vary": "origin",
        }
    if ANY in access.origins:
        return {"access-control-allow-origin": ANY}
    raise Refused(403, "origin_not_allowed", "pages of this origin may not call; add it to NEXTBEST_ORIGINS")


@lru_cache(maxsize=256)
def _here(host: str) -> bool:
    """Tell whether a host header names this machine to itself."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # an address that is none
        return False


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


async def _preflight(shared: Mapping[str, str], send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": _raw({**shared, **PREFLIGHT})})
    await send({"type": "http.response.body"})


def _marking(shared: Mapping[str, str], send: Send) -> Callable[[Message], Awaitable[None]]:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            exposed = {**shared, "access-control-expose-headers": "retry-after"}
            message = {**message, "headers": [*message["headers"], *_raw(exposed)]}
        await send(message)

    return marked


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
