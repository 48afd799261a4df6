"""Names of tracked events, as senders write them, to canonical ones."""

import re
import unicodedata
from functools import lru_cache

ALIASES = {
    # Google Analytics 4
    "view_item": "product_viewed",
    "select_item": "product_clicked",
    "view_item_list": "product_list_viewed",
    "add_to_cart": "product_added",
    "remove_from_cart": "product_removed",
    "view_cart": "cart_viewed",
    "begin_checkout": "checkout_started",
    "add_shipping_info": "checkout_step_completed",
    "add_payment_info": "payment_info_entered",
    "purchase": "order_completed",
    "refund": "order_refunded",
    "search": "products_searched",
    "view_search_results": "products_searched",
    "page_view": "page_viewed",
    "screen_view": "page_viewed",
    "add_to_wishlist": "product_added_to_wishlist",
    "view_promotion": "promotion_viewed",
    "select_promotion": "promotion_clicked",
    "form_submit": "form_submitted",
    "generate_lead": "form_submitted",
    # Segment's e-commerce spec before version 2
    "viewed_product": "product_viewed",
    "clicked_product": "product_clicked",
    "viewed_product_category": "product_list_viewed",
    "added_product": "product_added",
    "removed_product": "product_removed",
    "viewed_cart": "cart_viewed",
    "started_checkout": "checkout_started",
    "started_order": "checkout_started",
    "completed_order": "order_completed",
    "refunded_order": "order_refunded",
    "searched_products": "products_searched",
    # what some call the same
    "loaded_a_page": "page_viewed",
    "viewed_page": "page_viewed",
    "screen_viewed": "page_viewed",
    "submitted_form": "form_submitted",
    "unsubscribe": "unsubscribed",
    "subscribe": "subscribed",
}
CHANNELS = {
    "email": "email",
    "sms": "sms",
    "text_message": "sms",
    "push_notification": "mobile_push",
    "push": "mobile_push",
    "mobile_push": "mobile_push",
    "mobile_push_notification": "mobile_push",
    "web_push": "web_push",
    "web_push_notification": "web_push",
}
"""What a message event's name begins with -> its channel."""
MESSAGES = {
    "sent": "message_sent",
    "delivered": "message_delivered",
    "received": "message_delivered",
    "opened": "message_opened",
    "clicked": "message_clicked",
    "link_clicked": "message_clicked",
    "tapped": "message_clicked",
    "bounced": "message_bounced",
    "failed": "message_bounced",
    "undelivered": "message_bounced",
    "marked_as_spam": "unsubscribed",
    "unsubscribed": "unsubscribed",
    "opted_out": "unsubscribed",
    "subscribed": "subscribed",
    "opted_in": "subscribed",
}
"""What it ends with -> the event. A complaint of spam withdraws consent like an unsubscription."""
_SAID_OF_EMAIL = ("unsubscribed", "subscribed")
"""Names of the e-mail spec that do not say so."""


@lru_cache(10_000)
def canonical(name: str) -> tuple[str, str | None]:
    """Return the canonical event and the channel its name tells of; the event is "" where no letter is left.

    "Order Completed", "orderCompleted" and "purchase" are all order_completed; "Email Link Clicked" is
    message_clicked of email. Unknown names stay, in snake_case.
    """
    snake = snake_case(name)
    snake = ALIASES.get(snake, snake)
    for prefix, channel in CHANNELS.items():
        if snake.startswith(f"{prefix}_") and (event := MESSAGES.get(snake[len(prefix) + 1 :])):
            return event, channel
    return snake, "email" if snake in _SAID_OF_EMAIL else None


@lru_cache(10_000)
def snake_case(name: str) -> str:
    """Return a name in lower case with underscores: accents fall off, other signs separate words."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", plain)
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    return f"event_{snake}" if snake[:1].isdigit() else snake
