"""Models that condense parts of sessions: the only code that talks to one.

``agents`` and ``openai`` take seconds to import, so nothing here does before a condenser is made.
"""

from __future__ import annotations

from sessionctl.condensers.base import Condensed, Condenser
from sessionctl.core.condensing import Condensing, Kind

__all__ = ["Condensed", "Condenser", "condenser_of"]


def condenser_of(terms: Condensing) -> Condenser:
    """Whoever does this. Nothing is sent yet. Raises UsageError for a model that cannot do it."""
    if terms.kind is Kind.COMPACTION:
        from sessionctl.condensers.compactor import Compactor

        return Compactor(terms)
    from sessionctl.condensers.writer import Writer

    return Writer(terms)
