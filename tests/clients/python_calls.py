"""What both Python SDKs are asked to send: their clients are called alike."""

import sys
from collections.abc import Callable
from typing import Any

PRODUCTS = [
    {"product_id": "p1", "price": 2.5, "quantity": 2},
    {"product_id": "p2", "price": 1, "quantity": 1},
]
TRAITS = {"email": "ann@b.org", "plan": "gold", "consent_email": True}


def send(client_of: Callable[..., Any], **options: Any) -> None:
    """Send everything to the host, with the key, of the command line; exits with how much failed."""
    failed: list[object] = []
    host, key = sys.argv[1:]
    client = client_of(
        key, host=host, on_error=lambda error, items: failed.append(error), max_retries=2, **options
    )
    client.identify("ann", anonymous_id="v", traits=TRAITS)
    client.track(anonymous_id="v", event="Product Viewed", properties={"product_id": "p1"})
    client.track("ann", "Order Completed", {"order_id": "o1", "currency": "EUR", "products": PRODUCTS})
    client.page("ann", name="Home", properties={"url": "https://shop.example/"})
    client.screen("ann", name="Start")
    client.group("ann", "club")
    client.alias("old-ann", "ann")
    client.flush()
    client.join()
    sys.exit(len(failed))
