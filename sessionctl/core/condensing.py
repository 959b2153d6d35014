"""On what terms turns that go are condensed to something that stays in their place, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from sessionctl.core.tokens import tokens_of_size

_TOLD_FIRST = 200
"""Tokens of what an agent is told to do."""


class Kind(StrEnum):
    """What stays in the place of turns that go."""

    SUMMARY = "summary"
    """A text that an agent writes."""
    COMPACTION = "compaction"
    """What the API's compaction makes of them: the user's messages, and an item that only its models can read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condensing:
    """The terms of condensing. Texts are sent to ``model`` at ``base_url``, which holds no secret.

    ``api_key`` is what ``$key_variable`` holds; None where it ought to and does not. ``prompt`` is what the agent is
    told to do (None: what it is told as a rule), ``max_tokens`` the most that it may answer. ``max_input_tokens``:
    more is told in several goes. ``timeout`` is for all of one session, what is tried again included; ``concurrency``
    sessions are condensed at once.
    """

    kind: Kind
    model: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    key_variable: str = ""
    prompt: str | None = None
    max_tokens: int = 2000
    max_input_tokens: int = 100_000
    timeout: timedelta = timedelta(minutes=2)
    concurrency: int = 4

    @property
    def where(self) -> str:
        """Who gets the texts, for sentences."""
        return f"{self.model} at {self.base_url}"

    def foresee(self, sessions: int, size: int) -> Consumed:
        """What so many octets of stored text of so many sessions take, by estimate: at most, as to the answers.

        Of compactions no more is known than what goes in.
        """
        is_summary = self.kind is Kind.SUMMARY
        return Consumed(
            requests=sessions,
            input_tokens=tokens_of_size(size) + (_TOLD_FIRST * sessions if is_summary else 0),
            output_tokens=self.max_tokens * sessions if is_summary else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumed:
    """Requests that a model answered, and their tokens as its server counted them."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, more: Consumed) -> Consumed:
        return Consumed(
            requests=self.requests + more.requests,
            input_tokens=self.input_tokens + more.input_tokens,
            output_tokens=self.output_tokens + more.output_tokens,
        )
