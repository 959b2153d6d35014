"""Who condenses turns and on what terms: ``[summarize]`` of the settings file, and the environment over it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from sessionctl.core.address import mask
from sessionctl.core.condensing import Condensing, Kind
from sessionctl.core.units import parse_duration
from sessionctl.errors import UsageError

KEYS: Mapping[str, type] = {
    "model": str,
    "base_url": str,
    "api_key_env": str,
    "prompt": str,
    "max_tokens": int,
    "max_input_tokens": int,
    "timeout": str,
    "concurrency": int,
}
"""The keys of ``[summarize]``; ``SESSIONCTL_SUMMARIZE_MODEL`` and so on in the environment."""

_OPENAI = "https://api.openai.com/v1"
_KEY = "OPENAI_API_KEY"
_MOST_AT_ONCE = 32


def variable_of(key: str) -> str:
    """The environment's name for a key."""
    return f"SESSIONCTL_SUMMARIZE_{key.upper()}"


def check(table: Mapping[str, Any], where: str) -> None:
    """Raises UsageError for a value that cannot be used; ``where`` is the table's place."""
    for key, value in table.items():
        _value(key, value, f"{key} of summarize in {where}")


def condensing(
    table: Mapping[str, Any], env: Mapping[str, str], kind: Kind, *, model: str | None, max_tokens: int | None
) -> Condensing:
    """The terms in force; ``model`` and ``max_tokens`` are those of flags, the table's values are checked already.

    Without ``base_url`` the SDK's own ``$OPENAI_BASE_URL`` counts, then OpenAI. The key is looked up, and may be None.
    Raises UsageError where no model is named, or a variable's value cannot be used.
    """
    found = {key: _value(key, value, key) for key, value in table.items()}
    found |= {
        key: _value(key, _typed(key, text), f"${variable_of(key)}")
        for key in KEYS
        if (text := env.get(variable_of(key)))
    }
    if model or max_tokens:
        found |= {key: value for key, value in (("model", model), ("max_tokens", max_tokens)) if value}
    if "model" not in found:
        raise UsageError(
            "no model is named that condenses the turns that go", hint="name one with --model, or model in [summarize]"
        )
    given = found.pop("base_url", None)
    if given is None and (given := env.get("OPENAI_BASE_URL") or None):
        _check_url(given, "$OPENAI_BASE_URL")
    variable = found.pop("api_key_env", None)
    key = env.get(variable or _KEY)
    # Servers of one's own often ask for none.
    missing = key is None and (variable is not None or given is None)
    return Condensing(
        kind=kind, base_url=given or _OPENAI, api_key=None if missing else key or "none",
        key_variable=variable or _KEY, **found,
    )  # fmt: skip


def _typed(key: str, text: str) -> Any:
    try:
        return KEYS[key](text)
    except ValueError:
        raise UsageError(f"${variable_of(key)} must be a number, not {text!r}") from None


def _value(key: str, value: Any, where: str) -> Any:
    """As ``Condensing`` takes it."""
    if key == "timeout":
        return _seconds(value, where)
    if KEYS[key] is int and value < 1:
        raise UsageError(f"{where} must be at least 1, not {value}")
    if key == "concurrency" and value > _MOST_AT_ONCE:
        raise UsageError(f"{where} must be at most {_MOST_AT_ONCE}, not {value}")
    if KEYS[key] is str and not value.strip():
        raise UsageError(f"{where} is empty")
    if key == "base_url":
        _check_url(value, where)
    return value


def _seconds(value: str, where: str) -> timedelta:
    try:
        found = parse_duration(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if found <= timedelta(0):
        raise UsageError(f"{where} must be more than 0")
    return found


def _check_url(value: str, where: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{where} is no http or https URL: {mask(value)!r}")
    if parts.username or parts.password or parts.query:
        raise UsageError(
            f"{where} holds more than an address", hint="the key goes into the variable that api_key_env names"
        )
