"""The settings file as data: read, parsed, and every key checked against one table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from sessionctl.config import limits, summarizing
from sessionctl.config.locations import absolute
from sessionctl.core.address import OWN_OPTIONS, mask
from sessionctl.core.units import parse_duration
from sessionctl.errors import UsageError

KEYS: Mapping[str, type] = {
    "default_store": str,
    "ledger": str,
    "stores.*.url": str,
    "stores.*.url_env": str,
    "stores.*.password_env": str,
    "stores.*.password_file": str,
    "stores.*.archive": str,
    "stores.*.archive_keep": str,
    **{f"stores.*.{option}": str for option in OWN_OPTIONS},
    **{f"summarize.{key}": kind for key, kind in summarizing.KEYS.items()},
    **{f"{table}.{key}": kind for table in ("limits", "stores.*.limits") for key, kind in limits.KEYS.items()},
}
"""Every key of the file and the type of its value; ``*`` stands for a name that the user chooses."""

_PATTERNS = tuple(tuple(key.split(".")) for key in KEYS)
_TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


def reason(error: Exception) -> str:
    """What went wrong with a file, in lower-case words and without its path."""
    return (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like ``word``, None where none is alike."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def read(path: Path, warnings: list[str], *, must_exist: bool) -> bytes | None:
    """The bytes of the file; None for one that may be absent and is. Raises UsageError for one that cannot be read."""
    try:
        path.stat()
    except OSError as error:
        if must_exist:
            raise UsageError(
                f"the settings file cannot be read: {reason(error)}: {path}",
                hint="check --config and $SESSIONCTL_CONFIG",
            ) from None
        if isinstance(error, PermissionError):
            # Under another user's HOME (su, setpriv) the locations there are out of reach, not absent.
            warnings.append(f"{path} was not looked at: permission denied")
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the settings file cannot be read: {reason(error)}: {path}") from None


def parse(path: Path, text: bytes, env: Mapping[str, str]) -> dict[str, Any]:
    """The file's values: known keys, right types, complete stores. Raises UsageError naming the file."""
    import tomllib  # only where there is a file

    try:
        values = tomllib.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path} is not valid TOML: it is not UTF-8 text (at line {line})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    _check(values, (), path)
    values.setdefault("limits", {})
    summarizing.check(values.setdefault("summarize", {}), str(path))
    stores = values.setdefault("stores", {})
    for name, store in stores.items():
        _check_store(name, store, path, env)
    if "://" not in values.get("ledger", "://"):
        absolute(values["ledger"], env, "the path of the ledger", str(path))
    if "default_store" in values:
        _check_default(values["default_store"], stores, path, env)
    return values


def exposed(path: Path, values: Mapping[str, Any]) -> str | None:
    """A warning where the file holds a password that others can read."""
    urls = (values.get("ledger", ""), *(store.get("url", "") for store in values["stores"].values()))
    secret = any(mask(url) != url for url in urls)
    return (
        f"{path} holds a password and others may read it: chmod 600 it" if secret and readable_by_others(path) else None
    )


def readable_by_others(path: Path) -> bool:
    """Whether group or world may read the file; Windows does not say so in the mode."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def _check(table: Mapping[str, Any], at: tuple[str, ...], path: Path) -> None:
    """Raise UsageError for the first unknown key or value of the wrong type in ``table``, which stands at ``at``."""
    possible = [pattern for pattern in _PATTERNS if _fits(at, pattern)]
    for name, value in table.items():
        here = (*at, name)
        fitting = [pattern for pattern in possible if _fits(here, pattern)]
        if not fitting:
            raise _unknown(name, here, {pattern[len(at)] for pattern in possible}, path)
        wanted = next((KEYS[".".join(pattern)] for pattern in fitting if len(pattern) == len(here)), dict)
        if type(value) is not wanted and (type(value), wanted) != (int, float):
            raise _wrong_type(name, here, wanted, value, path)
        if isinstance(value, dict):
            _check(value, here, path)


def _fits(at: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(at) <= len(pattern) and all(step in ("*", name) for name, step in zip(at, pattern, strict=False))


def _unknown(name: str, here: tuple[str, ...], known: set[str], path: Path) -> UsageError:
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(known))}"
    return UsageError(f"unknown key {'.'.join(here)!r} in {path}", hint=hint)


def _wrong_type(name: str, here: tuple[str, ...], wanted: type, value: Any, path: Path) -> UsageError:
    """The value itself stays out of the message: it may be a secret."""
    found = "a table" if isinstance(value, dict) else _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
    expected = "a table" if wanted is dict else _TYPE_NAMES[wanted]
    hint = f'write {name} = "…", in quotes' if wanted is str and not isinstance(value, dict | list) else None
    return UsageError(f"{'.'.join(here)!r} in {path} must be {expected}, not {found}", hint=hint)


def _check_store(name: str, store: Mapping[str, Any], path: Path, env: Mapping[str, str]) -> None:
    where = f"store {name!r} in {path}"
    if not name or "://" in name:
        raise UsageError(f"{name!r} in {path} cannot be the name of a store", hint="a name is a word, such as prod")
    if "url" not in store and "url_env" not in store:
        raise UsageError(f"{where} has no url", hint="give it url, or url_env to take it from the environment")
    for one, other in (("url", "url_env"), ("password_env", "password_file")):
        if one in store and other in store:
            raise UsageError(f"{where} has both {one} and {other}", hint="keep one of them")
    for key, value in store.items():
        if not value and key != "limits":
            raise UsageError(f"{key} of {where} is empty")
    for key, what in (("url", "the path"), ("archive", "archive"), ("password_file", "password_file")):
        if key in store and (key == "password_file" or "://" not in store[key]):
            absolute(store[key], env, f"{what} of store {name!r}", str(path))
    if "archive_keep" in store:
        _check_keep(store["archive_keep"], f"archive_keep of {where}")


def _check_keep(value: str, where: str) -> None:
    try:
        is_long_enough = parse_duration(value) > timedelta(0)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    if not is_long_enough:
        raise UsageError(f"{where} must be more than 0")


def _check_default(value: str, stores: Mapping[str, Any], path: Path, env: Mapping[str, str]) -> None:
    if value in stores or "://" in value:
        return
    if "/" in value or value.startswith("~"):
        absolute(value, env, "default_store", str(path))
        return
    near = nearest(value, stores)
    hint = f"did you mean {near}?" if near else "it is the name of one of the [stores] there, a URL or an absolute path"
    raise UsageError(f"default_store in {path} names no store: {value!r}", hint=hint)
