"""What condenses: given a part of a session, it answers with items that stand for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sessionctl.core.condensing import Consumed
from sessionctl.core.extract import Extract


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensed:
    """The ``items`` that stand for an extract, one at least, in the order of reading; and what they took."""

    items: Sequence[Mapping[str, Any]]
    consumed: Consumed


class Condenser(ABC):
    """Asks a model, about several extracts at once. Close it when done."""

    @abstractmethod
    def submit(self, extract: Extract, now: datetime) -> Future[Condensed]:
        """Have ``extract`` condensed; returns at once. ``now`` is what the answer says of its own time.

        The future raises ModelFailed where this extract got no answer that can be used, with why in few words;
        AccessRefused or ModelUnavailable where no other would either. No message holds the key.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up what is not answered yet. Idempotent."""
