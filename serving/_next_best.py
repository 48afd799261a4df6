"""What to do next about a contact, and what it is worth: for a person to read, so nothing is logged of it."""

from dataclasses import replace
from datetime import datetime

from serving.card_schemas import NextBest, NextChannel, NextProducts, Worth
from serving.parts import Parts
from serving.reach import ChannelLadder
from serving.recommend import RecommendationLadder, log
from serving.schemas import BestChannelRequest, Prediction, RecommendationsRequest

PRODUCTS = 3
DAYS = 90


class NextBests:
    """Asks the ladders of products and channels; each part by itself, null where it cannot be had."""

    def __init__(self, parts: Parts) -> None:
        # a person waits longer than a page does, and decides nothing by looking
        settings = parts.settings.model_copy(update={"budget_ms": parts.settings.campaign_budget_ms})
        quiet = replace(parts, settings=settings, put_decision=lambda _: None)
        self._recommendations, self._channels = RecommendationLadder(quiet), ChannelLadder(quiet)

    def of(self, contact_id: str, now: datetime) -> NextBest:
        """Return the next best product, channel and time."""
        return NextBest(product=self._product(contact_id, now), channel=self._channel(contact_id, now))

    def _product(self, contact_id: str, now: datetime) -> NextProducts | None:
        asked = RecommendationsRequest(contact_id=contact_id, k=PRODUCTS)
        try:
            given = self._recommendations.answer(asked, now)
        except Exception:
            log.exception("a card shows no products")
            return None
        return NextProducts(
            items=given.items, horizon_days=given.horizon_days, source=given.source,
            model_version=given.model_version, fallback=given.fallback, as_of=given.as_of,
        )  # fmt: skip

    def _channel(self, contact_id: str, now: datetime) -> NextChannel | None:
        try:
            (given,) = self._channels.answer(BestChannelRequest(contact_ids=[contact_id]), now).contacts
        except Exception:
            log.exception("a card shows no channel")
            return None
        return NextChannel(
            best=given.best, send_at=given.send_at, channels=given.channels, value_from=given.value_from,
            source=given.source, model_version=given.model_version, fallback=given.fallback,
            as_of=given.as_of,
        )  # fmt: skip


def worth(predictions: dict[str, Prediction]) -> Worth | None:
    """Return what is at risk; None where churn has no probability or the coming spend is unknown."""
    churn, value = predictions.get("churn"), predictions.get("value")
    ahead = next((one for one in value.ahead if one.days == DAYS), None) if value else None
    if churn is None or churn.probability is None or ahead is None or ahead.spend is None:
        return None
    at_risk = ahead.spend * churn.probability
    says = (
        f"{at_risk:,.2f} of the {ahead.spend:,.2f} expected in the next {DAYS} days is at risk: "
        f"no order within {churn.horizon_days} days has a probability of {churn.probability:.1%}."
    )
    return Worth(
        at_risk=at_risk, expected=ahead.spend, days=DAYS, probability=churn.probability,
        horizon_days=churn.horizon_days, says=says,
    )  # fmt: skip
