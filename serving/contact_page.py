"""The page of a contact's card. The page itself holds nothing of anybody: it asks GET /v1/contacts/{id}.

So everybody may have it; what it shows needs the secret key, which it asks for where there is one.
"""

from starlette.requests import Request as Http
from starlette.responses import Response

from serving._assets import PAGE_POLICY, send
from serving.access import Right
from serving.engine import Engine
from serving.openapi import Call
from serving.origins import sharing
from serving.refused import Refused
from serving.web import route

ASSETS = ("page.js", "card.js", "charts.js", "words.js", "parts.js", "contacts.css")


async def shell(engine: Engine, http: Http) -> Response:
    """Serve the one page, whoever is asked for."""
    _count(engine, http)
    headers = {"content-security-policy": PAGE_POLICY, "referrer-policy": "same-origin"}
    return send(http, "contacts/index.html", 0, headers)


async def file(engine: Engine, http: Http) -> Response:
    """Serve a file of the page."""
    _count(engine, http)
    name = http.path_params["name"]
    if name not in ASSETS:
        raise Refused(404, "not_found", f"no file '{name[:50]}'; known: {', '.join(ASSETS)}")
    return send(http, f"contacts/{name}", 0)


def _count(engine: Engine, http: Http) -> None:
    engine.access.admit(Right.NONE, http)
    sharing(engine.access, http.headers)


SERVED = (
    (
        Call("GET", "/static/contacts/{name}", "A file of the contacts' page.", "text/plain", also=(404,)),
        file,
    ),
    (Call("GET", "/contacts", "A page to look a contact up.", "text/html"), shell),
    (Call("GET", "/contacts/{contact_id:path}", "The contact card as a page.", "text/html"), shell),
)
CALLS = [call for call, _ in SERVED]
ROUTES = [route(call, respond) for call, respond in SERVED]
