"""Limits of runs from the settings file and the environment, for those that no flag sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessionctl.core.limits import Limits, parse_lag_limit
from sessionctl.core.units import parse_duration
from sessionctl.errors import UsageError

KEYS: Mapping[str, type] = {
    "batch_size": int,
    "rate": float,
    "max_sessions": int,
    "max_runtime": str,
    "max_replica_lag": str,
}
"""The keys of ``[limits]`` and ``[stores.NAME.limits]``; ``SESSIONCTL_RATE`` and so on in the environment."""

_READ = {"max_runtime": parse_duration, "max_replica_lag": parse_lag_limit}


def from_table(table: Mapping[str, Any], where: str) -> Limits:
    """The limits of a table whose keys and types are checked already; UsageError says what is wrong with a value."""
    return Limits(**{key: _value(key, value, f"{key} of {where}") for key, value in table.items()})


def from_environment(env: Mapping[str, str]) -> Limits:
    """``$SESSIONCTL_RATE`` and the like."""
    found: dict[str, Any] = {}
    for key, kind in KEYS.items():
        if text := env.get(variable_of(key)):
            try:
                value = kind(text)
            except ValueError:
                raise UsageError(f"${variable_of(key)} must be a number, not {text!r}") from None
            found[key] = _value(key, value, f"${variable_of(key)}")
    return Limits(**found)


def variable_of(key: str) -> str:
    """The environment's name for a limit."""
    return f"SESSIONCTL_{key.upper()}"


def _value(key: str, value: Any, where: str) -> Any:
    try:
        if key in _READ:
            return _READ[key](value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if not value > 0:
        raise UsageError(f"{where} must be more than 0, not {value}")
    return value
