"""The ledger: sessionctl's own record of every run that changes a store."""

from __future__ import annotations

from sessionctl.ledger.ledger import Ledger
from sessionctl.ledger.local import private_directory
from sessionctl.ledger.pulse import Pulse
from sessionctl.ledger.record import Run, Segment, begun_at, new_run, new_run_id

__all__ = ["Ledger", "Pulse", "Run", "Segment", "begun_at", "new_run", "new_run_id", "private_directory"]
