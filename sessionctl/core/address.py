"""Where a store is: the URL or path a user gives, taken apart, with its secrets kept out of sight."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from sessionctl.core.releases import parse_release
from sessionctl.errors import UsageError

OWN_OPTIONS = ("sessions_table", "messages_table", "timezone", "sdk")
"""URL query parameters that are sessionctl's own, the same names as the keys of a store in the config."""

_SECRET_KEY = re.compile(r"pass|secret|token|(^|_)key$|credential", re.IGNORECASE)
# A raw ? or # in a password ends the authority early, and what is left of it looks like a port or a query.
_SPLIT_PASSWORD = re.compile(r"[^:/?#]+://[^@/?#:]*:(?:[^@?#/]*[?#]|(?!\d+/)[^@?#]*[?#])[^@]*@")
_GLOB = re.compile(r"[*?\[]")
_SQLITE_SCHEMES = {"sqlite", "file"}


def mask(url: str) -> str:
    """``url`` with every password in it replaced by ``***``: in the user part and in secret query values."""
    if "://" not in url:
        return url
    if _SPLIT_PASSWORD.match(url):
        return url.partition("://")[0] + "://***"
    head, question, query = url.partition("?")
    scheme, rest = head.split("://", 1)
    userinfo, at, host = rest.rpartition("@")
    if at and ":" in userinfo:
        userinfo = userinfo.split(":", 1)[0] + ":***"
    if query:
        pairs = (pair.partition("=") for pair in query.split("&"))
        query = "&".join(k + eq + ("***" if eq and _SECRET_KEY.search(k) else v) for k, eq, v in pairs)
    return f"{scheme}://{userinfo}{at}{host}{question}{query}"


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """One store address, before it is opened.

    ``scheme`` is the dialect without its driver (``postgresql`` for ``postgresql+asyncpg://``); ``path``
    is set for files, ``url`` (secret!) for servers. ``options`` are sessionctl's own settings. ``name`` is
    its name in the config, ``fleet`` that of the fleet whose member it is, ``origin`` says where the choice of it
    came from. ``str()`` is masked.
    """

    scheme: str
    path: Path | None = None
    url: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    fleet: str | None = None
    origin: str = "--store"

    def __str__(self) -> str:
        if self.path is not None:
            return f"sqlite:///{self.path}"
        return mask(self.url)

    @property
    def recorded(self) -> str:
        """What tells this store from every other, from any directory; masked, and an address itself."""
        tables = {key: value for key, value in self.options.items() if key.endswith("_table")}
        text = f"sqlite:///{self.path.absolute()}" if self.path is not None else str(self)
        return f"{text}{'&' if '?' in text else '?'}{urlencode(tables)}" if tables else text

    @property
    def configured_as(self) -> str | None:
        """The name in the config under which its settings stand."""
        return self.name or self.fleet

    @property
    def label(self) -> str:
        """What tables call it: the config's name, else the masked address."""
        return self.name or str(self)

    @property
    def is_of_one_host(self) -> bool:
        """On another machine the same address means another store: a file, or a server of that machine's own."""
        if self.path is not None:
            return True
        parts = urlsplit(self.url)
        host = parts.hostname or dict(parse_qsl(parts.query)).get("host") or "localhost"  # as libpq reads a URL
        return host in ("localhost", "::1") or host.startswith(("127.", "/"))

    @property
    def is_fleet(self) -> bool:
        """A directory or a glob of SQLite files."""
        if self.path is None or self.path.is_file():
            return False
        return self.path.is_dir() or bool(_GLOB.search(str(self.path)))


def parse_address(
    text: str, *, options: Mapping[str, str] | None = None, name: str | None = None, origin: str = "--store"
) -> StoreAddress:
    """Take ``text`` (a URL or a path) apart; ``options`` from the config yield to those in the URL.

    Raises UsageError for a URL without a usable form; nothing is opened or looked at.
    """
    given = dict(options or {})
    if "://" not in text:
        _check(given)
        return StoreAddress(scheme="sqlite", path=Path(text), options=given, name=name, origin=origin)
    if _SPLIT_PASSWORD.match(text):
        raise UsageError(
            f"{mask(text)} is not a store URL: its password has a character that must be percent-encoded",
            hint="write ? as %3F, # as %23 and an @ behind the host as %40, or use password_env in the settings file",
        )
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UsageError(f"{mask(text)!r} is not a store URL") from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    given |= {key: query.pop(key) for key in OWN_OPTIONS if key in query}
    _check(given)
    scheme = parts.scheme.lower().split("+")[0]
    if scheme in _SQLITE_SCHEMES:
        return StoreAddress(scheme="sqlite", path=_sqlite_path(text), options=given, name=name, origin=origin)
    if scheme == "postgres":  # a common spelling that SQLAlchemy refuses
        scheme = "postgresql"
    # By hand: urlunsplit leaves the slashes out where no host stands between them, as with a socket.
    url = f"{scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(query)}" if query else "")
    return StoreAddress(scheme=scheme, url=url, options=given, name=name, origin=origin)


def _check(options: Mapping[str, str]) -> None:
    try:
        parse_release(options.get("sdk", "0"))
    except ValueError as error:
        raise UsageError(f"the option sdk of a store: {error}") from None


def _sqlite_path(text: str) -> Path:
    """``sqlite:///relative.db`` and ``sqlite:////absolute.db``, as SQLAlchemy reads them."""
    rest = text.split("://", 1)[1].split("?", 1)[0]
    path = rest.removeprefix("/")
    if not rest.startswith("/") or path in ("", ":memory:"):
        raise UsageError(
            f"{text!r} names no SQLite file", hint="write sqlite:///file.db or sqlite:////absolute/path.db"
        )
    return Path(path)
