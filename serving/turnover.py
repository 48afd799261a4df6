"""Connections change hands between workers, so that none is left with most of them."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVERY = 100
"""Answers of a worker after which one asks its caller to connect anew."""


class Turnover:
    """ASGI middleware: every so often an answer says `connection: close`.

    Workers accept from one socket, and whoever wakes first takes all that waits; a proxy or a campaign system
    that then keeps its few connections open can have one worker do all its work while the other rests. A
    busy worker answers more, so it loses more connections, and an idle one is the first to accept.
    """

    def __init__(self, app: ASGIApp, every: int = EVERY) -> None:
        self._app, self._every, self._answers = app, every, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count."""
        self._answers += 1
        if scope["type"] != "http" or self._answers % self._every:
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, closing)
