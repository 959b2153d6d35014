"""The items of a session at once, in octets: who looks at all of them then pays for a session rather than for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from sessionctl.core.record import PlainItem

_SHOWN = bytes.maketrans(b"123456789", b"0" * 9)
_SECONDS = b"0000-00-00 00:00:00"
_SHAPES = frozenset({_SECONDS, *(_SECONDS + b"." + b"0" * digits for digits in range(1, 7))})


@dataclass(frozen=True, slots=True)
class JoinedItems(Iterable[PlainItem]):
    """Items in the order in which the SDK reads them.

    ``keys`` are decimal, ``created`` as ``rfc3339`` has them. ``texts`` are UTF-8, without line breaks ``\\n``.
    """

    keys: Sequence[bytes]
    created: Sequence[bytes]
    texts: Sequence[bytes]

    def __iter__(self) -> Iterator[PlainItem]:
        for key, at, text in zip(self.keys, self.created, self.texts, strict=True):
            yield int(key), None, at.decode(), text.decode()


NO_ITEMS = JoinedItems((), (), ())


def in_order(keys: Sequence[Any], stamps: Sequence[bytes], texts: Sequence[bytes]) -> JoinedItems | None:
    """Items that are in their order already, at least one; stamps are in UTC.

    None where a key is no whole number, a text has a line break or is no UTF-8, or a stamp has a fraction of a second.
    """
    if set(map(type, keys)) != {int}:
        return None
    whole, told = b"".join(texts), b"\n".join(stamps)
    if b"\n" in whole or set(told.translate(_SHOWN).split(b"\n")) != {_SECONDS} or not _are_utf8(texts, whole):
        return None
    try:
        deque(map(datetime.fromisoformat, told.decode().split("\n")), maxlen=0)
    except ValueError:
        return None
    return JoinedItems(_decimal(keys), _zulu(told), texts)


def joined(keys: bytes, stamps: bytes, texts: bytes) -> JoinedItems | None:
    """Items as a server tells them: keys between commas, stamps (UTC) and texts between line breaks, in one order.

    None where they cannot be told apart so, one is missing, a text is no UTF-8, or a time is unusual.
    """
    numbers, told, lines = keys.split(b","), stamps.split(b"\n"), _split(texts)
    many = len(lines)
    shapes = set(stamps.translate(_SHOWN).split(b"\n"))
    if not len(numbers) == len(told) == many or not shapes <= _SHAPES or not _are_utf8(lines, texts):
        return None
    sorts = list(map(int, numbers))
    if sorts != sorted(sorts) or told != sorted(told):  # times of these shapes sort like their texts
        order = sorted(range(many), key=list(zip(told, sorts, strict=True)).__getitem__)
        numbers, told, lines = ([column[at] for at in order] for column in (numbers, told, lines))
        stamps = b"\n".join(told)
    created = _zulu(stamps) if shapes == {_SECONDS} else [_rfc3339(stamp) for stamp in told]
    return JoinedItems(numbers, created, lines)


def _split(lines: bytes) -> list[bytes]:
    """In half the time that ``bytes.split`` takes."""
    return [line[:-1] for line in BytesIO(lines + b"\n")]


def _are_utf8(texts: Sequence[bytes], whole: bytes) -> bool:
    if not whole.isascii():
        try:
            for text in texts:
                text.decode()
        except UnicodeDecodeError:
            return False
    return True


def _decimal(keys: Sequence[int]) -> list[bytes]:
    """All at once: one by one it takes as long as to join the texts."""
    return repr(list(keys))[1:-1].encode().split(b", ")


def _zulu(stamps: bytes) -> list[bytes]:
    """As RFC 3339: those of whole seconds, between line breaks."""
    return (stamps.replace(b" ", b"T").replace(b"\n", b"Z\n") + b"Z").split(b"\n")


def _rfc3339(stamp: bytes) -> bytes:
    """With six digits of a second or with none."""
    seconds, _, fraction = stamp.replace(b" ", b"T").partition(b".")
    return seconds + b"." + fraction.ljust(6, b"0") + b"Z" if fraction.strip(b"0") else seconds + b"Z"
