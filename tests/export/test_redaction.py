"""Redaction: what goes, what stays, and that the JSON stays what it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionctl.errors import UsageError
from sessionctl.export import redaction
from sessionctl.export.redaction import Redactor, Sensitive, own_pattern
from sessionctl.testing.case import BROKEN_TEXTS, HOSTILE_ITEMS, user

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
FOUND = {
    "secrets": [
        "sk-proj-abcdefghijklmnop1234", "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "glpat-abcdefghijklmnopqrst",
        "xoxb-123456789012-abcdef", JWT, PEM, "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    ],
    "email": ["mia@example.com", "first.last+tag@mail.example.co.uk", "jürgen@bücher.de"],
    "phone": ["+49 171 2345678", "+1 (555) 123-4567", "(555) 123-4567", "555-123-4567", "0171 2345678", "(0171) 234567",
              "0049 171 2345678"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "2223003122003222"],
}  # fmt: skip
KEPT = [
    "order 20261123001", "2026-11-23 19:07:18", "4111 1111 1111 1112", "10.0.0.1:8080", "mia at example dot com",
    "the token limit", "call_8f3a2b", "a-1234567890123456", "price 1,234,567.89", "01-02-2026", "sk-short", "@mention",
    "e6f1b0a4-5555-4111-8111-111111111111", "pass the salt", "basic responsibilities",
]  # fmt: skip


def redacted(words: str, *classes: str) -> tuple[str, dict[str, int]]:
    redactor = Redactor([Sensitive(each) for each in classes or ["all"]])
    return json.loads(redactor.text(json.dumps(user(words))))["content"], dict(redactor.found)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FOUND.items() for value in values])
def test_what_goes(name: str, value: str) -> None:
    for frame in ("{}", "it is {}, thanks", "({})", "{}.", "{}\nnext", '"{}"'):
        words = frame.format(value)
        assert redacted(words, name) == (frame.format(f"[redacted:{name}]"), {name: 1}), words
        assert redacted(words)[1] == {name: 1}
        assert redacted(words, *(set(FOUND) - {name}))[0] == words


TELLING = [
    *FOUND["secrets"],
    *("PassWord: hunter2", "pass\u017fword=hunter2", "C\u0131ient\u0130 SECRET is x1", "api\u212aey=abc"),
    *("CREDENT\u0130AL: x y", "cred\u0131ent\u0131als 'x y'", "pwd\tis abc", "PWD  = q", 'pwd"="x"', "pwd'='x'"),
    *("BEARER abcdefghijklmnop", "secret_access_key=1", "token is t0k", "https://me:pw@host"),
    *("-----BEGIN ENCRYPTED PRIVATE KEY BLOCK-----", "SG." + "a" * 16 + "." + "b" * 16, "hf_" + "x" * 20),
    *("npm_" + "x" * 30, "ya29." + "x" * 20, "AIza" + "x" * 30, "rk_test_" + "x" * 16, "dop_v1_" + "0" * 40),
    *("pypi-" + "x" * 30, "xapp-" + "x" * 10, "github_pat_" + "x" * 20, "xoxs-" + "x" * 10),
    *("words", ": ", "=", "\n", "\u0307", "i", "k"),
]
"""Secrets, however they are written, and what may stand around them."""


@given(st.lists(st.sampled_from(TELLING), max_size=5), st.sampled_from(["", " ", "x", "/"]), st.booleans())
def test_secrets_are_found_as_if_each_kind_were_looked_for(parts: list[str], between: str, upper: bool) -> None:
    words = between.join(parts)
    words = words.upper() if upper else words
    every = redaction._any_of((True,) * len(redaction._KINDS))
    assert redaction._secrets(words) == every.subn(redaction._without_secret, words)


@pytest.mark.parametrize("value", KEPT)
def test_what_stays(value: str) -> None:
    assert redacted(value) == (value, {})


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("password=hunter2 now", "password=[redacted:secrets] now"),
        ("my password is hunter2", "my password is [redacted:secrets]"),
        ('API_KEY: "abc def", x', "API_KEY: [redacted:secrets], x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted:secrets]"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [redacted:secrets]"),
        ("use bearer abcdefghijklmnop.qrs", "use bearer [redacted:secrets]"),
        ("postgresql://app:s3cret@db/x", "postgresql://app:[redacted:secrets]@db/x"),
        ("?access_token=abc&x=1", "?access_token=[redacted:secrets]&x=1"),
    ],
)
def test_secrets_by_what_stands_before_them(words: str, left: str) -> None:
    assert redacted(words) == (left, {"secrets": 1})


def test_a_code_behind_a_card_number_stays_apart() -> None:
    assert redacted("4111 1111 1111 1111 123") == ("[redacted:card] 123", {"card": 1})


def item(value: Any) -> dict[str, Any]:
    return {"type": "function_call", "name": "pay", "arguments": json.dumps(value), "call_id": "c1"}


def test_json_in_strings_is_json() -> None:
    redactor = Redactor([Sensitive.ALL])
    arguments = {
        "mail": "mia@example.com", "\u0070assword": 'with "quotes"', "card": 4111111111111111, "n": 12,
        "list": ["a@b.example", {"api_key": "zzz"}], "inner": json.dumps({"to": "x@y.example"}),
    }  # fmt: skip
    text = json.dumps(item(arguments)).replace("mia@", "mia\\\\u0040")  # an escaped sign hides nothing
    assert json.loads(json.loads(text)["arguments"]) == arguments
    done = json.loads(redactor.text(text))
    assert json.loads(done["arguments"]) == {
        "mail": "[redacted:email]", "password": "[redacted:secrets]", "card": "[redacted:card]", "n": 12,
        "list": ["[redacted:email]", {"api_key": "[redacted:secrets]"}],
        "inner": json.dumps({"to": "[redacted:email]"}),
    }  # fmt: skip
    assert redactor.found == {"email": 3, "secrets": 2, "card": 1}


def test_keys_and_all_else_stay_to_the_letter() -> None:
    text = '{ "a@b.example" : 1.50, "x":"a@b.example" ,"x": 1e3,\n"n": NaN, "u": "\\ud83d \\u00e9", "é": [ ] }'
    left = text.replace('"x":"a@b.example"', '"x":"[redacted:email]"')
    assert Redactor([Sensitive.EMAIL]).text(text) == left


def test_nothing_found_is_the_same_text() -> None:
    text = json.dumps({"content": "nothing here \\u0041"}, indent=1)
    assert Redactor([Sensitive.ALL]).text(text) is text


@pytest.mark.parametrize("text", [*BROKEN_TEXTS.values(), *map(json.dumps, HOSTILE_ITEMS.values()), "[" * 5000])
def test_hostile_texts_stay_what_they_were(text: str) -> None:
    assert Redactor([Sensitive.ALL]).text(text) == text


def test_text_that_is_no_json() -> None:
    assert Redactor([Sensitive.EMAIL]).text('{"cut": "mia@example.com') == '{"cut": "[redacted:email]'


def test_own_patterns() -> None:
    redactor = Redactor([], dict([own_pattern(r"ticket=TCK-\d+"), own_pattern("name=Mia|Jo=e")]))
    assert (
        redactor.text('"Mia has TCK-12 and TCK-13"') == '"[redacted:name] has [redacted:ticket] and [redacted:ticket]"'
    )
    assert redactor.found == {"name": 1, "ticket": 2}


@pytest.mark.parametrize("text", ["x", "=a", "a b=c", "n=(", "n=a*"])
def test_own_patterns_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--redact-pattern"):
        own_pattern(text)


_PIECES = st.sampled_from([value for values in FOUND.values() for value in values])


_VALUES = st.recursive(
    st.text() | _PIECES | st.integers() | st.none() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_VALUES)
@settings(max_examples=50)
def test_json_stays_json(value: Any) -> None:
    text = json.dumps(value)
    done = Redactor([Sensitive.ALL]).text(text)
    assert _shape(json.loads(done)) == _shape(value)
    assert not any(json.dumps(piece)[1:-1] in done for piece in FOUND["email"])


def _shape(value: Any) -> Any:
    """Keys and nesting."""
    if isinstance(value, dict):
        return {key: _shape(child) for key, child in value.items()}
    return [_shape(child) for child in value] if isinstance(value, list) else None


_UNITS = [
    *("a", "1", "1 ", "a@", "a.", "0", "01 ", "+1", "(555) ", "_", "4-", "{", '["', '"'),
    *("eyJ-", "eyJa.", "sk-", "SG.a", "://a:", "password", "password is ", "secret=", "token='", "bearer "),
    "-----BEGIN PRIVATE KEY-----",
]


@pytest.mark.timeout(60)  # what takes quadratic time needs many minutes
@pytest.mark.parametrize("unit", _UNITS)
def test_no_text_takes_quadratic_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    redactor = Redactor([Sensitive.ALL])
    assert (redactor.text(text) == text) == (not redactor.found)
