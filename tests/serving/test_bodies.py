"""Bodies: gzip by header or first bytes, bounded in both forms."""

import gzip

import pytest

from serving.bodies import inflate
from serving.refused import Refused

TEXT = b'{"contact_id": "c1"}'
LIMIT = 1000


@pytest.mark.parametrize(
    ("body", "encoding", "read"),
    [
        (TEXT, "", TEXT),
        (TEXT, "identity", TEXT),
        (b"", "gzip", b""),
        (b"", "br", b""),
        (gzip.compress(TEXT, mtime=0), "gzip", TEXT),
        (gzip.compress(TEXT, mtime=0), "GZIP ", TEXT),
        (gzip.compress(TEXT, mtime=0), "", TEXT),  # as one SDK sends it, for a form
        (gzip.compress(TEXT[:9], mtime=0) + gzip.compress(TEXT[9:], mtime=0), "gzip", TEXT),
        (gzip.compress(b"x" * LIMIT, mtime=0), "gzip", b"x" * LIMIT),
    ],
)
def test_what_is_read(body: bytes, encoding: str, read: bytes) -> None:
    assert inflate(body, encoding, LIMIT) == read


@pytest.mark.parametrize(
    ("body", "encoding", "status", "says"),
    [
        (gzip.compress(b"x" * (LIMIT + 1), mtime=0), "", 413, "bigger"),
        (gzip.compress(b"\0" * 50_000_000, mtime=0), "gzip", 413, "bigger"),
        (gzip.compress(b"x" * LIMIT, mtime=0) + gzip.compress(b"x", mtime=0), "", 413, "bigger"),
        (gzip.compress(TEXT, mtime=0)[:-9], "gzip", 400, "too early"),
        (gzip.compress(TEXT, mtime=0) + b"rest", "", 400, "not gzip"),
        (TEXT, "gzip", 400, "not gzip"),
        (b"\x1f\x8b" + TEXT, "", 400, "not gzip"),
        (TEXT, "br", 415, "gzip"),
        (TEXT, "deflate", 415, "gzip"),
    ],
)
def test_what_is_refused(body: bytes, encoding: str, status: int, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        inflate(body, encoding, LIMIT)
    assert refused.value.status == status
