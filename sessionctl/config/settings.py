"""The settings in force, and which stores an invocation means."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sessionctl.config import file, limits, summarizing
from sessionctl.config.locations import (
    LEDGER_FILE,
    absolute,
    default_locations,
    expand,
    state_dir,
    state_dir_and_origin,
)
from sessionctl.core.address import OWN_OPTIONS, StoreAddress, mask, parse_address
from sessionctl.core.condensing import Condensing, Kind
from sessionctl.core.limits import Limits
from sessionctl.core.units import parse_duration
from sessionctl.errors import StoreMissing, UsageError

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One effective value, secrets masked, fit to be shown. ``value`` None: not set."""

    key: str
    value: str | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """One ``[stores.NAME]``: its keys as the file has them. A URL among them may hold a secret."""

    name: str
    values: Mapping[str, str] = field(repr=False)
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        """The store's own options, as ``StoreAddress.options`` takes them."""
        return {key: self.values[key] for key in OWN_OPTIONS if key in self.values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is configured.

    ``path`` is the file in use (None: there is none), ``origin`` what chose it, ``searched`` where it was
    looked for. ``warnings`` are sentences for the user. The environment is kept for the URLs and passwords in it.
    """

    path: Path | None = None
    origin: str = "default location"
    searched: tuple[Path, ...] = ()
    default_store: str | None = None
    ledger: str | None = field(default=None, repr=False)
    stores: Mapping[str, StoreSettings] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    summarize: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def resolve(self, names: Sequence[str], all_stores: bool = False) -> tuple[StoreAddress, ...]:
        """The stores meant: ``names`` (each a URL, a configured name or a path), else ``$SESSIONCTL_STORE``, else
        ``default_store``; with ``all_stores`` every store of the file. In the order given, repeats dropped.

        Raises UsageError where nothing says which store, or a URL or password that the file refers to is
        not there; StoreMissing for a value that is neither a configured name nor an existing path.
        """
        if all_stores:
            return self._all_stores(names)
        chosen, origin = self._chosen(names)
        return tuple(self._address(value, origin) for value in dict.fromkeys(chosen))

    def to_be_made(self, name: str, origin: str) -> StoreAddress:
        """The store meant by ``name``, as in ``resolve``; a path of nothing is that of a file still to be made."""
        try:
            return self._address(name, origin)
        except StoreMissing:
            return StoreAddress(scheme="sqlite", path=expand(name, self.env), origin=origin)

    def configured(self, name: str, origin: str = "--store", *, with_password: bool = True) -> StoreAddress:
        """The store of this name. Raises UsageError where a URL or password that the file refers to is not there.

        Without password it is for showing only, and no password is looked up.
        """
        store = self.stores[name]
        url = self._url_of(store)
        password = self._password_of(store) if with_password else None
        address = parse_address(url, options=store.options, name=name, origin=origin)
        if address.path is None:
            return address if password is None else replace(address, url=_with_password(address.url, password, name))
        if password is not None:
            raise UsageError(f"store {name!r} is a file, which takes no password", hint="remove its password setting")
        variable = store.values.get("url_env")
        where = f"${variable}" if variable else str(self.path)
        return replace(address, path=absolute(str(address.path), self.env, f"the path of store {name!r}", where))

    def limits_of(self, name: str | None) -> Limits:
        """The limits of runs on the store of this name (None: one that is not configured), where no flag sets them.

        Raises UsageError naming the variable or key whose value cannot be used.
        """
        found = limits.from_environment(self.env)
        if name is not None and name in self.stores:
            found = found.over(limits.from_table(self.stores[name].limits, f"store {name!r} in {self.path}"))
        return found.over(limits.from_table(self.limits, f"limits in {self.path}"))

    def archive_of(self, name: str | None) -> str | None:
        """Where runs on the store of this name archive what they remove, unless a flag says otherwise."""
        archive = self.stores[name].values.get("archive") if name is not None and name in self.stores else None
        return archive if archive is None or "://" in archive else str(expand(archive, self.env))

    def archive_keep_of(self, name: str | None) -> timedelta | None:
        """How long archives of the store of this name are kept; None where nothing says so."""
        keep = self.stores[name].values.get("archive_keep") if name is not None and name in self.stores else None
        return None if keep is None else parse_duration(keep)

    def condensing(self, kind: Kind, *, model: str | None = None, max_tokens: int | None = None) -> Condensing:
        """The terms on which turns are condensed, flags included. Raises UsageError; see ``summarizing.condensing``."""
        return summarizing.condensing(self.summarize, self.env, kind, model=model, max_tokens=max_tokens)

    @property
    def ledger_address(self) -> StoreAddress:
        """Where runs are recorded: ``$SESSIONCTL_LEDGER``, else ``ledger`` of the file, else a file of this user's.

        Raises UsageError for what is neither a URL nor an absolute path.
        """
        given, origin = self._ledger()
        if given is None:
            return StoreAddress(scheme="sqlite", path=state_dir(self.env) / LEDGER_FILE, origin=origin)
        address = parse_address(given, origin=origin)
        if address.path is None:
            return address
        return replace(address, path=absolute(str(address.path), self.env, "the path of the ledger", origin))

    def _ledger(self) -> tuple[str | None, str]:
        if given := self.env.get("SESSIONCTL_LEDGER"):
            return given, "$SESSIONCTL_LEDGER"
        return (self.ledger, str(self.path)) if self.ledger else (None, state_dir_and_origin(self.env)[1])

    @property
    def default(self) -> str | None:
        """What stands for no ``--store``: ``$SESSIONCTL_STORE``, else ``default_store``."""
        return self.env.get("SESSIONCTL_STORE") or self.default_store

    def effective(self) -> Iterator[Setting]:
        """Every value in force and its origin, in the order of the file; secrets masked."""
        in_file = str(self.path)
        yield Setting(key="config", value=None if self.path is None else in_file, origin=self.origin)
        if chosen := self.env.get("SESSIONCTL_STORE"):
            yield Setting(key="default_store", value=mask(chosen), origin="$SESSIONCTL_STORE")
        elif self.default_store:
            yield Setting(key="default_store", value=mask(self.default_store), origin=in_file)
        else:
            yield Setting(key="default_store", value=None, origin="default")
        directory, origin = state_dir_and_origin(self.env)
        yield Setting(key="state_dir", value=str(directory), origin=origin)
        given, origin = self._ledger()
        yield Setting(key="ledger", value=mask(given or str(directory / LEDGER_FILE)), origin=origin)
        yield from self._tabled("limits", self.limits, limits.variable_of, limits.KEYS)
        yield from self._tabled("summarize", self.summarize, summarizing.variable_of, summarizing.KEYS)
        for name, store in self.stores.items():
            for key, value in store.values.items():
                yield Setting(key=f"stores.{name}.{key}", value=mask(value), origin=in_file)
            for key, limit in store.limits.items():
                yield Setting(key=f"stores.{name}.limits.{key}", value=str(limit), origin=in_file)
            if variable := store.values.get("url_env"):
                url = self.env.get(variable)
                yield Setting(key=f"stores.{name}.url", value=mask(url) if url else None, origin=f"${variable}")

    def _tabled(
        self, table: str, values: Mapping[str, Any], variable_of: Callable[[str], str], keys: Iterable[str]
    ) -> Iterator[Setting]:
        for key in keys:
            if given := self.env.get(variable_of(key)):
                yield Setting(key=f"{table}.{key}", value=mask(given), origin=f"${variable_of(key)}")
            elif key in values:
                yield Setting(key=f"{table}.{key}", value=mask(str(values[key])), origin=str(self.path))

    def _all_stores(self, names: Sequence[str]) -> tuple[StoreAddress, ...]:
        if names:
            raise UsageError("--store and --all-stores exclude each other", hint="give one of them")
        if not self.stores:
            raise UsageError(
                "--all-stores means the stores of the settings file, and none is configured",
                hint="sessionctl config path shows where the file is looked for",
            )
        return tuple(self.configured(name, "--all-stores") for name in self.stores)

    def _chosen(self, names: Sequence[str]) -> tuple[Sequence[str], str]:
        if names:
            return names, "--store"
        if from_env := self.env.get("SESSIONCTL_STORE"):
            return (from_env,), "$SESSIONCTL_STORE"
        if self.default_store:
            return (self.default_store,), f"default_store in {self.path}"
        raise UsageError(
            "no store is named",
            hint="name one with --store NAME|URL|PATH, $SESSIONCTL_STORE, or default_store in the settings file",
        )

    def _address(self, value: str, origin: str) -> StoreAddress:
        if not value:
            raise UsageError(f"the store that {origin} names is empty")
        if "://" in value:
            return parse_address(value, origin=origin)
        if value in self.stores:
            return self.configured(value, origin)
        path = expand(value, self.env)
        if os.path.lexists(path) or _GLOB.search(value):
            return StoreAddress(scheme="sqlite", path=path, origin=origin)
        near = file.nearest(value, self.stores)
        if near:
            hint = f"did you mean the configured store {near}?"
        elif self.stores:
            hint = f"configured stores: {', '.join(self.stores)}"
        else:
            hint = "no store is configured; give the path of a file or directory, or a URL"
        raise StoreMissing(
            f"{value!r} ({origin}) is no configured store, and no such file or directory exists", hint=hint
        )

    def _url_of(self, store: StoreSettings) -> str:
        if "url" in store.values:
            return store.values["url"]
        return self._variable(store.values["url_env"], f"store {store.name!r} takes its URL")

    def _password_of(self, store: StoreSettings) -> str | None:
        if variable := store.values.get("password_env"):
            return self._variable(variable, f"store {store.name!r} takes its password")
        if not (named := store.values.get("password_file")):
            return None
        path = expand(named, self.env)
        try:
            # One line end is the editor's, whatever stands before it is the password's.
            return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the password file of store {store.name!r} cannot be read: {file.reason(error)}: {path}"
            ) from None

    def _variable(self, name: str, who: str) -> str:
        if value := self.env.get(name):
            return value
        raise UsageError(f"{who} from ${name}, which is not set", hint=f"export {name}")


def load(config: Path | None, env: Mapping[str, str]) -> Settings:
    """Read the first settings file of ``config`` (``--config``), ``$SESSIONCTL_CONFIG`` and the default locations.

    Raises UsageError, naming the file, for one that was asked for and is missing, cannot be read or is not
    TOML, and for an unknown key, a value of the wrong type, or values that contradict each other.
    """
    if config:
        return _first((expand(str(config), env),), "--config", env, must_exist=True)
    if named := env.get("SESSIONCTL_CONFIG"):
        return _first((expand(named, env),), "$SESSIONCTL_CONFIG", env, must_exist=True)
    return _first(default_locations(env), "default location", env, must_exist=False)


def _first(candidates: tuple[Path, ...], origin: str, env: Mapping[str, str], *, must_exist: bool) -> Settings:
    warnings: list[str] = []
    for path in candidates:
        text = file.read(path, warnings, must_exist=must_exist)
        if text is None:
            continue
        values = file.parse(path, text, env)
        if warning := file.exposed(path, values):
            warnings.append(warning)
        return Settings(
            path=path,
            origin=origin,
            searched=candidates,
            default_store=values.get("default_store"),
            ledger=values.get("ledger"),
            stores={name: _store(name, table) for name, table in values["stores"].items()},
            limits=values["limits"],
            summarize=values["summarize"],
            warnings=tuple(warnings),
            env=env,
        )
    return Settings(searched=candidates, env=env, warnings=tuple(warnings))


def _store(name: str, table: Mapping[str, Any]) -> StoreSettings:
    values = {key: value for key, value in table.items() if key != "limits"}
    return StoreSettings(name=name, values=values, limits=table.get("limits", {}))


def _with_password(url: str, password: str, name: str) -> str:
    """``url`` with the password put into its user part, quoted."""
    scheme, _, rest = url.partition("://")
    end = re.search(r"[/?#]|$", rest)
    host_part = rest[: end.start() if end else len(rest)]
    user, _, host = host_part.rpartition("@")
    if ":" in user:
        raise UsageError(
            f"store {name!r} has a password in its URL and another setting for it", hint="keep one of them"
        )
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}{rest[len(host_part) :]}"
