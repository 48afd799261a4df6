"""Sends what fired to webhooks: signed, at least once, in order of each contact, until taken or given up.

The form is Standard Webhooks' (https://www.standardwebhooks.com): `webhook-id` is the same at every attempt,
so that a receiver can tell what it has; `webhook-timestamp` is the attempt's, of the clock on the wall, since
receivers refuse what is old. Answers other than 2xx are failures, redirects too. Back-off is exponential with
jitter; `retry-after` holds the whole endpoint back. What is given up becomes a line of the dead-letter file,
which names the event by its id alone: nothing of the contact is in it.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic_core import to_json

from features.events.deliveries import Deliveries, Delivery
from nextbest.settings import Settings, Webhook
from serving.dead_letters import DeadLetters

log = logging.getLogger("nextbest.webhooks")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses whole, which may hold a password

TOGETHER = 32
"""Requests at one time to an endpoint that answers; one, while it does not."""
FIRST_SECONDS, FACTOR, LONGEST_SECONDS = 5.0, 4.0, 12 * 3600.0
"""The first pause, what each next one is longer by, and the longest."""
REST_SECONDS = 300.0
"""The longest rest of an endpoint that takes nothing, whatever is due."""
MOST_SECONDS = 24 * 3600.0
"""The longest `retry-after` that is heeded."""
ANSWER_BYTES = 64 * 1024
GONE = 410
BUSY = (429, 503)


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: a status, or what failed before there was one."""

    status: int | None
    said: str = ""
    retry_after: float = 0.0
    """Seconds the endpoint asks to be left alone; 0: it did not say."""

    @property
    def taken(self) -> bool:
        """Whether the endpoint has it."""
        return self.status is not None and 200 <= self.status < 300


class Courier:
    """Delivers to one webhook. `wall` is the clock of the network, not the moment taken for the present."""

    def __init__(
        self, webhook: Webhook, deliveries: Deliveries, settings: Settings, wall: Callable[[], float]
    ) -> None:
        self._webhook, self._deliveries, self._wall = webhook, deliveries, wall
        self._attempts, self._timeout = settings.webhook_attempts, settings.webhook_timeout_seconds
        self._dead_letters = DeadLetters(settings.dead_letters)
        self._tls = httpx.create_ssl_context()
        self._host = urlsplit(webhook.url).hostname
        self._resting_until = 0.0
        self._failed: set[int] = set()  # positions, since one was taken
        self._rounds = 0

    def once(self) -> int:
        """Send what is due, at most TOGETHER; returns how many attempts were made."""
        now = self._wall()
        if now < self._resting_until:
            return 0
        held_until = _micros(now + self._timeout + 60)
        most = 1 if self._failed else TOGETHER
        batch = self._deliveries.take(self._webhook.key, _micros(now), held_until, most)
        if batch:
            self._settle(batch, asyncio.run(self._send_all(batch)))
        return len(batch)

    async def _send_all(self, batch: Sequence[Delivery]) -> list[Outcome]:
        limits = httpx.Timeout(self._timeout)
        async with httpx.AsyncClient(verify=self._tls, timeout=limits, follow_redirects=False) as client:
            return await asyncio.gather(*(self._send(client, delivery) for delivery in batch))

    async def _send(self, client: httpx.AsyncClient, delivery: Delivery) -> Outcome:
        body = body_of(delivery.event)
        headers = signed(self._webhook, delivery.event["id"], int(self._wall()), body)
        try:
            async with (
                asyncio.timeout(self._timeout),  # httpx's own is for each step
                client.stream("POST", self._webhook.url, content=body, headers=headers) as answer,
            ):
                await _read_some(answer)
                return Outcome(answer.status_code, "", self._retry_after(answer))
        except Exception as error:  # whatever it is, it must not cost the others
            return Outcome(None, type(error).__name__)

    def _retry_after(self, answer: httpx.Response) -> float:
        said = answer.headers.get("retry-after", "").strip()
        try:
            seconds = (
                float(said) if said.isdigit() else parsedate_to_datetime(said).timestamp() - self._wall()
            )
        except (ValueError, OverflowError):
            return 0.0
        return min(max(seconds, 0.0), MOST_SECONDS)

    def _settle(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> None:
        delivered, dead, later = [], [], {}
        for delivery, outcome in zip(batch, outcomes, strict=True):
            if outcome.taken:
                delivered.append(delivery.position)
            elif outcome.status == GONE or delivery.attempts >= self._attempts:
                dead.append(delivery.position)
                self._give_up(delivery, outcome)
            else:
                pause = max(pause_after(delivery.attempts), outcome.retry_after)
                later[delivery.position] = _micros(self._wall() + pause)
            if outcome.status in BUSY:
                self._resting_until = max(self._resting_until, self._wall() + outcome.retry_after)
        self._deliveries.settle(self._webhook.key, delivered, dead, later)
        self._note(bool(delivered), [*dead, *later], outcomes[0])

    def _give_up(self, delivery: Delivery, outcome: Outcome) -> None:
        """Write it down before it is taken out: killed in between, it is written twice."""
        line = {
            "id": delivery.event["id"], "position": delivery.position, "rule": delivery.event["rule"],
            "endpoint": self._webhook.key, "host": self._host, "attempts": delivery.attempts,
            "status": outcome.status, "error": outcome.said, "at": int(self._wall()),
        }  # fmt: skip
        self._dead_letters.add(line)
        log.error("a webhook was given up", extra=line)

    def _note(self, works: bool, failed: Sequence[int], first: Outcome) -> None:
        """Rest after a round in which nothing was taken; say once that the endpoint has stopped, or is back.

        One event alone may be what the endpoint cannot take; that rests by itself.
        """
        if works:
            if self._failed:
                log.info("the webhook at %s takes events again", self._host)
            self._failed.clear()
            self._rounds = 0
            return
        if not self._failed:
            why = first.said or f"status {first.status}"
            log.warning("the webhook at %s does not take events (%s); they are sent again", self._host, why)
        self._failed.update(failed)
        if len(self._failed) > 1:
            self._rounds += 1
            rest = min(pause_after(self._rounds), REST_SECONDS)
            self._resting_until = max(self._resting_until, self._wall() + rest)


def body_of(event: dict[str, Any]) -> bytes:
    """Return the request's body, the same bytes at every attempt: `type`, `timestamp`, `data`."""
    data = {name: value for name, value in event.items() if name != "timestamp"}
    return to_json({"type": f"trigger.{event['rule']}", "timestamp": event["timestamp"], "data": data})


def signed(webhook: Webhook, id_: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message sent at a moment (epoch seconds), signature included."""
    content = f"{id_}.{at}.".encode() + body
    digest = hmac.new(_key(webhook.secret.get_secret_value()), content, hashlib.sha256).digest()
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "content-type": "application/json",
        "user-agent": _AGENT,
    }


def pause_after(attempts: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after so many attempts: the back-off, or down to half of it by chance.

    Ten attempts take about a day.
    """
    whole = min(FIRST_SECONDS * FACTOR ** (attempts - 1), LONGEST_SECONDS)
    return whole * (0.5 + 0.5 * chance())


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()


async def _read_some(answer: httpx.Response) -> None:
    """Read a short answer to its end, so that the connection can be used again, and no more of a long one."""
    read = 0
    async for chunk in answer.aiter_raw():
        read += len(chunk)
        if read > ANSWER_BYTES:
            return


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _agent() -> str:
    try:
        return f"nextbest/{installed('nextbest')}"
    except PackageNotFoundError:
        return "nextbest"


_AGENT = _agent()
