"""Who may ask what: the public write key, the secret key, and signed identities."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from enum import IntEnum

from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.refused import Refused


class Right(IntEnum):
    """What a caller may do; a higher right includes the lower."""

    NONE = 0
    WRITE = 1
    """Send events, ask recommendations: what a browser may do."""
    SECRET = 2
    """Everything."""


class Access:
    """Checks keys and identity tokens; without keys everybody may do everything (loopback only)."""

    def __init__(self, settings: Settings) -> None:
        self._write = settings.write_key.get_secret_value().encode() if settings.write_key else None
        self._secret = settings.secret_key.get_secret_value().encode() if settings.secret_key else None

    @property
    def open(self) -> bool:
        """Whether no key is configured."""
        return self._write is None and self._secret is None

    def right(self, key: str | None) -> Right:
        """Return what the key gives. Raises Refused(401) for a missing or unknown one."""
        if self.open:
            return Right.SECRET
        if key is None:
            raise Refused(
                401,
                "key_missing",
                "a key is needed: Authorization: Bearer KEY, or Basic with the key as user name",
            )
        given = key.encode("utf-8", "surrogateescape")
        secret = self._secret is not None and hmac.compare_digest(given, self._secret)
        write = self._write is not None and hmac.compare_digest(given, self._write)
        if secret:
            return Right.SECRET
        if write:
            return Right.WRITE
        raise Refused(
            401, "key_unknown", "this key is not known here; check NEXTBEST_WRITE_KEY and NEXTBEST_SECRET_KEY"
        )

    def require(self, needed: Right, headers: Mapping[str, str]) -> Right:
        """Return the caller's right. Raises Refused(401 or 403) if it is less than needed."""
        if self.open:
            return Right.SECRET
        right = self.right(presented_key(headers.get("authorization")))
        if right < needed:
            raise Refused(
                403, "secret_key_needed", "the write key may send events and ask recommendations only"
            )
        return right

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
