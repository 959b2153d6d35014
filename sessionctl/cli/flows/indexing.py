"""Indexes that a store lacks: shown, confirmed, made, and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sessionctl.cli.context import current
from sessionctl.cli.flows.stores_in_use import ledger_address
from sessionctl.cli.output import Output
from sessionctl.core.report import Stopped
from sessionctl.errors import GuardRefused, SessionctlError
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.schema import Index, indexes
from sessionctl.stores.base import Store


@dataclass(frozen=True, slots=True)
class Indexing:
    """One command's work on each of its stores; ``everything``: indexes too that a store does not need."""

    out: Output
    apply: bool
    everything: bool
    yes: bool
    reason: str | None

    def work(self, store: Store) -> Iterator[dict[str, Any]]:
        """The record of one store, made what is to be made."""
        found = list(indexes(store))
        if self.out.form.for_people:
            self._show(store, found)
        wanted = [index for index in found if index.needed or self.everything]
        run_id = self._make(store, wanted) if self.apply and wanted else None
        made = wanted if run_id else []
        yield {
            "store": str(store.address),
            "run_id": run_id,
            "indexes": [
                {"serves": i.serves, "statement": i.statement, "needed": i.needed, "made": i in made} for i in found
            ],
        }

    def _show(self, store: Store, found: list[Index]) -> None:
        self.out.line(str(store.address))
        if not found:
            self.out.line("  ✓ none is missing")
        for index in found:
            glyph, remark = ("!", "") if index.needed else ("·", "; not needed yet")
            self.out.line(f"  {glyph} {index.serves}{remark}")
            self.out.line(f"      → {index.statement}")

    def _make(self, store: Store, wanted: list[Index]) -> str:
        if not self.out.confirm(f"Make what is missing in {store.address.label}?", yes=self.yes):
            raise GuardRefused("not confirmed: nothing was changed")
        ledger = Ledger.open(ledger_address())
        statements = tuple(index.statement for index in wanted)
        run = new_run(
            "schema index", store.address.recorded, store.now(), current().env, reason=self.reason, criteria=statements
        )
        ledger.begin(run)
        made = 0
        with ledger.alive(run.run_id):
            try:
                for statement in statements:
                    store.make_index(statement)
                    made += 1
            except SessionctlError as error:
                ledger.finish(run.run_id, {"indexes": made}, Stopped.ERROR, error.message)
                raise
        ledger.finish(run.run_id, {"indexes": made}, Stopped.DONE)
        if self.out.form.for_people:
            self.out.line(f"  made {made}, run {run.run_id}")
        return run.run_id
