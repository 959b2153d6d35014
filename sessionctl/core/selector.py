"""Which sessions: the selectors a user gives, and the query they become at a given time.

A ``Selector`` speaks in the user's terms (``--older-than 30d``); ``resolve(now)`` turns it into a
``Query`` of absolute bounds, which stores push down as far as they can and which ``matches`` decides
exactly. ``keep_last`` needs the other sessions too, so it is decided by ``operations.selecting``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from sessionctl.core.model import SessionRef
from sessionctl.core.units import count, exact_duration, format_second, format_size

_OPERATORS: dict[str, Callable[[datetime, datetime], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """``column op at``, where column is ``updated_at`` (last activity) or ``created_at``."""

    column: str
    op: str
    at: datetime

    def holds(self, ref: SessionRef) -> bool:
        """False where the session has no such time: an unknown age matches nothing."""
        value = ref.updated_at if self.column == "updated_at" else ref.created_at
        return value is not None and _OPERATORS[self.op](value, self.at)


def _tokens(size: int) -> int:
    from sessionctl.core.tokens import tokens_of_size

    return tokens_of_size(size)


def glob_regex(glob: str) -> str:
    """A contract glob as a regular expression: ``*`` and ``?`` match any character, all else is itself."""
    return "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in glob)


@dataclass(frozen=True, kw_only=True)
class Query:
    """Absolute criteria, all of which must hold; ``named`` and ``globs`` together mean any of them.

    ``named`` None and no globs: every session. Globs are case-sensitive.
    """

    named: frozenset[str] | None = None
    globs: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()
    min_items: int | None = None
    min_bytes: int | None = None
    min_tokens: int | None = None
    empty: bool = False

    @property
    def measures(self) -> bool:
        """Does deciding it need the sizes of sessions?"""
        return self.empty or any(n is not None for n in (self.min_items, self.min_bytes, self.min_tokens))

    @cached_property
    def _admits(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(glob_regex, self.globs)), re.DOTALL) if self.globs else None

    @cached_property
    def _excludes(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(glob_regex, self.excluded)), re.DOTALL) if self.excluded else None

    def admits(self, session_id: str) -> bool:
        """Do the id selectors alone admit this id?"""
        if self.named is not None or self._admits is not None:
            named = self.named is not None and session_id in self.named
            if not named and not (self._admits is not None and self._admits.fullmatch(session_id)):
                return False
        return not (self._excludes is not None and self._excludes.fullmatch(session_id))

    def matches(self, ref: SessionRef) -> bool:
        """The exact decision; ``ref`` must carry sizes where ``measures`` says so."""
        if not self.admits(ref.id) or not all(bound.holds(ref) for bound in self.bounds):
            return False
        items, size = ref.items or 0, ref.bytes or 0
        return (
            (self.min_items is None or items >= self.min_items)
            and (self.min_bytes is None or size >= self.min_bytes)
            and (self.min_tokens is None or _tokens(size) >= self.min_tokens)
            and not (self.empty and items)
        )

    def only_ids(self) -> Query:
        """The same query with nothing but its id selectors."""
        return Query(named=self.named, globs=self.globs, excluded=self.excluded)

    def also(self, *bounds: Bound) -> Query:
        return replace(self, bounds=(*self.bounds, *bounds))


@dataclass(frozen=True, kw_only=True)
class Selector:
    """What the user asked for, in the user's own terms; times relative until ``resolve``."""

    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    before: datetime | None = None
    after: datetime | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    named: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    min_items: int | None = None
    min_bytes: int | None = None
    min_tokens: int | None = None
    empty: bool = False
    keep_last: int | None = None
    group_by: str | None = None
    named_given: bool = field(default=False)
    """An id list was given, though it may be empty (``--ids-from`` an empty file selects nothing)."""

    @property
    def is_everything(self) -> bool:
        """True where nothing narrows it (``exclude`` alone does not count as a choice)."""
        return replace(self, excluded=()) == Selector()

    @property
    def names_sessions(self) -> bool:
        return self.named_given

    def resolve(self, now: datetime) -> Query:
        """The query at ``now`` (the store's clock, aware UTC)."""
        bounds = [
            Bound("updated_at", "<=", now - self.older_than) if self.older_than is not None else None,
            Bound("updated_at", ">", now - self.newer_than) if self.newer_than is not None else None,
            Bound("updated_at", "<", self.before) if self.before else None,
            Bound("updated_at", ">=", self.after) if self.after else None,
            Bound("created_at", "<", self.created_before) if self.created_before else None,
            Bound("created_at", ">=", self.created_after) if self.created_after else None,
        ]
        return Query(
            named=frozenset(self.named) if self.named_given else None,
            globs=self.globs,
            excluded=self.excluded,
            bounds=tuple(bound for bound in bounds if bound is not None),
            min_items=self.min_items,
            min_bytes=self.min_bytes,
            min_tokens=self.min_tokens,
            empty=self.empty,
        )

    def explain(self, now: datetime) -> tuple[str, ...]:
        """One English clause per criterion, with absolute times, for the plan."""
        said: list[str] = []
        if self.named_given:
            said.append(f"named: {count(len(set(self.named)), 'session id')}")
        said += [f"id matches {glob}" for glob in self.globs] + [f"id does not match {glob}" for glob in self.excluded]
        for age, words in ((self.older_than, "at or before"), (self.newer_than, "after")):
            if age is not None:
                said.append(f"last activity {words} {format_second(now - age)}, {exact_duration(age)} ago")
        for at, words in (
            (self.before, "last activity before"),
            (self.after, "last activity at or after"),
            (self.created_before, "created before"),
            (self.created_after, "created at or after"),
        ):
            if at is not None:
                said.append(f"{words} {format_second(at)}")
        said += [f"at least {self.min_items} items"] if self.min_items is not None else []
        said += [f"at least {format_size(self.min_bytes)}"] if self.min_bytes is not None else []
        said += [f"at least {self.min_tokens} tokens (estimate)"] if self.min_tokens is not None else []
        said += ["no items"] if self.empty else []
        if self.keep_last is not None:
            group = f" per group {self.group_by}" if self.group_by else ""
            said.append(f"not among the {self.keep_last} most recently active{group}")
        return tuple(said)
