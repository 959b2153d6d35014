"""The ledger: sessionctl's own record of every run that changes a store."""

from __future__ import annotations

from sessionctl.ledger.local import FILE_NAME, Ledger, private_directory
from sessionctl.ledger.record import Run, Segment, begun_at, new_run, new_run_id

__all__ = ["FILE_NAME", "Ledger", "Run", "Segment", "begun_at", "new_run", "new_run_id", "private_directory"]
