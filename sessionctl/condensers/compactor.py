"""The compaction of the Responses API, through the SDK's own session that does it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agents import OpenAIResponsesCompactionSession, RunContextWrapper, SQLiteSession

from sessionctl.condensers._asking import Asking
from sessionctl.condensers.base import Condensed
from sessionctl.core.condensing import Condensing, Consumed
from sessionctl.core.extract import Extract
from sessionctl.errors import ModelFailed, UsageError


class Compactor(Asking):
    """Has a session in memory compacted that holds the extract: the SDK knows what may be sent and kept of it."""

    def __init__(self, terms: Condensing) -> None:
        super().__init__(terms)
        memory = SQLiteSession("check")
        try:
            self._compaction(memory)
        except ValueError as error:
            self.close()
            raise UsageError(f"{error}", hint="name the model that the agents use, with --model") from None
        finally:
            memory.close()

    async def _condense(self, extract: Extract, now: datetime) -> Condensed:  # noqa: ARG002 - it says no time
        memory = SQLiteSession("extract")
        try:
            await memory.add_items([entry.payload.data for entry in extract.entries])
            context: RunContextWrapper[Any] = RunContextWrapper(context=None)
            await self._compaction(memory).run_compaction({"force": True}, wrapper=context)
            items = await memory.get_items()
        finally:
            memory.close()
        if not any(item.get("type") == "compaction" for item in items):
            raise ModelFailed("no compaction came back")
        usage = context.usage
        return Condensed(
            items=items,
            consumed=Consumed(
                requests=usage.requests, input_tokens=usage.input_tokens, output_tokens=usage.output_tokens
            ),
        )

    def _compaction(self, memory: SQLiteSession) -> OpenAIResponsesCompactionSession:
        return OpenAIResponsesCompactionSession(
            memory.session_id, memory, client=self._client, model=self._terms.model, compaction_mode="input"
        )
