"""What both condensers share: an event loop in a thread of its own, the client, and the words for what went wrong."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from threading import Thread

import openai
from agents.exceptions import AgentsException, ModelRefusalError

from sessionctl.condensers.base import Condensed, Condenser
from sessionctl.core.condensing import Condensing
from sessionctl.core.extract import Extract
from sessionctl.core.units import exact_duration
from sessionctl.errors import AccessRefused, ModelFailed, ModelUnavailable, SessionctlError

_LONGEST = 300
"""Characters of what a server says of an error."""
_EXHAUSTED = "insufficient_quota"
_CUT_OFF = "max_output_tokens"


class Asking(Condenser):
    """Makes each call a task of one event loop; the client tries again what may pass (429, 5xx, lost connections)."""

    def __init__(self, terms: Condensing) -> None:
        logging.getLogger("openai.agents").setLevel(logging.CRITICAL)  # what goes wrong is in the report
        self._terms = terms
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="condenser", daemon=True)
        self._thread.start()
        self._client = openai.AsyncOpenAI(
            api_key=terms.api_key or "none", base_url=terms.base_url, timeout=terms.timeout.total_seconds()
        )

    @abstractmethod
    async def _condense(self, extract: Extract, now: datetime) -> Condensed:
        """As ``submit``; may raise whatever it meets."""

    def submit(self, extract: Extract, now: datetime) -> Future[Condensed]:
        return asyncio.run_coroutine_threadsafe(self._asked(extract, now), self._loop)

    async def _asked(self, extract: Extract, now: datetime) -> Condensed:
        try:
            async with asyncio.timeout(self._terms.timeout.total_seconds()):
                return await self._condense(extract, now)
        except SessionctlError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model or its server does, the session is left alone
            raise failure(error, self._terms) from None

    def close(self) -> None:
        if self._loop.is_closed():
            return
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._give_up(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()

    async def _give_up(self) -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._client.close()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


def failure(error: Exception, terms: Condensing) -> SessionctlError:
    """What an error of the client, the SDK or a server means. The error itself may hold the key, and is let go."""
    match error:
        case TimeoutError() | openai.APITimeoutError():
            return ModelFailed(f"the model gave no answer within {exact_duration(terms.timeout)}")
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return AccessRefused(f"{terms.where} refused access: {_said(error, terms)}")
        case openai.NotFoundError():
            return ModelUnavailable(f"there is no {terms.where}: {_said(error, terms)}")
        case openai.RateLimitError() if error.code == _EXHAUSTED:
            return ModelUnavailable(f"{terms.where} answers no more: {_said(error, terms)}")
        case openai.APIStatusError():
            return ModelFailed(f"the model's server answered {error.status_code}: {_said(error, terms)}")
        case openai.APIConnectionError():
            return ModelFailed(f"the model's server cannot be reached: {_said(error.__cause__ or error, terms)}")
        case ModelRefusalError():
            return ModelFailed(f"the model refused: {_clean(error.refusal, terms)}")
        case _ if _CUT_OFF in str(error):
            return cut_off(terms)
        case openai.OpenAIError() | AgentsException() | ValueError():
            return ModelFailed(f"the model's answer cannot be understood: {_said(error, terms)}")
    return ModelFailed(f"asking the model failed: {type(error).__name__}: {_said(error, terms)}")


def cut_off(terms: Condensing) -> ModelFailed:
    """The answer has no end."""
    return ModelFailed(f"the answer was cut off at {terms.max_tokens:,} tokens")


def _said(error: BaseException, terms: Condensing) -> str:
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return _clean(message if isinstance(message, str) else str(error), terms) or type(error).__name__


def _clean(text: str, terms: Condensing) -> str:
    """On one line, not too long, and without the key."""
    if terms.api_key:
        text = text.replace(terms.api_key, "***")
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
