"""Reading a body: bounded as it comes in and, where it is compressed, as it is inflated."""

import zlib

from starlette.requests import ClientDisconnect
from starlette.requests import Request as Http

from serving.refused import Refused

GZIP_MAGIC = b"\x1f\x8b"
AS_IS = ("", "identity")


async def read_body(http: Http, limit: int) -> bytes:
    """Return the body, inflated. Raises Refused(413) as soon as it is longer than the limit, in either form.

    Refused(400) for a damaged one, Refused(415) for an encoding other than gzip.
    """
    try:
        if int(http.headers.get("content-length", 0)) > limit:
            raise _too_big(limit)
    except ValueError:
        raise Refused(400, "invalid_request", "content-length is not a number") from None
    body, more = await _received(http)
    if more:  # most bodies are one message, which is not copied
        whole = bytearray(body)
        while more and len(whole) <= limit:
            chunk, more = await _received(http)
            whole += chunk
        body = bytes(whole)
    if len(body) > limit:
        raise _too_big(limit)
    return inflate(body, http.headers.get("content-encoding", ""), limit)


async def _received(http: Http) -> tuple[bytes, bool]:
    """Return the next part of a body, and whether there are more."""
    message = await http.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what a gzip body holds, at most `limit` bytes; any other body as it is.

    Gzip is known by its first bytes, for some SDKs do not say so, or by content-encoding. Raises Refused.
    """
    encoding = encoding.strip().lower()
    if not body or not (body.startswith(GZIP_MAGIC) or encoding in ("gzip", "x-gzip")):
        if encoding not in AS_IS and body:
            raise Refused(415, "unknown_encoding", "send the body as it is or with content-encoding: gzip")
        return body
    found = bytearray()
    rest = body
    try:
        while rest:  # a gzip file may be several, one after the other
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            found += member.decompress(rest, limit + 1 - len(found))
            if len(found) > limit:
                raise _too_big(limit)
            if not member.eof:
                raise Refused(400, "malformed_gzip", "the body is gzip but ends too early")
            rest = member.unused_data
    except zlib.error as error:
        raise Refused(400, "malformed_gzip", f"the body is not gzip: {error}") from None
    return bytes(found)


def _too_big(limit: int) -> Refused:
    return Refused(413, "too_big", f"the body is bigger than {limit // 1024} KB; send smaller parts")
