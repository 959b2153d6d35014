"""From ``-s`` options to a visit of stores, and the words for what went wrong on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from sessionctl.cli.context import current
from sessionctl.cli.output import Output
from sessionctl.config import Settings, load
from sessionctl.core.address import StoreAddress
from sessionctl.errors import UsageError
from sessionctl.operations.visiting import Visit, members


def settings() -> Settings:
    """The settings of this invocation."""
    here = current()
    return load(here.config, here.env)


def ledger_address() -> StoreAddress:
    """Where runs are recorded."""
    return settings().ledger_address


def visit(names: Sequence[str] | None, out: Output, *, all_stores: bool = False) -> Visit:
    """The stores this command is about; warnings of the settings are shown."""
    found = settings()
    for warning in found.warnings:
        out.warn(warning)
    return Visit(found.resolve(names or (), all_stores))


class Recorded:
    """Finds stores by the addresses that ledgers and archives keep of them, which are without passwords.

    Looked for among those that the user ``named``, else in the settings, members of fleets included; else a file
    is where its address says.
    """

    def __init__(self, known: Settings, named: Sequence[StoreAddress] = ()) -> None:
        self._known = known
        self._named = {member.recorded: member for address in named for member in members(address)}

    @cached_property
    def _configured(self) -> dict[str, StoreAddress]:
        found: dict[str, StoreAddress] = {}
        for name in self._known.stores:
            with suppress(UsageError):  # its URL is in a variable that is not set
                address = self._known.configured(name, with_password=False)
                found |= {member.recorded: member for member in members(address)}
        return found

    def address(self, recorded: str) -> StoreAddress | None:
        """To be opened; None where nobody names it. Raises UsageError where its password is not there."""
        if recorded in self._named:
            return self._named[recorded]
        found = self._configured.get(recorded)
        if found is not None:
            return self._known.configured(found.name) if found.name else found
        candidates: Sequence[StoreAddress] = ()
        if recorded.startswith("sqlite:///"):
            candidates = self._known.resolve([recorded])
        elif self._known.default is not None:
            candidates = self._known.resolve([])
        return next((address for address in candidates if address.recorded == recorded), None)

    def configured_as(self, recorded: str) -> str | None:
        """The name in the settings of the store, or of its fleet."""
        address = self._named.get(recorded) or self._configured.get(recorded)
        if address is not None and address.configured_as is None:
            address = self._configured.get(recorded)
        return address.configured_as if address else None


def failed_json(trip: Visit) -> list[dict[str, Any]]:
    """The stores that failed, for JSON."""
    return [
        {"store": str(f.address), "error": {"code": f.error.code, "message": f.error.message, "hint": f.error.hint}}
        for f in trip.failures
    ]


def finish(trip: Visit, out: Output) -> int:
    """Say what was skipped and what failed; the exit status of a command that only reads."""
    if trip.skipped:
        out.note(f"{trip.skipped} other files in the fleet are no SDK stores and were skipped")
    for failure in trip.failures:
        out.warn(f"{failure.address.label}: {failure.error.message}")
    return 3 if trip.failures else 0
