"""What the envelopes of EncryptedSession tell without being opened: when they were sealed, and whether a key fits.

An envelope holds a Fernet token: a version byte, the seconds since 1970, an initial value, the encrypted item and
a signature over all of it. Each session has a key of its own, derived from the application's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_VERSION = 0x80
_INFO = b"agents.session-store.hkdf.v1"
_SIGNATURE = 32


def sealed_at(token: str) -> int | None:
    """Seconds since 1970, for everybody to read and signed with the rest; None for what is no token."""
    try:
        head = base64.urlsafe_b64decode(token[:12])
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(head[1:9]) if len(head) == 9 and head[0] == _VERSION else None


class Key:
    """An application's ``encryption_key``, in either form that the SDK takes."""

    def __init__(self, text: str) -> None:
        try:
            decoded = base64.urlsafe_b64decode(text)
        except (binascii.Error, ValueError):
            decoded = b""
        self._master = decoded if len(decoded) == 32 else text.encode()

    def fits(self, session_id: str, token: str) -> bool:
        """Was it this key that sealed the token in this session?"""
        salt = session_id.encode("utf-8", "surrogateescape")
        derived = hmac.digest(hmac.digest(salt, self._master, hashlib.sha256), _INFO + b"\x01", hashlib.sha256)
        try:
            octets = base64.urlsafe_b64decode(token)
        except (binascii.Error, ValueError):
            return False
        signature = hmac.digest(derived[:16], octets[:-_SIGNATURE], hashlib.sha256)
        return hmac.compare_digest(signature, octets[-_SIGNATURE:])
