"""Every column name that crosses a package border, in one place.

Timestamps of events are UTC with microseconds; times inside feature rows are epoch seconds as float64,
NaN where the thing never happened.
"""

# --- events: one flat row per thing that happened; an order is one row per line with the same order_id
EVENT_ID = "event_id"
EVENT = "event"
TIMESTAMP = "timestamp"
RECEIVED_AT = "received_at"
CONTACT_ID = "contact_id"
ANONYMOUS_ID = "anonymous_id"
ITEM_ID = "item_id"
ORDER_ID = "order_id"
QUANTITY = "quantity"
PRICE = "price"
CURRENCY = "currency"
CHANNEL = "channel"
CAMPAIGN_ID = "campaign_id"
MESSAGE_ID = "message_id"
URL = "url"
PROPERTIES = "properties"

EVENT_COLUMNS = (
    EVENT_ID, EVENT, TIMESTAMP, RECEIVED_AT, CONTACT_ID, ANONYMOUS_ID, ITEM_ID, ORDER_ID,
    QUANTITY, PRICE, CURRENCY, CHANNEL, CAMPAIGN_ID, MESSAGE_ID, URL, PROPERTIES,
)  # fmt: skip

ITEM_COLUMNS = (
    "item_id", "title", "category", "brand", "price", "in_stock", "hidden", "repeatable", "image_url", "url",
)  # fmt: skip

ALIAS = "alias"
IDENTITY_COLUMNS = ("anonymous_id", "contact_id", "timestamp", ALIAS)
"""A link. `alias`: the anonymous_id may be a contact's earlier id, too, which then is the same person."""

CHANNELS = ("email", "sms", "web_push", "mobile_push", "ads", "phone", "post")
CONTACT_COLUMNS = (
    "contact_id", "created_at", "timezone", "traits",
    *(f"consent_{channel}" for channel in CHANNELS),
    *(f"reachable_{channel}" for channel in CHANNELS),
)  # fmt: skip

# --- event names (Segment's e-commerce and messaging specs in snake_case)
ORDER_COMPLETED = "order_completed"
ORDER_REFUNDED = "order_refunded"
MESSAGE_SENT = "message_sent"
DONE_TO_THEM = (MESSAGE_SENT, "message_delivered", "message_bounced")
"""Message events that do not tell that the contact was there."""
UNSUBSCRIBED, SUBSCRIBED = "unsubscribed", "subscribed"
PURCHASES = (ORDER_COMPLETED, ORDER_REFUNDED)
"""Every other event is a step: what a contact does, or is sent, between purchases."""

# --- decayed counters in a contact's row: {counter}_{half-life}d and {counter}_total
HALF_LIVES = (7, 30, 90, 365)
COUNTERS: dict[str, tuple[str, ...]] = {
    "orders": (ORDER_COMPLETED,),  # once an order, however many lines
    "lines": (ORDER_COMPLETED,),
    "spend": (ORDER_COMPLETED, ORDER_REFUNDED),  # price * quantity; a refund counts negative
    "refunds": (ORDER_REFUNDED,),
    "views": ("product_viewed", "product_clicked"),
    "pages": ("page_viewed",),
    "carts": ("product_added",),
    "searches": ("products_searched",),
    "forms": ("form_submitted",),
    "sent": (MESSAGE_SENT,),
    "opens": ("message_opened",),
    "clicks": ("message_clicked",),
}
"""Counter -> the events that add to it. Each event adds 1 except for `spend`."""

LOOKS = (
    *COUNTERS["views"], *COUNTERS["pages"], *COUNTERS["searches"], "cart_viewed", "recommendation_viewed",
    "recommendation_clicked",
)  # fmt: skip
"""Events that only tell what somebody looked at: no order, cart or message changes with them."""

POINTS = "points"
"""The rule score's counter: each event adds what the rules give it, to the half-life of the rule."""

COUNTER_COLUMNS = tuple(
    f"{counter}_{span}"
    for counter in (*COUNTERS, POINTS)
    for span in (*(f"{h}d" for h in HALF_LIVES), "total")
)

# --- times in a contact's row (epoch seconds)
LAST_TIMES: dict[str, tuple[str, ...] | None] = {
    "last_seen": None,  # any event
    "last_order": (ORDER_COMPLETED,),
    "last_view": ("product_viewed", "product_clicked"),
    "last_cart": ("product_added",),
    "last_sent": (MESSAGE_SENT,),
    "last_response": ("message_opened", "message_clicked"),
}
FIRST_TIMES: dict[str, tuple[str, ...] | None] = {"first_seen": None, "first_order": (ORDER_COMPLETED,)}
TIME_COLUMNS = (*FIRST_TIMES, *LAST_TIMES)

# --- arrays in a contact's row; each block is parallel arrays, cut to the length given
RECENT = 100
RECENT_COLUMNS = ("recent_items", "recent_times")  # bought, newest first, then by item_id
VIEWED = 50
VIEWED_COLUMNS = ("viewed_items", "viewed_times")  # looked at, newest first, then by item_id
CART = 50
CART_COLUMNS = ("cart_items", "cart_added", "cart_removed")
"""Put into the cart or taken out, when last (NaN: never); the one touched last first, then by item_id."""
CART_EVENTS = {"product_added": "cart_added", "product_removed": "cart_removed"}
REPEAT = 300
REPEAT_COLUMNS = (  # every item bought, heaviest repeat_90d first, then by item_id
    "repeat_items", "repeat_30d", "repeat_90d", "repeat_365d", "repeat_count", "repeat_first", "repeat_last",
)  # fmt: skip
CATEGORIES = 30
CATEGORY_COLUMNS = (
    "category_names",
    "category_90d",
    "category_last",
)  # bought in, heaviest first, then by name
CHANNEL_COLUMNS = (
    "channel_names", "channel_sent_7d", "channel_sent_90d", "channel_sent_total",
    "channel_opened_90d", "channel_opened_total", "channel_clicked_90d", "channel_clicked_total",
    "channel_last_sent", "channel_last_response",
)  # fmt: skip
STEPS = 20
STEP_COLUMNS = ("step_names", "step_categories", "step_times")
"""Steps: event, the item's category or "", when. Newest first, then by event and category; once a moment."""
ARRAY_COLUMNS = (
    *RECENT_COLUMNS, *VIEWED_COLUMNS, *CART_COLUMNS, *REPEAT_COLUMNS, *CATEGORY_COLUMNS,
    *CHANNEL_COLUMNS, *STEP_COLUMNS,
)  # fmt: skip

AS_OF = "as_of"
"""Position in the event log up to which a row has counted the events (0: the lake alone)."""

CATEGORY_DEPTH = 2
"""Affinities and "in category" look at this many levels of an item's category path ("a/b/c" -> "a/b")."""

# --- contact features derived at a moment (features.contacts.derive), beside the counters valued at it
DERIVED_COLUMNS = (
    "recency_days", "tenure_days", "seen_days", "viewed_days", "order_gap_days", "recency_over_gap",
    "average_order", "lines_per_order", "orders_trend", "spend_trend", "open_rate_90d", "click_rate_90d",
)  # fmt: skip
CONTACT_FEATURES = (*COUNTER_COLUMNS, *DERIVED_COLUMNS)
"""What a tabular model may read of a contact: float64, NaN where unknown."""

# --- item statistics at a moment (features.items), beside ITEM_COLUMNS
ITEM_STATISTICS = (
    "sold_7d", "sold_30d", "sold_90d", "sold_365d", "sold_total", "viewed_7d", "viewed_30d",
    "buyers", "repeat_buyers", "repurchase_rate", "cadence_days", "mean_price", "first_sold", "last_sold",
)  # fmt: skip
