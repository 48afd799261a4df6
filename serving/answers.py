"""Every answer of the service: features -> model -> fallback. Plain Python; `now` is passed in."""

import math
from datetime import datetime

from features.points import Rules as PointRules
from models.base import Rule
from serving.budget import Skipped
from serving.card import Cards
from serving.card_schemas import ContactCard
from serving.decisions import new_id
from serving.parts import Parts
from serving.predict import PredictionLadders
from serving.reach import ChannelLadder
from serving.recommend import MODEL_FAILED, RecommendationLadder, log
from serving.schemas import (
    AsOf,
    AssociationRule,
    BestChannel,
    BestChannelRequest,
    BoughtTogether,
    BoughtTogetherRequest,
    Evidence,
    Predictions,
    PredictionsRequest,
    Recommendations,
    RecommendationsRequest,
)


class Answers:
    """The ladders of the four questions behind one door."""

    def __init__(self, parts: Parts, points: PointRules) -> None:
        self._parts = parts
        self._recommendations = RecommendationLadder(parts)
        self._predictions = PredictionLadders(parts)
        self._channels = ChannelLadder(parts)
        self._cards = Cards(parts, self._predictions, self._channels, points)

    def recommendations(self, asked: RecommendationsRequest, now: datetime) -> Recommendations:
        """Rank items for somebody at a placement."""
        return self._recommendations.answer(asked, now)

    def rank_ahead(self, contact_id: str, now: datetime) -> None:
        """Make a contact's ranking ready before it is asked for."""
        self._recommendations.rank_ahead(contact_id, now)

    def best_channel(self, asked: BestChannelRequest, now: datetime) -> BestChannel:
        """Choose the channel of each contact."""
        return self._channels.answer(asked, now)

    def predictions(self, asked: PredictionsRequest, now: datetime) -> Predictions:
        """Predict what each contact will do."""
        return self._predictions.answer(asked, now)

    def contact_card(self, contact_id: str, now: datetime, whole: bool = True) -> ContactCard | None:
        """Return what is known of a contact; None for nothing. whole: as serving.card.Cards.card has it."""
        return self._cards.card(contact_id, now, whole)

    def bought_together(self, asked: BoughtTogetherRequest, now: datetime) -> BoughtTogether:
        """Return rules with their evidence; none where there is no basket model: nothing else has any."""
        rules: list[AssociationRule] = []
        version: str | None = None
        fallback: str | None = None
        try:
            loaded = self._parts.champion("basket")
            found = self._parts.deadline().run(
                "bought-together", lambda: loaded.model.bought_together(asked.item_ids, 2 * asked.k)
            )
            shown = [rule for rule in found if self._parts.shelf.may_show(rule.consequent)]
            title = self._parts.shelf.title
            rules = [_rule(rule, title(rule.consequent)) for rule in shown[: asked.k]]
            version = loaded.version
        except Skipped as skipped:
            fallback = skipped.reason
        except Exception:
            log.exception("bought-together failed")
            fallback = MODEL_FAILED
        source = "basket" if fallback is None else "none"
        decision_id = new_id()
        self._parts.record(
            decision_id=decision_id, timestamp=now, kind="bought_together", contact_id=None,
            anonymous_id=None, placement="bought_together", campaign_id=None, source=source,
            model_version=version, fallback=fallback, explore=False,
            shown=[[rule.consequent, 1.0, source] for rule in rules],
        )  # fmt: skip
        return BoughtTogether(
            recommendation_id=decision_id, rules=rules, source=source, model_version=version,
            fallback=fallback, as_of=AsOf(moment=now, position=0),
        )  # fmt: skip


def _rule(rule: Rule, title: str | None) -> AssociationRule:
    return AssociationRule(
        antecedent=list(rule.antecedent),
        consequent=rule.consequent,
        title=title,
        support=rule.support,
        confidence=rule.confidence,
        lift=rule.lift,
        leverage=rule.leverage,
        conviction=rule.conviction if math.isfinite(rule.conviction) else None,
        p_value=rule.p_value,
        q_value=rule.q_value,
        evidence=Evidence(
            baskets=rule.baskets,
            antecedent_baskets=rule.antecedent_baskets,
            consequent_baskets=rule.consequent_baskets,
            total_baskets=rule.total_baskets,
        ),
    )
