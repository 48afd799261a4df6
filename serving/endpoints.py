"""What is asked of the service, call by call: who may, how big a body, and who says the answer."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request as Http

from features.errors import StoreUnavailable
from serving.access import Right
from serving.card_schemas import ContactCard
from serving.engine import Engine
from serving.export import ContactExport, export
from serving.openapi import Call
from serving.refused import Refused
from serving.schemas import (
    BestChannel,
    BestChannelRequest,
    BoughtTogether,
    BoughtTogetherRequest,
    Erased,
    Predictions,
    PredictionsRequest,
    Recommendations,
    RecommendationsRequest,
    TriggerEvent,
    Triggers,
    TriggersRequest,
)
from serving.segment_call import Segments, SegmentsRequest
from serving.segment_call import answer as segment_answer

log = logging.getLogger("nextbest.web")

PAGE_BYTES = 64 * 1024
CAMPAIGN_BYTES = 512 * 1024
IDENTITY_HEADER = "x-identity-token"

Handler = Callable[[Engine, Any, Http, Right], BaseModel]


@dataclass(frozen=True)
class Endpoint:
    """A call and what answers it; `aside`: in a helper thread, because it takes long."""

    call: Call
    handle: Handler
    aside: bool = False


def recommendations(engine: Engine, asked: RecommendationsRequest, http: Http, right: Right) -> BaseModel:
    """Rank items for a page."""
    token = asked.identity_token or http.headers.get(IDENTITY_HEADER)
    if asked.contact_id is not None:
        engine.access.identify(asked.contact_id, token, right)
    elif asked.anonymous_id is not None and engine.access.may_recognise(token, right):
        contact_id = _recognised(engine, asked.anonymous_id)
        if contact_id is not None and engine.access.is_theirs(contact_id, token, right):
            asked = asked.model_copy(update={"contact_id": contact_id})
    return engine.answers.recommendations(asked, engine.now())


def _recognised(engine: Engine, anonymous_id: str) -> str | None:
    """Return whose an anonymous id is; None, too, where the log cannot be read: then nobody is recognised."""
    try:
        return engine.contact_of(anonymous_id)
    except Exception as error:
        log.warning("nobody can be recognised: %s", error)
        return None


def bought_together(engine: Engine, asked: BoughtTogetherRequest, http: Http, right: Right) -> BaseModel:
    """Say what goes with a basket."""
    del http, right
    return engine.answers.bought_together(asked, engine.now())


def best_channel(engine: Engine, asked: BestChannelRequest, http: Http, right: Right) -> BaseModel:
    """Choose channels for contacts."""
    del http, right
    return engine.answers.best_channel(asked, engine.now())


def predictions(engine: Engine, asked: PredictionsRequest, http: Http, right: Right) -> BaseModel:
    """Predict for contacts."""
    del http, right
    return engine.answers.predictions(asked, engine.now())


def segments(engine: Engine, asked: SegmentsRequest, http: Http, right: Right) -> BaseModel:
    """Count whom an expression finds."""
    del http, right
    return segment_answer(engine.settings, asked, engine.now())


def contact_card(engine: Engine, asked: None, http: Http, right: Right) -> BaseModel:
    """Show a contact. Raises Refused(404) for one nothing is known of."""
    del asked, right
    card = engine.answers.contact_card(_contact_id(http), engine.now())
    if card is None:
        raise Refused(404, "unknown_contact", f"nothing is known of contact '{_contact_id(http)}'")
    return card


def export_contact(engine: Engine, asked: None, http: Http, right: Right) -> BaseModel:
    """Tell everything held of a person. Raises Refused(404) where that is nothing."""
    del asked, right
    found = export(engine, _contact_id(http), engine.now())
    if found is None:
        raise Refused(404, "unknown_contact", f"nothing is known of contact '{_contact_id(http)}'")
    return found


def triggers(engine: Engine, asked: TriggersRequest, http: Http, right: Right) -> BaseModel:
    """List what fired."""
    del http, right
    try:
        found, following = engine.triggers.page(asked.after, asked.limit, asked.rule)
    except SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        raise Refused(503, "log_unavailable", f"the event log cannot be read ({why}); ask again") from None
    return Triggers(triggers=[TriggerEvent(**event) for event in found], next=following)


def erase(engine: Engine, asked: None, http: Http, right: Right) -> BaseModel:
    """Erase a contact everywhere."""
    del asked, right
    contact_id = _contact_id(http)
    try:
        return Erased(contact_id=contact_id, erased=engine.erase(contact_id))
    except (SQLAlchemyError, StoreUnavailable) as error:
        log.exception("a contact could not be erased")
        why = str(error).splitlines()[0]
        said = f"the contact could not be erased everywhere ({why}); ask again"
        raise Refused(503, "not_erased", said, {"retry-after": "5"}) from None


def _contact_id(http: Http) -> str:
    contact_id = str(http.path_params["contact_id"])
    if not 1 <= len(contact_id) <= 200 or "\x00" in contact_id:
        raise Refused(400, "invalid_request", "a contact id has 1 to 200 characters")
    return contact_id


ENDPOINTS = (
    Endpoint(
        Call("POST", "/v1/recommendations", "What somebody will buy next.", Recommendations,
             RecommendationsRequest, Right.WRITE, PAGE_BYTES),
        recommendations,
    ),
    Endpoint(
        Call("POST", "/v1/bought-together", "What goes together in a basket.", BoughtTogether,
             BoughtTogetherRequest, Right.WRITE, PAGE_BYTES),
        bought_together,
    ),
    Endpoint(
        Call("POST", "/v1/best-channel", "Which channel reaches each contact, and when.", BestChannel,
             BestChannelRequest, Right.SECRET, CAMPAIGN_BYTES),
        best_channel, aside=True,
    ),
    Endpoint(
        Call("POST", "/v1/predictions", "Churn, value and next order of each contact.", Predictions,
             PredictionsRequest, Right.SECRET, CAMPAIGN_BYTES),
        predictions, aside=True,
    ),
    Endpoint(
        Call("POST", "/v1/segments", "Whom an expression finds: how many, and who.", Segments,
             SegmentsRequest, Right.SECRET, CAMPAIGN_BYTES, also=(503,)),
        segments, aside=True,
    ),
    Endpoint(  # before the card, whose path would take it
        Call("GET", "/v1/contacts/{contact_id:path}/export", "Everything held of a person.", ContactExport,
             right=Right.SECRET, also=(400, 404)),
        export_contact, aside=True,
    ),
    Endpoint(
        Call("GET", "/v1/contacts/{contact_id:path}", "The contact card.", ContactCard, right=Right.SECRET,
             also=(400, 404)),
        contact_card, aside=True,
    ),
    Endpoint(
        Call("DELETE", "/v1/contacts/{contact_id:path}", "Erase a contact.", Erased, right=Right.SECRET,
             also=(400, 503)),
        erase, aside=True,
    ),
    Endpoint(
        Call("GET", "/v1/triggers", "What fired, in order.", Triggers, right=Right.SECRET, also=(503,),
             query=TriggersRequest),
        triggers, aside=True,
    ),
)  # fmt: skip
