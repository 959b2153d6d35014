"""Taking out of items what must not leave the house: secrets, addresses, numbers, and patterns of one's own.

Only string values change (and whole numbers that are card numbers, which become strings); keys, order, spacing
and everything else of the stored JSON stay to the letter. JSON inside strings, as in the arguments of calls, is
treated as JSON. What was found is counted, never kept.

Each built-in pattern takes time linear in the text: what repeats is bounded, possessive, or ends the match.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from itertools import compress
from typing import NamedTuple

from sessionctl.errors import UsageError

_DEPTH = 8
"""JSON in strings in JSON in strings: deeper than this it is treated as text."""


class Sensitive(StrEnum):
    """What can be taken out."""

    SECRETS = "secrets"
    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    ALL = "all"


def marker(name: str) -> str:
    """What stands in the place of something taken out."""
    return f"[redacted:{name}]"


Rule = Callable[[str], tuple[str, int]]
"""A text without what the rule takes out, and how often it was there."""

_NAMED = (
    r"passw(?:or)?d|passphrase|passwort|api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?(?:access[_-]?)?key"
    r"|client[_-]?secret|private[_-]?key|(?:access|auth|refresh|id|session|bearer|bot)[_-]?token|authorization"
    r"|credentials?"
)
"""What secrets are called."""
_SECRET_KEY = re.compile(rf"(?:{_NAMED}|cookie)$|^(?:secret|token|pwd)$", re.IGNORECASE)
"""Keys whose values are secrets whatever they look like."""
_PEM = r"-----(?:{}) [A-Z ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----"


class _Kind(NamedTuple):
    """Secrets of one kind: in each match of ``pattern`` is one of ``hints``; ``is_folded``: in lower case."""

    pattern: str
    hints: tuple[str, ...]
    is_folded: bool = False


_KINDS = (
    _Kind(rf"{_PEM.format('BEGIN')}.*?(?:{_PEM.format('END')}|\Z)", ("PRIVATE KEY",)),
    _Kind(
        r"(?<![A-Za-z0-9])(?:sk-[\w-]{16,}+|[sr]k_(?:live|test)_\w{16,}+|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?!\w)"
        r"|gh[pousr]_\w{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+|xox[abeprs]-[\w-]{10,}+|xapp-[\w-]{10,}+"
        r"|AIza[\w-]{30,}+|ya29\.[\w-]{20,}+|hf_\w{20,}+|npm_\w{30,}+|pypi-[\w-]{30,}+|dop_v1_\w{40,}+"
        r"|SG\.[\w-]{16,64}\.[\w-]{16,}+)",
        (
            "sk-", "k_live_", "k_test_", "AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
            "github_pat_", "glpat-", "xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "AIza", "ya29.",
            "hf_", "npm_", "pypi-", "dop_v1_", "SG.",
        ),
    ),
    _Kind(r"(?<![\w.-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+", ("eyJ",)),  # a JSON web token
    _Kind(r"(?P<bearer>(?i:(?<![A-Za-z])bearer[ \t]{1,4}))[\w.~+/=-]{12,}+", ("bearer",), is_folded=True),
    _Kind(r"(?P<user>://[^\s/:@\"']{0,64}:)[^\s/@\"']{1,256}(?=@)", ("://",)),
    _Kind(
        rf"(?P<name>(?i:(?:{_NAMED}|(?<![A-Za-z])(?:pwd|secret|token)))[\"']?"
        r"(?:[ \t]{0,3}[:=]|[ \t]{1,3}is(?![A-Za-z]))[ \t]{0,3}(?:(?i:bearer|basic|token)[ \t]{1,3})?)"
        r"(?:\"[^\"\n]{1,4096}\"|'[^'\n]{1,4096}'|[^\s\"',;&<>(){}\[\]]{1,4096})",
        (
            "passw", "passphrase", "apikey", "api_key", "api-key", "accesskey", "access_key", "access-key", "secret",
            "privatekey", "private_key", "private-key", "token", "authorization", "credential",
            "pwd:", "pwd=", 'pwd"', "pwd'", "pwd ", "pwd\t",
        ),
        is_folded=True,
    ),
)  # fmt: skip
_STAYS = ("bearer", "user", "name")
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?!\w)")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+[1-9]\d{0,2}(?:[ .()/-]{0,3}\d){6,13}"
    r"|00[1-9]\d{0,2}[ /-](?:[ ()/-]{0,2}\d){6,12}"
    r"|(?:\(\d{3}\)[ ]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
    r"|(?:\(0\d{1,4}\)|0\d{1,4})[ /-]\d{2,4}(?:[ -]?\d{2,4}){1,3})(?![\w-])"
)
_FEWEST_PHONE_DIGITS = 9
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
_FEWEST_CARD_DIGITS = 13
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*+"(?P<colon>\s*+:)?|(?<![\w.+-])\d{13,19}(?![\w.])', re.DOTALL)
"""What may change in valid JSON: strings, and numbers as long as a card's."""


class Redactor:
    """Takes things out of stored texts; ``found`` counts them by name."""

    def __init__(self, classes: Sequence[Sensitive], patterns: Mapping[str, re.Pattern[str]] | None = None) -> None:
        self.found: Counter[str] = Counter()
        chosen = set(Sensitive) if Sensitive.ALL in classes else set(classes)
        self._by_key = Sensitive.SECRETS in chosen
        self._cards = Sensitive.CARD in chosen
        built_in = {name: rule for name, rule in _RULES.items() if name in chosen}
        own = {name: _plain(pattern, name) for name, pattern in (patterns or {}).items()}
        self._rules: dict[str, Rule] = {**own, **built_in}

    def text(self, stored: str) -> str:
        """A stored text without what is to be taken out; the same object where there was nothing."""
        return self._json(stored, 0) if _is_json(stored) else self._words(stored)

    def touches(self, words: str) -> bool:
        """Would anything be taken out of these words? Nothing is counted."""
        return any(rule(words)[1] for rule in self._rules.values())

    def _json(self, text: str, depth: int) -> str:
        key, before = "", sum(self.found.values())

        def replace(token: re.Match[str]) -> str:
            nonlocal key
            if token["colon"] is not None:
                key = _unquoted(token[0][: -len(token["colon"])])
                return token[0]
            return self._value(token[0], key, depth)

        changed = _TOKENS.sub(replace, text)
        return changed if sum(self.found.values()) > before else text

    def _value(self, token: str, key: str, depth: int) -> str:
        """A value of JSON, as it is to stand there."""
        if not token.startswith('"'):
            if not (self._cards and _is_card(token)):
                return token
            self.found[Sensitive.CARD] += 1
            return json.dumps(marker(Sensitive.CARD))
        value = _unquoted(token)
        if self._by_key and value and _SECRET_KEY.search(key):
            self.found[Sensitive.SECRETS] += 1
            return json.dumps(marker(Sensitive.SECRETS))
        nested = depth < _DEPTH and value.lstrip()[:1] in ("{", "[") and _is_json(value)
        clean = self._json(value, depth + 1) if nested else self._words(value)
        return token if clean == value else json.dumps(clean)

    def _words(self, words: str) -> str:
        for name, rule in self._rules.items():
            words, count = rule(words)
            if count:
                self.found[name] += count
        return words


def own_pattern(text: str) -> tuple[str, re.Pattern[str]]:
    """``NAME=REGEX`` as a user gives it. Raises UsageError where it is none, or matches nothing at all."""
    name, equals, regex = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise UsageError(f"--redact-pattern {text!r} is not NAME=REGEX", hint="write it like ticket='TCK-\\d+'")
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UsageError(f"--redact-pattern {name}: not a regular expression: {error}") from None
    if pattern.search("") is not None:
        raise UsageError(f"--redact-pattern {name} matches the empty text")
    return name, pattern


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _unquoted(token: str) -> str:
    return str(json.loads(token))


def _plain(pattern: re.Pattern[str], name: str) -> Rule:
    return lambda words: pattern.subn(lambda _: marker(name), words)


def _secrets(words: str) -> tuple[str, int]:
    folded = _folded(words)
    hinted = [any(hint in (folded if kind.is_folded else words) for hint in kind.hints) for kind in _KINDS]
    return _any_of(tuple(hinted)).subn(_without_secret, words) if any(hinted) else (words, 0)


def _without_secret(found: re.Match[str]) -> str:
    stays = found.groupdict()
    return next(filter(None, map(stays.get, _STAYS)), "") + marker(Sensitive.SECRETS)


def _folded(words: str) -> str:
    """As the patterns compare letters where case does not count (Python's ``re``)."""
    folded = words.lower()
    if not words.isascii():
        for other, letter in (("i\u0307", "i"), ("\u0131", "i"), ("\u017f", "s")):
            folded = folded.replace(other, letter)
    return folded


@cache
def _any_of(hinted: tuple[bool, ...]) -> re.Pattern[str]:
    """What finds secrets of those kinds: to look for all of them in every text takes ten times as long."""
    return re.compile("|".join(kind.pattern for kind in compress(_KINDS, hinted)), re.DOTALL)


def _phones(words: str) -> tuple[str, int]:
    return _counted(_PHONE, words, lambda found: marker(Sensitive.PHONE) if _enough(found) else None)


def _enough(found: str) -> bool:
    return sum(char.isdigit() for char in found) >= _FEWEST_PHONE_DIGITS


def _cards(words: str) -> tuple[str, int]:
    return _counted(_CARD, words, _without_card)


def _without_card(found: str) -> str | None:
    """The match without the card number it begins with: a code or a date may stand behind it."""
    ends = [len(found), *(index for index in range(len(found) - 1, 0, -1) if found[index] in " -")]
    for end in ends:
        if _is_card(re.sub("[ -]", "", found[:end])):
            return marker(Sensitive.CARD) + found[end:]
    return None


def _counted(pattern: re.Pattern[str], words: str, become: Callable[[str], str | None]) -> tuple[str, int]:
    """Replace the matches for which ``become`` gives something, and count these."""
    count = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal count
        clean = become(found[0])
        count += clean is not None
        return found[0] if clean is None else clean

    return pattern.sub(replace, words), count


def _is_card(digits: str) -> bool:
    """Luhn's checksum, on a number as long as card numbers are."""
    if len(digits) < _FEWEST_CARD_DIGITS or digits[0] not in "23456":
        return False
    doubled = (sum(divmod(int(digit) * (1 + place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0


_email = _plain(_EMAIL, Sensitive.EMAIL)
_RULES: Mapping[str, Rule] = {
    Sensitive.SECRETS: _secrets,
    Sensitive.EMAIL: lambda words: _email(words) if "@" in words else (words, 0),
    Sensitive.CARD: _cards,
    Sensitive.PHONE: _phones,
}
"""In this order: what an earlier rule took, a later one does not see."""
