"""The items of a session at once, in octets: who looks at all of them then pays for a session rather than for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from sessionctl.core.record import PlainItem

_SHOWN = bytes.maketrans(b"123456789", b"0" * 9)
_SECONDS = b"0000-00-00 00:00:00"
_SHAPES = frozenset({_SECONDS, *(_SECONDS + b"." + b"0" * digits for digits in range(1, 7))})


@dataclass(frozen=True, slots=True)
class JoinedItems(Iterable[PlainItem]):
    """Items in the order in which the SDK reads them.

    ``keys`` are decimal, ``created`` as ``rfc3339`` has them. ``lines`` are the texts, UTF-8, with a line break ``\\n``
    behind each, and they have none of their own.
    """

    keys: Sequence[bytes]
    created: Sequence[bytes]
    lines: bytes

    def __iter__(self) -> Iterator[PlainItem]:
        for key, at, text in zip(self.keys, self.created, split(self.lines), strict=True):
            yield int(key), None, at.decode(), text[:-1].decode()


NO_ITEMS = JoinedItems((), (), b"")


def split(lines: bytes) -> list[bytes]:
    """The lines with their breaks, in a sixth of the time that ``bytes.split`` takes."""
    return BytesIO(lines).readlines()


def joined(keys: bytes, stamps: bytes, texts: bytes) -> JoinedItems | None:
    """Items as a server tells them: keys between commas, stamps (UTC) and texts between line breaks, in one order.

    None where they cannot be told apart so, one is missing, a text is no UTF-8, or a time is unusual.
    """
    lines = texts + b"\n"
    numbers, told, many = keys.split(b","), stamps.split(b"\n"), len(split(lines))
    shapes = set(stamps.translate(_SHOWN).split(b"\n"))
    if not len(numbers) == len(told) == many or not shapes <= _SHAPES or not _is_utf8(lines):
        return None
    sorts = list(map(int, numbers))
    if sorts != sorted(sorts) or told != sorted(told):  # times of these shapes sort like their texts
        order = sorted(range(many), key=list(zip(told, sorts, strict=True)).__getitem__)
        numbers, told, parts = ([column[at] for at in order] for column in (numbers, told, split(lines)))
        stamps, lines = b"\n".join(told), b"".join(parts)
    if shapes == {_SECONDS}:
        created = (stamps.replace(b" ", b"T").replace(b"\n", b"Z\n") + b"Z").split(b"\n")
    else:
        created = [_rfc3339(stamp) for stamp in told]
    return JoinedItems(numbers, created, lines)


def _is_utf8(lines: bytes) -> bool:
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError:
            return False
    return True


def _rfc3339(stamp: bytes) -> bytes:
    """With six digits of a second or with none."""
    seconds, _, fraction = stamp.replace(b" ", b"T").partition(b".")
    return seconds + b"." + fraction.ljust(6, b"0") + b"Z" if fraction.strip(b"0") else seconds + b"Z"
