"""The browser script, and a shop to try it in: the catalogue's items, and a look into what the service knows.

The shop is open where the service has no keys (this machine only) or NEXTBEST_DEMO_SHOP is set; elsewhere its
pages do not exist. Only it ever hands out identity tokens, and only for the few contacts it offers.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pyarrow.parquet as pq
from anyio import to_thread
from pydantic import BaseModel
from starlette.requests import Request as Http
from starlette.responses import Response

from features.tables import table_path
from serving._assets import PAGE_POLICY, send
from serving._demo_schemas import (
    CategoryShare,
    Contacts,
    DemoShop,
    Happened,
    LoggedIn,
    LogInRequest,
    Offered,
    Panel,
    PanelRequest,
    Products,
)
from serving._storefront import Storefront, category_name
from serving.access import Right
from serving.bodies import read_body
from serving.card_schemas import ContactCard
from serving.engine import Engine
from serving.openapi import Call
from serving.origins import sharing
from serving.refused import Refused, parse
from serving.web import Respond, json_response, route

SCRIPT_SECONDS = 300
ASSETS = ("shop.js", "pages.js", "panel.js", "parts.js", "tiles.js", "tag.js", "shop.css")
CONTACTS_OFFERED = 6
CARDS_LOOKED_AT = 30
EVENTS_SHOWN = 60
BODY = 4096


async def script(engine: Engine, http: Http) -> Response:
    """Serve nextbest.js to the pages of any shop."""
    del engine
    return send(http, "nextbest.js", SCRIPT_SECONDS, {"cross-origin-resource-policy": "cross-origin"})


async def shell(engine: Engine, http: Http) -> Response:
    """Serve the one page of the shop, whatever the address."""
    _open(engine, http)
    headers = {"content-security-policy": PAGE_POLICY, "referrer-policy": "same-origin"}
    return send(http, "demo/index.html", 0, headers)


async def file(engine: Engine, http: Http) -> Response:
    """Serve a file of the shop."""
    _open(engine, http)
    name = http.path_params["name"]
    if name not in ASSETS:
        raise Refused(404, "not_found", f"no file '{name[:50]}'; known: {', '.join(ASSETS)}")
    return send(http, f"demo/{name}", 0)


async def config(engine: Engine, http: Http) -> BaseModel:
    """Return the departments and the public key."""
    _open(engine, http)
    front = await _front(http)
    key = engine.settings.write_key
    return DemoShop(
        write_key=key.get_secret_value() if key else "",
        departments=list(front.departments),
        not_online=list(front.not_online),
    )


async def contacts(engine: Engine, http: Http) -> BaseModel:
    """Return the contacts one may be."""
    _open(engine, http)
    return Contacts(contacts=await _contacts(http))


async def products(engine: Engine, http: Http) -> BaseModel:
    """Return products by ids, or the best selling of a category, or those a word finds."""
    _open(engine, http)
    asked = http.query_params
    front = await _front(http)
    if "ids" in asked:
        return Products(products=front.products(asked["ids"].split(",")[:200]))
    start, count = _number(asked.get("start", "0"), 10_000), _number(asked.get("count", "24"), 96)
    words = asked.get("q", "")[:100]
    found, more = await to_thread.run_sync(front.search, asked.get("category"), words, start, count)
    return Products(products=found, more=more)


async def log_in(engine: Engine, http: Http) -> BaseModel:
    """Sign one of the offered contacts' identity."""
    _open(engine, http)
    asked = parse(LogInRequest, await read_body(http, BODY))
    if asked.contact_id not in {one.contact_id for one in await _contacts(http)}:
        raise Refused(403, "not_offered", "the demo shop signs only for those of GET /demo/contacts")
    token = None if engine.access.open else engine.access.token(asked.contact_id)
    return LoggedIn(contact_id=asked.contact_id, identity_token=token)


async def panel(engine: Engine, http: Http) -> BaseModel:
    """Return what is known of whoever is in the shop."""
    _open(engine, http)
    asked = parse(PanelRequest, await read_body(http, BODY))
    if asked.contact_id is not None:
        right = Right.SECRET if engine.access.open else Right.WRITE
        engine.access.identify(asked.contact_id, asked.identity_token, right)
    return await to_thread.run_sync(_panel, engine, await _front(http), asked)


def _panel(engine: Engine, front: Storefront, asked: PanelRequest) -> Panel:
    now = engine.now()
    card = engine.answers.contact_card(asked.contact_id, now, whole=False) if asked.contact_id else None
    events = _events(engine, asked)
    if card is not None and card.affinities:
        shares = {one.category: one.share for one in card.affinities}
    else:
        shares = _looked_at(front, events)
    return Panel(
        known_as="contact" if card else "visitor" if events else "nobody",
        card=card,
        categories=[
            CategoryShare(path=path, name=category_name(path), share=share)
            for path, share in sorted(shares.items(), key=lambda one: -one[1])[:5]
        ],
        events=[_happened(front, event, now.timestamp()) for event in reversed(events[-EVENTS_SHOWN:])],
        events_total=len(events),
    )


def _events(engine: Engine, asked: PanelRequest) -> list[dict[str, Any]]:
    """Return what the log holds of a contact, linked visits included, or else of a visitor."""
    if asked.contact_id:
        (person,) = engine.log.people([asked.contact_id])
        return engine.log.of_person(person)
    return engine.log.tail([], 0, [asked.anonymous_id]) if asked.anonymous_id else []


def _looked_at(front: Storefront, events: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of each category in what a visitor looked at, put into the cart or bought."""
    rows = [front.catalogue.index.get(str(event["item_id"])) for event in events
            if event["event"] in ("product_viewed", "product_added", "order_completed")]  # fmt: skip
    seen = [str(front.catalogue.categories[row]) for row in rows if row is not None]
    return {path: seen.count(path) / len(seen) for path in dict.fromkeys(seen) if path}


def _happened(front: Storefront, event: dict[str, Any], now: float) -> Happened:
    row = front.catalogue.index.get(str(event["item_id"])) if event["item_id"] else None
    return Happened(
        event=event["event"],
        item=front.product(row)["name"] if row is not None else None,
        item_id=event["item_id"],
        seconds_ago=max(now - event["timestamp"].timestamp(), 0.0),
    )


async def _contacts(http: Http) -> list[Offered]:
    """Return the contacts one may log in as; chosen once."""
    state = http.app.state
    if getattr(state, "demo_contacts", None) is None:
        state.demo_contacts = await to_thread.run_sync(_choose, http.app.state.engine)
    found: list[Offered] = state.demo_contacts
    return found


def _choose(engine: Engine) -> list[Offered]:
    """Return a few contacts as different as can be found among some that lie evenly over all."""
    table = table_path(engine.settings, "contact_lists")
    ids = (
        sorted(pq.read_table(table, columns=["contact_id"])["contact_id"].to_pylist())
        if table.exists()
        else []
    )
    sample = ids[:: max(len(ids) // CARDS_LOOKED_AT, 1)]
    found = (engine.answers.contact_card(one, engine.now(), whole=False) for one in sample)
    cards = [card for card in found if card]
    kinds: dict[tuple[str | None, str], ContactCard] = {}
    for card in sorted(cards, key=lambda card: -card.engagement.orders):
        kinds.setdefault((card.segment.name if card.segment else None, card.stage), card)
    chosen = [*kinds.values(), *(card for card in cards if card not in kinds.values())][:CONTACTS_OFFERED]
    return [
        Offered(
            contact_id=card.contact_id, segment=card.segment.name if card.segment else None, stage=card.stage,
            orders=card.engagement.orders,
            categories=[category_name(a.category) for a in card.affinities[:3]],
        )
        for card in chosen
    ]  # fmt: skip


def _open(engine: Engine, http: Http) -> None:
    """Raise Refused: 404 where there is no shop, 403 for pages of other origins, 429 for too many calls."""
    if not (engine.access.open or engine.settings.demo_shop):
        raise Refused(404, "not_found", "there is no demo shop here; NEXTBEST_DEMO_SHOP=true opens one")
    engine.access.admit(Right.NONE, http)
    sharing(engine.access, http.headers)


async def _front(http: Http) -> Storefront:
    """Return what the shop sells now. Raises Refused(503) while there is no catalogue."""
    state = http.app.state
    catalogue = state.engine.shelf.catalogue()
    if catalogue is None:
        raise Refused(503, "no_catalogue", "there are no items yet; run: nextbest demo")
    held: Storefront | None = getattr(state, "demo_front", None)
    if held is None or held.catalogue is not catalogue:
        held = state.demo_front = await to_thread.run_sync(Storefront.of, catalogue)
    return held


def _number(text: str, most: int) -> int:
    if not text.isdecimal() or int(text) > most:
        raise Refused(
            400, "invalid_request", f"'start' and 'count' are numbers from 0 to {most}, not '{text[:20]}'"
        )
    return int(text)


def _json(handle: Callable[[Engine, Http], Awaitable[BaseModel]]) -> Respond:
    async def respond(engine: Engine, http: Http) -> Response:
        return json_response(await handle(engine, http), headers={"cache-control": "no-store"})

    return respond


SHELF = (404, 503)
SERVED: tuple[tuple[Call, Respond], ...] = (
    (Call("GET", "/nextbest.js", "The script for the pages of a shop.", "text/javascript"), script),
    (Call("GET", "/demo/assets/{name}", "A file of the demo shop.", "text/plain", also=(404,)), file),
    (Call("GET", "/demo/config", "What the demo shop begins with.", DemoShop, also=SHELF), _json(config)),
    (Call("GET", "/demo/contacts", "Who one may log in as.", Contacts, also=(404,)), _json(contacts)),
    (Call("GET", "/demo/products", "Products by ids, or by category, q, start and count.", Products,
          also=(400, *SHELF)), _json(products)),
    (Call("POST", "/demo/log-in", "Be one of the demo shop's contacts.", LoggedIn, LogInRequest, limit=BODY,
          also=(403, 404)), _json(log_in)),
    (Call("POST", "/demo/panel", "What the service knows of who is in the demo shop.", Panel, PanelRequest,
          limit=BODY, also=(403, *SHELF)), _json(panel)),
    (Call("GET", "/demo", "The demo shop, where it is open.", "text/html", also=(404,)), shell),
    (Call("GET", "/demo/{page:path}", "A page of the demo shop.", "text/html", also=(404,)), shell),
)  # fmt: skip
CALLS = [call for call, _ in SERVED]
ROUTES = [route(call, respond) for call, respond in SERVED]
