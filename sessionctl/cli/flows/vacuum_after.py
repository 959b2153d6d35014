"""A vacuum of the stores that sessions were moved out of, as the end of a rotation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sessionctl.cli.context import current
from sessionctl.cli.flows.signals import stopping
from sessionctl.cli.options.safeguarding import Consent
from sessionctl.cli.output import Output
from sessionctl.cli.views.vacuum import show_report, telling
from sessionctl.core.report import Report, Stopped
from sessionctl.core.space import SpaceReport, Wish
from sessionctl.errors import SessionctlError
from sessionctl.ledger import Ledger, new_run
from sessionctl.operations.stop import Stop
from sessionctl.operations.vacuum import COMMAND, not_done, plan_vacuum, vacuum
from sessionctl.stores import open_store

if TYPE_CHECKING:
    from sessionctl.cli.flows.running import Planned
    from sessionctl.core.address import StoreAddress


class VacuumAfter:
    """What does no harm beside writers, as ``vacuum`` without options does it; a run of its own in the ledger."""

    question: str | None = None
    """It was asked for, and comes only after something that was confirmed."""

    def __init__(self, out: Output, consent: Consent) -> None:
        self._out, self._consent = out, consent
        self._addresses: dict[str, StoreAddress] = {}
        self._reports: list[SpaceReport] = []
        self._left: list[str] = []

    def foresee(self, plans: Sequence[Planned]) -> None:
        """The stores that will have something to give back."""
        self._addresses = {plan.header.store: plan.address for plan in plans if plan.header.planned.sessions}

    @property
    def failed(self) -> bool:
        """Did one of them fail?"""
        return bool(self._left) or any(report.error for report in self._reports)

    def show(self, *, to_stderr: bool = False) -> None:
        """What will be done, or was."""
        if to_stderr or not (self._reports or self._left):
            if self._addresses:
                self._out.line("  then        vacuum", console=self._out.err if to_stderr else self._out.console)
            return
        for report in self._reports:
            show_report(self._out, report)
        for why in self._left:
            self._out.warn(f"no vacuum: {why}")

    def carry_out(self, ledger: Ledger, reports: Sequence[Report]) -> None:
        """One after the other, where something was moved and nobody wants an end."""
        moved = [r.store for r in reports if r.removed.sessions and r.stopped in (Stopped.DONE, Stopped.LIMIT)]
        with stopping(self._out) as stop:
            for address in (self._addresses.pop(store) for store in moved if store in self._addresses):
                if not stop:
                    try:
                        self._reports.append(self._one(address, ledger, stop))
                    except SessionctlError as error:
                        self._left.append(f"{address.label}: {error.message}")
        self._addresses.clear()

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {"vacuum": [report.to_json() for report in self._reports]}

    def _one(self, address: StoreAddress, ledger: Ledger, stop: Stop) -> SpaceReport:
        with open_store(address) as store:
            plan = plan_vacuum(store, Wish())
            if plan.is_refused or not plan.space.steps:
                why = plan.space.refused[0] if plan.is_refused else "there is nothing to do"
                return not_done(plan, Stopped.DONE, elapsed_s=0.0, why=why)
            steps = tuple(f"{step.what} {step.table}".rstrip() for step in plan.space.steps)
            run = new_run(
                COMMAND, address.recorded, datetime.now(UTC), current().env, reason=self._consent.reason,
                criteria=steps,
            )  # fmt: skip
            return vacuum(store, plan, ledger=ledger, run=run, stop=stop, observe=telling(self._out))
