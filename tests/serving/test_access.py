"""Who may ask what, as a table."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

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
        assert access.require(needed, headers) is expected
        return
    with pytest.raises(Refused) as refused:
        access.require(needed, headers)
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
    assert access.require(Right.SECRET, {}) is Right.SECRET
    with pytest.raises(BadInput, match="NEXTBEST_SECRET_KEY"):
        access.token("c1")


def test_a_write_key_alone_gives_no_more_than_a_write_key(tmp_path: Path) -> None:
    access = Access(settings(tmp_path, write_key=WRITE))
    with pytest.raises(Refused) as refused:
        access.require(Right.SECRET, {"authorization": f"Bearer {WRITE}"})
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
