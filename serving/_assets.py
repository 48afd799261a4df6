"""Files served to browsers: read once, compressed once, with an ETag each."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request as Http
from starlette.responses import Response

FOLDER = Path(__file__).resolve().parent / "static"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}

PAGE_POLICY = "; ".join(
    [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
        "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)  # fmt: skip
"""Of pages that load nothing but our own files, and run no script that stands in them."""


@dataclass(frozen=True)
class Asset:
    """One file as it goes over the wire."""

    body: bytes
    zipped: bytes
    etag: str
    media_type: str


@cache
def asset(name: str) -> Asset:
    """Return a file of serving/static by its path below it; nextbest.js without comments and indentation."""
    path = FOLDER / name
    body = path.read_bytes()
    if name == "nextbest.js":
        body = compact(body.decode()).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return Asset(body, gzip.compress(body, 9, mtime=0), etag, TYPES[path.suffix])


def compact(source: str) -> str:
    """Return a script without indentation, blank lines and lines that are comments."""
    lines = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


def send(http: Http, name: str, seconds: int, headers: dict[str, str] | None = None) -> Response:
    """Answer with a file, which browsers may keep so many seconds and then ask about by its ETag."""
    held = asset(name)
    shown = {
        "etag": held.etag,
        "cache-control": f"public, max-age={seconds}" if seconds else "no-cache",
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        **(headers or {}),
    }
    if http.headers.get("if-none-match") == held.etag:
        return Response(status_code=304, headers=shown)
    if "gzip" in http.headers.get("accept-encoding", ""):
        return Response(
            held.zipped, headers={**shown, "content-encoding": "gzip"}, media_type=held.media_type
        )
    return Response(held.body, headers=shown, media_type=held.media_type)
