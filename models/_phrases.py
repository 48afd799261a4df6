"""What a feature and its value mean, in words a marketer would use."""

import math

from nextbest.columns import COUNTERS, HALF_LIVES, POINTS

WORDS = {
    "recency_days": "last order {:.0f} days ago",
    "tenure_days": "customer for {:.0f} days",
    "seen_days": "last seen {:.0f} days ago",
    "viewed_days": "last looked at an item {:.0f} days ago",
    "order_gap_days": "orders every {:.0f} days on average",
    "recency_over_gap": "{:.1f} times the usual gap since the last order",
    "average_order": "an order is worth {:.2f} on average",
    "lines_per_order": "{:.1f} lines an order",
    "orders_trend": "recent orders at {:.2f} of the long-run pace",
    "spend_trend": "recent spend at {:.2f} of the long-run pace",
    "open_rate_90d": "opens {:.0%} of messages",
    "click_rate_90d": "clicks {:.0%} of messages",
    "p_alive": "{:.0%} likely to be still a customer, by the pattern of its orders",
    "p_no_order": "{:.0%} likely to order nothing, by the pattern of its orders",
    "expected_orders": "{:.1f} orders expected, by the pattern of its orders",
    "r": "recency class {:.0f} of 5",
    "f": "frequency class {:.0f} of 5",
    "m": "spend class {:.0f} of 5",
    "rule_score": "rule score {:.0f}",
    "horizon_days": "looked at for {:.0f} days",
    "horizon_over_gap": "looked at for {:.1f} of its usual gaps between orders",
    **{
        f"{counter}_pace_{days}d": f"{counter} of about {days} days at {{:.2f}} times what was expected"
        for counter in ("orders", "spend")
        for days in HALF_LIVES
    },
}
COUNTED = {
    "orders": "orders",
    "lines": "order lines",
    "spend": "spend",
    "refunds": "refunds",
    "views": "items viewed",
    "pages": "pages viewed",
    "carts": "items put in the cart",
    "searches": "searches",
    "forms": "forms sent",
    "sent": "messages received",
    "opens": "messages opened",
    "clicks": "messages clicked",
    POINTS: "rule points",
}
assert COUNTED.keys() == {*COUNTERS, POINTS}  # noqa: S101 — a new counter needs its word here
SPANS = {f"{days}d": f", counted over about {days} days" for days in HALF_LIVES} | {"total": " in all"}


def phrase(feature: str, value: float) -> str:
    """Return the feature and its value in words; an unknown feature by its name."""
    if math.isnan(value):
        return f"{_name(feature)}: unknown"
    if feature in WORDS:
        return WORDS[feature].format(value)
    return f"{_name(feature)}: {value:.1f}"


def _name(feature: str) -> str:
    counter, _, span = feature.rpartition("_")
    if counter in COUNTED and span in SPANS:
        return f"{COUNTED[counter]}{SPANS[span]}"
    return feature.replace("_", " ")
