"""Now and then a caller is asked to connect anew, and gets the same answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from serving.turnover import Turnover


def test_every_so_often_an_answer_closes_its_connection() -> None:
    async def answer(http: Request) -> Response:
        return PlainTextResponse("here", headers={"x-own": "kept"})

    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(Turnover, every=3)])

    async def asked() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            return [await client.get("/") for _ in range(7)]

    with ThreadPoolExecutor(1) as apart:  # whatever loop another test left behind in this thread
        answers = apart.submit(asyncio.run, asked()).result()
    assert [one.headers.get("connection") for one in answers] == [None, None, "close"] * 2 + [None]
    assert {(one.text, one.headers["x-own"]) for one in answers} == {("here", "kept")}
