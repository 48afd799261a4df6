"""Who may ask what, as a table."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.access import Access, Right, check_binding, is_loopback, presented_key
from serving.refused import Refused

WRITE, SECRET = "write-1", "sécret-2"


def settings(tmp_path: Path, **values: object) -> Settings:
    return Settings(home=tmp_path, **values)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(settings(tmp_path, write_key=WRITE, secret_key=SECRET))


def asking(
    headers: dict[str, str] | None = None, query: str = "", address: str = "192.0.2.7"
) -> HTTPConnection:
    raw = [
        (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in (headers or {}).items()
    ]
    return HTTPConnection(
        {"type": "http", "headers": raw, "query_string": query.encode(), "client": (address, 1)}
    )


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "needed", "expected"),
    [
        (basic(WRITE), Right.WRITE, Right.WRITE),
        (basic(WRITE, "ignored"), Right.WRITE, Right.WRITE),
        (f"Bearer {WRITE}", Right.WRITE, Right.WRITE),
        (f"bearer  {WRITE}", Right.WRITE, Right.WRITE),
        (basic(SECRET), Right.WRITE, Right.SECRET),
        (basic(SECRET), Right.SECRET, Right.SECRET),
        (f"Bearer {WRITE}", Right.SECRET, 403),
        ("Bearer wrong", Right.WRITE, 401),
        ("Bearer wrong", Right.SECRET, 401),
        (f"Bearer {WRITE}x", Right.WRITE, 401),
        (f"Bearer {WRITE[:-1]}", Right.WRITE, 401),
        ("Bearer ", Right.WRITE, 401),
        (None, Right.WRITE, 401),
        ("", Right.WRITE, 401),
        (WRITE, Right.WRITE, 401),
        (f"Digest {WRITE}", Right.WRITE, 401),
        ("Basic not-base64!", Right.WRITE, 401),
        ("Basic " + base64.b64encode(b"\xff\xfe:").decode(), Right.WRITE, 401),
        (basic(""), Right.WRITE, 401),
        ("Bearer \udcff", Right.WRITE, 401),
    ],
)
def test_keys(access: Access, authorization: str | None, needed: Right, expected: Right | int) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    if isinstance(expected, Right):
        assert access.admit(needed, asking(headers)) is expected
        return
    with pytest.raises(Refused) as refused:
        access.admit(needed, asking(headers))
    assert refused.value.status == expected
    assert refused.value.message


@pytest.mark.parametrize(
    ("token", "allowed"),
    [
        (hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest(), True),
        (hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest().upper(), True),
        (hmac.new(SECRET.encode(), b"c2", hashlib.sha256).hexdigest(), False),
        (hmac.new(WRITE.encode(), b"c1", hashlib.sha256).hexdigest(), False),
        ("", False),
        (None, False),
        ("ü" * 64, False),
    ],
)
def test_identity_tokens(access: Access, token: str | None, allowed: bool) -> None:
    access.identify("c1", None, Right.SECRET)
    if allowed:
        access.identify("c1", token, Right.WRITE)
        return
    with pytest.raises(Refused) as refused:
        access.identify("c1", token, Right.WRITE)
    assert refused.value.status == 403


def test_token_is_the_hex_hmac_of_the_contact(access: Access) -> None:
    assert access.token("c1") == hmac.new(SECRET.encode(), b"c1", hashlib.sha256).hexdigest()


def test_without_keys_everybody_on_this_machine_may_do_everything(tmp_path: Path) -> None:
    access = Access(settings(tmp_path))
    assert access.admit(Right.SECRET, asking()) is Right.SECRET
    with pytest.raises(BadInput, match="NEXTBEST_SECRET_KEY"):
        access.token("c1")


def test_a_write_key_alone_gives_no_more_than_a_write_key(tmp_path: Path) -> None:
    access = Access(settings(tmp_path, write_key=WRITE))
    with pytest.raises(Refused) as refused:
        access.admit(Right.SECRET, asking({"authorization": f"Bearer {WRITE}"}))
    assert refused.value.status == 403
    with pytest.raises(Refused):
        access.identify("c1", "0" * 64, Right.WRITE)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True),
        ("0.0.0" + ".0", False), ("::", False), ("192.168.1.5", False), ("example.org", False), ("", False),
    ],
)  # fmt: skip
def test_binding(tmp_path: Path, host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    check_binding(settings(tmp_path, host=host, secret_key=SECRET))
    if loopback:
        check_binding(settings(tmp_path, host=host))
        return
    for keys in ({}, {"write_key": WRITE}):
        with pytest.raises(BadInput, match="NEXTBEST_SECRET_KEY"):
            check_binding(settings(tmp_path, host=host, **keys))


def test_presented_key_takes_the_user_name() -> None:
    assert presented_key(basic("k", "p:w")) == "k"


@pytest.mark.parametrize(
    ("header", "query", "body", "expected"),
    [
        ("", f"writeKey={WRITE}", None, Right.WRITE),
        ("", f"a=1&writeKey={WRITE.replace('-', '%2D')}", None, Right.WRITE),
        ("", "", WRITE, Right.WRITE),
        (basic(""), "", WRITE, Right.WRITE),
        (f"Bearer {WRITE}", "writeKey=other", "other", Right.WRITE),
        ("Bearer other", f"writeKey={WRITE}", WRITE, 401),
        ("", "writeKey=other", WRITE, 401),
        ("", f"writeKey={SECRET}", None, 401),  # what others may read is not a secret
        ("", "", SECRET, 401),
        ("", "", 7, 401),
        ("", "writeKey=", None, 401),
    ],
)
def test_the_write_key_may_come_in_the_query_or_the_body(
    access: Access, header: str, query: str, body: object, expected: Right | int
) -> None:
    asked = asking({"authorization": header}, query)
    if isinstance(expected, Right):
        assert access.admit(Right.WRITE, asked, body) is expected
        return
    with pytest.raises(Refused) as refused:
        access.admit(Right.WRITE, asked, body)
    assert refused.value.status == expected


def test_one_address_of_many_keys_is_held_back_and_the_secret_key_is_not(tmp_path: Path) -> None:
    access = Access(
        settings(tmp_path, write_key=WRITE, secret_key=SECRET, address_rate=0.01, rate_burst_seconds=200)
    )

    def ask(key: str, address: str) -> int:
        try:
            access.admit(Right.WRITE, asking({"authorization": f"Bearer {key}"}, address=address))
        except Refused as refused:
            return refused.status
        return 200

    assert [ask(key, "192.0.2.1") for key in (WRITE, "guess", "guess", WRITE)] == [200, 401, 429, 429]
    assert ask(SECRET, "192.0.2.1") == 200
    assert ask(WRITE, "192.0.2.2") == 200
    assert [ask(WRITE, f"2001:db8::{n}") for n in range(3)] == [200, 200, 429]
    assert ask(WRITE, "2001:db8:0:1::1") == 200


def test_one_key_is_held_back_too(tmp_path: Path) -> None:
    access = Access(settings(tmp_path, write_key=WRITE, secret_key=SECRET, key_rate=0.01))
    for key in (WRITE, SECRET):
        access.admit(Right.WRITE, asking({"authorization": f"Bearer {key}"}))
        with pytest.raises(Refused) as refused:
            access.admit(Right.WRITE, asking({"authorization": f"Bearer {key}"}))
        assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "100"})


def test_without_keys_there_is_no_limit_unless_one_is_set(tmp_path: Path) -> None:
    access = Access(settings(tmp_path))
    for _ in range(5000):
        access.admit(Right.SECRET, asking())
    limited = Access(settings(tmp_path, address_rate=1, rate_burst_seconds=1))
    limited.admit(Right.SECRET, asking())
    with pytest.raises(Refused, match="too often"):
        limited.admit(Right.SECRET, asking())
