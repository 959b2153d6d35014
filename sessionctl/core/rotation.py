"""Where rotated sessions go: windows of time, groups by id, and the template that names a target for each.

A target is a path or a URL. What applications and file names put into one is made a plain part of a path first
(``core.names``), so that no id, whatever it is, leads out of the template's directory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from urllib.parse import quote

from sessionctl.core.names import file_name
from sessionctl.errors import UsageError


class Period(StrEnum):
    """How long a window is. All are by the calendar, in UTC; weeks are those of ISO 8601."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def fields(self) -> tuple[str, ...]:
        """What tells its windows apart in a template; ``year`` of a week is the one that ISO counts it to."""
        return {
            Period.DAY: ("year", "month", "day"),
            Period.WEEK: ("year", "week"),
            Period.MONTH: ("year", "month"),
            Period.YEAR: ("year",),
        }[self]

    def begins(self, at: datetime) -> datetime:
        """The first instant of the window that has ``at``."""
        day = at.astimezone(UTC).date()
        first = {
            Period.DAY: day,
            Period.WEEK: day - timedelta(days=day.weekday()),
            Period.MONTH: day.replace(day=1),
            Period.YEAR: day.replace(month=1, day=1),
        }[self]
        return datetime(first.year, first.month, first.day, tzinfo=UTC)

    def named(self, at: datetime) -> dict[str, str]:
        """The fields of the window that has ``at``."""
        day = at.astimezone(UTC).date()
        if self is Period.WEEK:
            iso = day.isocalendar()
            return {"year": f"{iso.year:04}", "week": f"{iso.week:02}"}
        told = {"year": f"{day.year:04}", "month": f"{day.month:02}", "day": f"{day.day:02}"}
        return {name: told[name] for name in self.fields}

    def read(self, fields: Mapping[str, str]) -> datetime | None:
        """The first instant of the window with these fields; None for what is no date."""
        year = int(fields["year"])
        try:
            if self is Period.WEEK:
                first = date.fromisocalendar(year, int(fields["week"]), 1)
            else:
                first = date(year, int(fields.get("month", 1)), int(fields.get("day", 1)))
        except ValueError:
            return None
        return datetime(first.year, first.month, first.day, tzinfo=UTC)


_TIMES = {"year": r"\d{4}", "month": r"\d{2}", "day": r"\d{2}", "week": r"\d{2}"}
GROUP, STEM = "group", "stem"
_KNOWN = (*_TIMES, GROUP, STEM)
_FIELD = re.compile(r"\{([^{}]*)\}")
_PLAIN_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
PACKED = (".gz", ".zst")
"""What a compressed file has behind the name of its target."""


@dataclass(frozen=True, slots=True)
class Template:
    """A path or URL with fields in braces. ``is_path``: its targets are files, and absolute here.

    Raises UsageError where fields are unknown, or those that ``period`` and ``grouped`` give are not there, or
    others are.
    """

    text: str
    period: Period | None = None
    grouped: bool = False
    is_path: bool = field(init=False)

    def __post_init__(self) -> None:
        path = _path_of(self.text)
        object.__setattr__(self, "is_path", path is not None)
        if path is not None:
            object.__setattr__(self, "text", str(Path(path).absolute()))
        self._check()

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(_FIELD.findall(self.text))

    @property
    def directory(self) -> Path | None:
        """The deepest directory that all targets lie in; None for URLs."""
        if not self.is_path:
            return None
        fixed = self.text.partition("{")[0]
        return Path(fixed) if fixed.endswith("/") else Path(fixed).parent

    def target(self, at: datetime | None, *, group: str = "", stem: str = "") -> str:
        """The target of a session that was last active ``at`` and is of ``group``, out of a store called ``stem``."""
        values = {GROUP: file_name(group), STEM: plain_stem(stem)}
        if self.period is not None and at is not None:
            values |= self.period.named(at)
        return self._filled(values)

    def sibling(self, target: str, number: int) -> str:
        """Another target beside ``target``, for what that cannot take; the first is ``target`` itself, number 1."""
        if number == 1:
            return target
        suffix = self._suffix
        return f"{target.removesuffix(suffix)}+{number}{suffix}"

    def found(self, path: str) -> dict[str, str] | None:
        """The fields of a target, a sibling, or a compressed one of them; None for any other path."""
        match = re.fullmatch(self._pattern, path)
        return match.groupdict() if match else None

    def begins(self, fields: Mapping[str, str]) -> datetime | None:
        """When the window of a target with these fields begins; None without windows."""
        return None if self.period is None else self.period.read(fields)

    @property
    def glob(self) -> str:
        """Finds every path that ``found`` knows, and others."""
        head, suffix = self.text.removesuffix(self._suffix), self._suffix
        parts = [re.sub(r"([*?[])", r"[\1]", part) for part in _FIELD.split(head)[::2]]
        return re.sub(r"\*{2,}", "*", "*".join(parts) + "*" + re.sub(r"([*?[])", r"[\1]", suffix) + "*")

    @property
    def _suffix(self) -> str:
        suffix = Path(self.text).suffix if self.is_path else ""
        return "" if "{" in suffix or "}" in suffix else suffix

    @property
    def _pattern(self) -> str:
        suffix = self._suffix
        seen: set[str] = set()
        pattern = ""
        for number, part in enumerate(_FIELD.split(self.text.removesuffix(suffix))):
            if number % 2 == 0:
                pattern += re.escape(part)
            elif part in seen:
                pattern += f"(?P={part})"
            else:
                seen.add(part)
                pattern += f"(?P<{part}>{_TIMES.get(part, '[^/+]+')})"
        packed = "|".join(map(re.escape, PACKED))
        return rf"{pattern}(?:\+\d+)?{re.escape(suffix)}(?:{packed})?"

    def _filled(self, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            return values[match[1]] if self.is_path else quote(values[match[1]], safe="")

        return _FIELD.sub(value, self.text)

    def _check(self) -> None:
        given = self.fields
        if unknown := sorted(given.difference(_KNOWN)):
            known = ", ".join(f"{{{name}}}" for name in _KNOWN)
            raise UsageError(f"--into has no field {{{unknown[0]}}}", hint=f"it has {known}")
        wanted = self.period.fields if self.period else ()
        if lacking := [name for name in wanted if name not in given]:
            raise UsageError(
                f"--by {self.period} needs {{{lacking[0]}}} in --into: each {self.period} has its own target"
            )
        if more := sorted(given.intersection(_TIMES).difference(wanted)):
            goes = f"does not go with --by {self.period}" if self.period else "needs --by"
            raise UsageError(f"{{{more[0]}}} in --into {goes}")
        if self.grouped != (GROUP in given):
            raise UsageError("{group} in --into and --by-match go together")
        if any({GROUP, STEM} <= set(_FIELD.findall(part)) for part in self.text.split("/")):
            raise UsageError("{group} and {stem} in --into need a / between them, or two could make the same name")
        if self.is_path and self.text.endswith(PACKED):
            raise UsageError("--into names the SQLite files: --compress adds what compressed ones are called")


def _path_of(text: str) -> str | None:
    """The path that a template means, None for one of URLs."""
    if "://" not in text:
        return text
    scheme, rest = text.split("://", 1)
    if scheme.lower().split("+")[0] not in ("sqlite", "file"):
        return None
    if not rest.startswith("/") or "?" in rest:
        raise UsageError(f"--into {text!r} names no SQLite files", hint="give the path, without sqlite:// and options")
    return rest.removeprefix("/")


def plain_stem(stem: str) -> str:
    """What stands for ``{stem}``: the name as it is where it is plain, for it is the name of a file already."""
    return stem if _PLAIN_STEM.fullmatch(stem) and not stem.endswith(".") else file_name(stem)


@cache
def grouping(regex: str) -> Callable[[str], str | None]:
    """The group of an id, as the first capture of ``regex`` has it; None where it does not match.

    Raises UsageError for what is no regular expression, or captures nothing.
    """
    try:
        compiled = re.compile(regex)
    except re.error as error:
        raise UsageError(f"--by-match {regex!r} is not a regular expression: {error}") from None
    if compiled.groups < 1:
        raise UsageError(f"--by-match {regex!r} captures nothing: put the group in parentheses")

    def group(session_id: str) -> str | None:
        match = compiled.search(session_id)
        return match[1] if match else None

    return group


class OldestFirst:
    """Chooses the oldest of many, until they come to a size. Takes 16 octets of memory for each."""

    def __init__(self) -> None:
        self._times, self._sizes = array("d"), array("q")

    def add(self, at: datetime | None, size: int) -> None:
        """One more; one without a time counts as the oldest."""
        self._times.append(at.timestamp() if at else float("-inf"))
        self._sizes.append(size)

    def choose(self, needed: int) -> Iterator[bool]:
        """For each in the order of adding: is it among the fewest oldest that come to ``needed`` octets together?"""
        chosen = bytearray(len(self._times))
        for number in sorted(range(len(self._times)), key=self._times.__getitem__):
            if needed <= 0:
                break
            chosen[number] = 1
            needed -= self._sizes[number]
        return map(bool, chosen)


def beyond(windows: Sequence[datetime], keep: int) -> frozenset[datetime]:
    """Of these windows, by their beginnings, all but the ``keep`` newest."""
    return frozenset(sorted(set(windows), reverse=True)[keep:])
