"""File names made of session ids.

Ids are whatever applications put there. A name tells its session, is legal on every file system, never leads
out of its directory, and no two ids share one, not even where case and Unicode forms are not told apart.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 120
"""Characters of a name without its suffix: far below the 255 octets of file systems."""
_HASH_DIGITS = 20
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|index", re.IGNORECASE)
"""Windows takes these for devices; the index page has its own name."""


def file_name(session_id: str) -> str:
    """A name for the session: ASCII letters, digits, ``.``, ``_`` and ``-`` of its id, all else percent-encoded.

    Ids with capitals, long ones and those whose name would mean something else get ``~`` and a part of the
    id's SHA-256 behind.
    """
    octets = session_id.encode("utf-8", "surrogatepass" if _has_other_surrogates(session_id) else "surrogateescape")
    name = "".join(chr(octet) if chr(octet) in _KEPT else f"%{octet:02X}" for octet in octets)
    plain = (
        len(name) <= LONGEST
        and name[:1] not in ("", ".", "-")
        and not name.endswith(".")
        and session_id == session_id.lower()
        and not _RESERVED.fullmatch(name)
    )
    if plain:
        return name
    digest = hashlib.sha256(octets).hexdigest()[:_HASH_DIGITS]
    head = re.sub("%[0-9A-F]?$", "", name[: LONGEST - 2 - _HASH_DIGITS])
    return f"{'_' * bool(_RESERVED.fullmatch(name))}{head.lstrip('.-')}~{digest}"


def _has_other_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" and not "\udc80" <= char <= "\udcff" for char in text)
