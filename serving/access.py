"""Who may ask what, and how often: the public write key, the secret key, and signed identities."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection

from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.limits import Buckets, take
from serving.refused import Refused

ADDRESS_RATE, KEY_RATE = 100.0, 1000.0
"""Requests a second, where keys are set and the settings do not say."""


class Right(IntEnum):
    """What a caller may do; a higher right includes the lower."""

    NONE = 0
    WRITE = 1
    """Send events, ask recommendations: what a browser may do."""
    SECRET = 2
    """Everything."""


@dataclass(frozen=True)
class Key:
    """A key as it was sent; `public`: where others may read it, so that it can be the write key only."""

    text: str
    public: bool = False


class Access:
    """Checks keys, rates and identity tokens; without keys everybody may do everything (loopback only)."""

    def __init__(self, settings: Settings) -> None:
        self._write = settings.write_key.get_secret_value().encode() if settings.write_key else None
        self._secret = settings.secret_key.get_secret_value().encode() if settings.secret_key else None
        self.origins = frozenset(settings.origins)
        burst = settings.rate_burst_seconds
        self._addresses = _buckets(settings.address_rate or (None if self.open else ADDRESS_RATE), burst)
        self._keys = _buckets(settings.key_rate or (None if self.open else KEY_RATE), burst)

    @property
    def open(self) -> bool:
        """Whether no key is configured."""
        return self._write is None and self._secret is None

    def admit(self, needed: Right, http: HTTPConnection, body_key: object = None) -> Right:
        """Return the caller's right, having counted the request.

        The key is looked for in the Authorization header, the query (`writeKey`) and, where the caller has
        read it, the body. Raises Refused: 429 too often, 401 no key or an unknown one, 403 not enough.
        """
        key = key_of(http, body_key)
        right = self._right(key)
        trusted = right is Right.SECRET and not self.open
        if not trusted:
            take(self._addresses, _address(http), "this address")
        if right < needed:
            raise _refusal(key, right)
        take(self._keys, right.name, "this key" if not self.open else "this machine")
        return right

    def _right(self, key: Key | None) -> Right:
        """Return what the key gives; compared in constant time."""
        if self.open:
            return Right.SECRET
        if key is None:
            return Right.NONE
        given = key.text.encode("utf-8", "surrogateescape")
        secret = self._secret is not None and hmac.compare_digest(given, self._secret)
        write = self._write is not None and hmac.compare_digest(given, self._write)
        if secret and not key.public:
            return Right.SECRET
        return Right.WRITE if write else Right.NONE

    def identify(self, contact_id: str, token: str | None, right: Right) -> None:
        """Check that the caller may ask for this contact. Raises Refused(403)."""
        if right is Right.SECRET:
            return
        if not token:
            raise Refused(
                403,
                "identity_token_needed",
                "with the write key a contact_id needs identity_token: "
                "the hex HMAC-SHA256 of contact_id with the secret key",
            )
        given = token.strip().lower().encode("utf-8", "surrogateescape")
        if self._secret is None or not hmac.compare_digest(given, self.token(contact_id).encode()):
            raise Refused(403, "identity_token_wrong", "identity_token does not belong to this contact_id")

    def may_recognise(self, token: str | None, right: Right) -> bool:
        """Tell whether an anonymous id may stand for its contact: never for one who shows no key or token."""
        return not self.open and (right is Right.SECRET or bool(token))

    def is_theirs(self, contact_id: str, token: str | None, right: Right) -> bool:
        """Tell whether the caller may ask for this contact."""
        try:
            self.identify(contact_id, token, right)
        except Refused:
            return False
        return True

    def token(self, contact_id: str) -> str:
        """Return the identity token of a contact. Raises BadInput without a secret key."""
        if self._secret is None:
            raise BadInput("identity tokens need a secret key; set NEXTBEST_SECRET_KEY")
        return hmac.new(self._secret, contact_id.encode(), hashlib.sha256).hexdigest()


def key_of(http: HTTPConnection, body_key: object = None) -> Key | None:
    """Return a request's key: Bearer, Basic with it as user name, `writeKey` in query or body; else None."""
    header = http.headers.get("authorization", "").encode(
        "latin-1"
    )  # Starlette reads headers so; keys are UTF-8
    if in_header := presented_key(header.decode("utf-8", "surrogateescape")):
        return Key(in_header)
    query: bytes = http.scope.get("query_string", b"")
    if b"writeKey=" in query:
        for text in parse_qs(query[:4096].decode("latin-1")).get("writeKey", ()):
            return Key(text, public=True)
    return Key(body_key, public=True) if isinstance(body_key, str) and body_key else None


def presented_key(authorization: str | None) -> str | None:
    """Read the key out of an Authorization header: Bearer, or Basic with the key as user name; else None."""
    scheme, _, rest = (authorization or "").partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _refusal(key: Key | None, right: Right) -> Refused:
    """Say why a right is not enough."""
    if right is Right.WRITE:
        return Refused(403, "secret_key_needed", "the write key may send events and ask recommendations only")
    if key is None:
        return Refused(
            401,
            "key_missing",
            "a key is needed: Authorization: Bearer KEY, or Basic with the key as user name; "
            "the write key also as writeKey in the query",
        )
    return Refused(
        401,
        "key_unknown",
        "this key is not known here; check NEXTBEST_WRITE_KEY and NEXTBEST_SECRET_KEY "
        "(the latter counts in the Authorization header only)",
    )


def _buckets(rate: float | None, burst_seconds: float) -> Buckets | None:
    return None if rate is None else Buckets(rate, rate * burst_seconds)


def _address(http: HTTPConnection) -> str:
    """Return whom to count a request for: the address, of IPv6 the network one customer has.

    Behind a trusted proxy the server has put the caller's address in the proxy's place.
    """
    host = http.client.host if http.client else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a server bound to the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_binding(settings: Settings) -> None:
    """Refuse to serve the world without keys. Raises BadInput."""
    if settings.secret_key is None and not is_loopback(settings.host):
        raise BadInput(
            f"will not listen on {settings.host} without a secret key: "
            "set NEXTBEST_SECRET_KEY (and NEXTBEST_WRITE_KEY for browsers), or use --host 127.0.0.1"
        )
