"""How many tokens an item is to the model: counted by a tokenizer where one is installed, else estimated.

Always to be shown as an estimate (``~``): what the API bills depends on how it renders items, which nobody
outside knows. Counted is what an item says, not the JSON around it; images by the piece, not by their base64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sessionctl.core.payload import NOT_SAID, Payload, Unreadable, replace_blobs, string
from sessionctl.core.tokenizers import ENCODING, Count, tokenizer

ESTIMATE = "estimate"
AROUND = 4
"""Tokens around each item: whose it is, where it begins and ends."""
MEDIA = 765
"""Tokens of an image of 1024 x 1024 at high detail; taken for every image and file, whose size is not known."""
BYTES_PER_TOKEN = 4.9
"""Octets of stored JSON per token of what it says, over 591 real agent transcripts."""
_CIPHERTEXT = 3 / 4 / BYTES_PER_TOKEN
"""Tokens per character of base64 that encrypts about as many octets of an item."""
_IMAGES = frozenset(("input_image", "computer_screenshot", "image_generation_call"))


def tokens_of_size(stored_bytes: int) -> int:
    """Tokens of so many octets of stored JSON of any kind: where no more than the size is known."""
    return round(stored_bytes / BYTES_PER_TOKEN)


def counted_by() -> str:
    """How ``tokens_of`` counts text: the tokenizer's encoding, or ESTIMATE."""
    return ENCODING if tokenizer() else ESTIMATE


def tokens_of(payload: Payload) -> int:
    """Tokens of one item; none of a row that the model never sees."""
    return tokens_by(tokenizer() or (estimate_words if payload.type == "message" else estimate_data), payload)


def tokens_by(count: Count, payload: Payload) -> int:
    """Tokens of one item with its texts counted by ``count``."""
    if payload.unreadable and payload.unreadable is not Unreadable.NOT_AN_OBJECT:
        return 0
    ciphertext = payload.fields.get("payload" if payload.type == "encrypted" else "encrypted_content")
    total = AROUND + (round(len(ciphertext) * _CIPHERTEXT) if isinstance(ciphertext, str) else 0)
    for part in () if payload.type == "encrypted" else _parts(payload.data):
        if part is None:
            total += MEDIA
        else:
            blobs = list[str]()
            total += count(replace_blobs(part, lambda kind, _, blobs=blobs: blobs.append(kind) or ""))  # type: ignore[misc]
            total += len(blobs) * MEDIA
    return total


def _parts(data: Any) -> Iterator[str | None]:
    """The texts in an item, and None for each image; without recursion, however deeply it is nested."""
    rest = [data]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            if string(node.get("type")) in _IMAGES:
                yield None
            else:
                rest.extend(value for key, value in node.items() if key not in NOT_SAID)
        elif isinstance(node, list):
            rest.extend(node)


# -- without a tokenizer --------------------------------------------------------------------------------

# Tokens per character, or per first octet of a character beyond ASCII, by what kind of character it is. Fitted
# by least squares: those of ASCII to half of the transcripts and to logs, tables, hexadecimal and base64 ids,
# those of scripts to what customers might write in some twenty languages.
_KINDS = (
    "lower", "upper", "digit", "space", "break", "mark",
    "latin", "greek", "cyrillic", "semitic", "indic", "sign", "kana", "han", "hangul", "other", "emoji",
)  # fmt: skip
_SCRIPTS = (0.9, 0.35, 0.24, 0.28, 0.31, 0.85, 0.45, 0.8, 0.5, 0.5, 1.1)
_WORDS = (0.12, 0.51, 0.43, 0.51, 0.23, 0.54, *_SCRIPTS)
_DATA = (0.09, 0.75, 0.38, 0.48, 1.64, 0.67, *_SCRIPTS)
_MIXED = 0.78
"""Tokens for each place where letters and digits meet: what makes ids so dense."""


def estimate_words(text: str) -> int:
    """Tokens of prose, estimated."""
    return _estimate(text, _WORDS)


def estimate_data(text: str) -> int:
    """Tokens of the arguments and outputs of tools, estimated."""
    return _estimate(text, _DATA)


def _estimate(text: str, weights: Sequence[float]) -> int:
    kinds = text.encode(errors="surrogatepass").translate(_KIND_OF)
    total = sum(weight * kinds.count(kind) for kind, weight in enumerate(weights[: 6 if text.isascii() else None]))
    return round(total + _MIXED * sum(map(kinds.count, _MEETINGS)))


def _kind_of(octet: int) -> int:
    """The kind of the character that begins with this octet of UTF-8; beyond all for those inside one."""
    character = chr(octet)
    if octet < 0x80:
        tests = (character.islower(), character.isupper(), character.isdigit(), character == " ", character in "\n\r\t")
        return tests.index(True) if True in tests else _KINDS.index("mark")
    name = next(name for below, name in _FIRST_OCTETS if octet < below)
    return _KINDS.index(name) if name else len(_KINDS)


_FIRST_OCTETS = (
    (0xC0, ""), (0xC6, "latin"), (0xD0, "greek"), (0xD4, "cyrillic"), (0xE0, "semitic"), (0xE1, "indic"),
    (0xE2, "other"), (0xE3, "sign"), (0xE4, "kana"), (0xEA, "han"), (0xEE, "hangul"), (0xF0, "other"), (0x100, "emoji"),
)  # fmt: skip
"""First octets below each bound, of UTF-8: U+0080 up, U+0180, U+0400, U+0500, U+0800, U+1000, U+2000, U+3000, …"""
_KIND_OF = bytes(map(_kind_of, range(256)))
_LETTERS, _DIGIT = (_KINDS.index("lower"), _KINDS.index("upper")), _KINDS.index("digit")
_MEETINGS = tuple(bytes(pair) for letter in _LETTERS for pair in ((letter, _DIGIT), (_DIGIT, letter)))
