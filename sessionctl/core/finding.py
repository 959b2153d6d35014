"""What ``doctor`` can find, by class: how grave it is and what it does. The list is public, in the command's help.

A new class is a line here and a small check: of one item or one session in ``core.diagnosis``, of a store in
its backend's own file of findings, or of what every store tells of itself in ``operations.doctor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from sessionctl.core.history import FATAL, HARMLESS

EXAMPLES = 5
"""Sessions named of each class."""


class Severity(StrEnum):
    """How grave; in this order."""

    ERROR = "error"
    """An agent fails, or something is lost."""
    WARNING = "warning"
    """It will be grave one day, or slow, or something is not seen."""
    NOTE = "note"
    """Good to know; nothing has to be done."""


class FindingClass(NamedTuple):
    """How grave findings of a class are, and what they do."""

    severity: Severity
    says: str


_ERROR, _WARNING, _NOTE = Severity
_OF_STORES: Mapping[str, tuple[Severity, str]] = {
    "unstructured_items": (_ERROR, "items that AdvancedSQLiteSession does not show and that its next pop deletes"),
    "dangling_structure": (_WARNING, "structure rows of AdvancedSQLiteSession whose items are gone"),
    "dangling_usage": (_WARNING, "recorded usage of sessions that are gone"),
    "stale_generations": (_NOTE, "clear generations of AdvancedSQLiteSession for sessions that are gone"),
    "orphan_items": (
        _WARNING,
        "items whose session has no row: no age selects them, and clear_session keeps them",
    ),
    "empty_session": (_NOTE, "sessions without items"),
    "missing_index": (_WARNING, "no index leads to a session's items: every look at a session reads the whole table"),
    "legacy_index": (_WARNING, "the index of SDK 0.6.5 and before, by which every read of a session has to be sorted"),
    "large_log": (_WARNING, "a write-ahead log that does not get smaller: a reader or a crash holds it"),
    "uncheckpointed_pages": (_WARNING, "changes that lie in the log and not in the file: something keeps them there"),
    "free_pages": (_NOTE, "space inside the file that deletions left, and that only a vacuum gives back"),
    "open_permissions": (_NOTE, "everybody on the machine may read the file"),
    "required_column": (_ERROR, "a column that the SDK does not know and that has no default: every append fails"),
    "missing_default": (_ERROR, "the SDK leaves this stamp to the database, which has no default for it"),
    "keys_not_given": (_ERROR, "the SDK leaves the keys of items to the database, which gives none"),
    "moving_stamp": (_WARNING, "a stamp that the server sets anew when its row changes: ages and orders are off"),
    "narrow_ids": (_WARNING, "a longer session id fails or is cut off, and is then another session's"),
    "text_cap": (_WARNING, "the column of items holds 64 KiB at most: a larger item fails or is cut off"),
    "no_foreign_key": (_NOTE, "no foreign key: items of a session that is deleted by others stay behind"),
    "no_cascade": (_NOTE, "a foreign key that does not cascade: others cannot delete a session that has items"),
    "case_insensitive_ids": (
        _WARNING,
        "ids that differ in case only are one session, read by both agents",
    ),
    "int4_ids": (_WARNING, "keys of items come near 2,147,483,647, behind which every append fails"),
    "local_times": (_WARNING, "stamps are local times of a zone whose clocks change: then ages and orders are off"),
    "future_stamps": (_WARNING, "sessions stamped in the future: they count as active, and nothing expires them"),
    "row_security": (_WARNING, "row level security: this role may see only some of the rows"),
    "mixed_layouts": (_NOTE, "two SDK session classes use the same tables"),
    "unknown_layout": (_WARNING, "tables as no known SDK release makes them, which are read but not changed"),
    "foreign_rows": (_NOTE, "tables or triggers of others hang on the SDK's tables"),
    "older_release": (_NOTE, "made by an older release of the SDK"),
    "young_store": (_NOTE, "a store younger than its sessions: copied or put back, and the agent forgets the rest"),
    "old_sdk": (_NOTE, "a release before 0.23.1 writes here: its appends do not lock their session"),
    "dead_reference": (_WARNING, "what only the server can resolve, older than the 30 days for which it does"),
    "server_reference": (_NOTE, "what only the server can resolve: for 30 days, and with no other key"),
    "wrong_key": (_ERROR, "encrypted items that this key does not open: the agent forgets, and its next pop deletes"),
    "mixed_envelopes": (_WARNING, "encrypted items under another key id or version than the newest of their session"),
    "expired_rows": (_NOTE, "encrypted items past their time to live: skipped on reading, never removed"),
    "plain_among_encrypted": (_WARNING, "plain items in an encrypted session, which SDK 0.23.1 and later skip"),
    "two_stores": (_WARNING, "the same id in several stores: which history an agent sees depends on where it runs"),
}
CLASSES: Mapping[str, FindingClass] = MappingProxyType(
    {
        **{kind: FindingClass(_ERROR, says) for kind, says in FATAL.items()},
        **{kind: FindingClass(_WARNING if kind == "unreadable" else _NOTE, says) for kind, says in HARMLESS.items()},
        **{kind: FindingClass(*both) for kind, both in _OF_STORES.items()},
    }
)
"""Every class by its name."""

OF_SCHEMA = frozenset(
    {
        "required_column", "missing_default", "keys_not_given", "moving_stamp", "narrow_ids", "text_cap",
        "no_foreign_key", "no_cascade", "missing_index", "legacy_index", "case_insensitive_ids", "int4_ids",
        "mixed_layouts", "unknown_layout", "foreign_rows", "local_times",
    }
)  # fmt: skip
"""Those that tell how tables differ from what the SDK expects of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All of one class in one store: how often, the first ``examples`` (session ids), particulars, what mends it.

    ``fix`` is a command or a statement that can be run as it stands; None where there is none to give.
    """

    kind: str
    count: int = 1
    examples: tuple[str, ...] = ()
    detail: str = ""
    fix: str | None = None

    @property
    def severity(self) -> Severity:
        return CLASSES[self.kind].severity

    @property
    def says(self) -> str:
        """What it does, and the particulars here."""
        says = CLASSES[self.kind].says
        return f"{says} ({self.detail})" if self.detail else says


def gravest_first(finding: Finding) -> tuple[int, int]:
    """The order of findings: by severity, then as the classes are listed."""
    return list(Severity).index(finding.severity), list(CLASSES).index(finding.kind)
