"""The stage in which a model is asked what is to stand for turns that go, before anything is archived or changed.

No transaction is open and no lock is held while a model thinks. Several sessions are asked about at once; those that
are answered go on in portions every few seconds, so that a run which is cut off has done what it paid for. A session
that gets no answer, or none that helps, is left alone and counted with the reason.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self

from sessionctl.condensers import Condensed, Condenser, condenser_of
from sessionctl.core.condensing import Condensing, Consumed
from sessionctl.core.extract import Extract, in_place
from sessionctl.core.model import Outcome, Want
from sessionctl.core.plan import Step
from sessionctl.core.spans import touches
from sessionctl.core.units import count
from sessionctl.errors import ModelFailed, ModelUnavailable, SessionctlError
from sessionctl.operations.covering import Lost, Portion
from sessionctl.operations.progress import Progress
from sessionctl.stores.base import Store

_LOOK_UP_S = 0.1
"""While models think, the run looks up so often: for a signal, or for its time being over."""
_GATHER_S = 3.0
"""For so long answers wait for others at most, to be archived and applied with them."""
_TOGETHER = 100
"""Sessions in one portion, at most."""
_IN_A_ROW = 10
"""So many sessions without an answer are the model's fault, not theirs."""


def condensation_of(store: Store, terms: Condensing, min_idle: timedelta) -> Condensation:
    """Condenses sessions of ``store``; those that were active within ``min_idle`` are not even asked about."""
    return Condensation(store, condenser_of(terms), terms.concurrency, min_idle)


@dataclass(slots=True)
class Condensation:
    """Turns steps that remove items into steps that leave something in their place. Close it when done."""

    store: Store
    condenser: Condenser
    concurrency: int
    min_idle: timedelta
    consumed: Consumed = field(default_factory=Consumed)
    waited_s: float = 0.0
    """For answers, while there was nothing else to do."""
    _asked: dict[Future[Condensed], tuple[Step, Extract]] = field(default_factory=dict)
    _ready: list[Step] = field(default_factory=list)
    _lost: list[Lost] = field(default_factory=list)
    _since: float = 0.0
    """When the oldest of those that are ready, or lost, became so."""
    _in_a_row: int = 0
    _fatal: SessionctlError | None = None
    """Why nothing more is to be asked."""

    def portions(
        self, steps: Iterator[Step], *, bear: Callable[[SessionctlError], None], room: Callable[[], int | None]
    ) -> Iterator[Portion | None]:
        """As ``Cover`` has it. No more sessions are asked about than there is ``room`` for (None: for any number).

        Raises AccessRefused or ModelUnavailable where no session would get an answer, behind the last portion.
        """
        again = deque[Step]()
        is_over = False
        while True:
            try:
                is_over = is_over or self._take_some(again, steps, room())
            except SessionctlError as error:
                bear(error)
                yield None
                continue
            if self._fatal or not self._asked:
                yield self._portion()
                if self._fatal:
                    raise self._fatal
                if is_over or room() == 0:
                    return
                continue
            began = time.monotonic()
            done = wait(self._asked, timeout=_LOOK_UP_S, return_when=FIRST_COMPLETED).done
            self.waited_s += time.monotonic() - began
            for future in done:
                self._answered(future, *self._asked.pop(future))
            if (self._ready or self._lost) and time.monotonic() - self._since >= _GATHER_S:
                yield self._portion()
            elif not done:
                yield None

    def watched(self, observe: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """An observer that also learns how many sessions a model thinks about, where the run waits for nothing else."""

        def watch(progress: Progress) -> None:
            before = progress.waiting
            if before is None and self._asked:
                progress.waiting = f"the model is asked about {count(len(self._asked), 'session')}"
            observe(progress)
            progress.waiting = before

        return watch

    def close(self) -> None:
        """Give up what is not answered yet."""
        self.condenser.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_some(self, again: deque[Step], steps: Iterator[Step], room: int | None) -> bool:
        """Ask about as many as may be asked about; were these the last? After an error its step comes ``again``."""
        while self._may_take(room):
            step = again.popleft() if again else next(steps, None)
            if step is None:
                return True
            try:
                self._take(step)
            except SessionctlError:
                again.append(step)
                raise
        return False

    def _may_take(self, room: int | None) -> bool:
        under_way = len(self._asked) + len(self._ready)
        is_room = (room is None or under_way < room) and under_way + len(self._lost) < _TOGETHER
        return is_room and not self._fatal and len(self._asked) < self.concurrency

    def _portion(self) -> Portion:
        """All that is ready, and what will not be."""
        made = Portion(steps=self._ready, lost=self._lost)
        self._ready, self._lost = [], []
        return made

    def _take(self, step: Step) -> None:
        """Ask about a session, as it is now: or know already what becomes of it."""
        if step.rewrite is None or not step.rewrite.remove:
            self._is_ready(step)
            return
        ref, now = self.store.session(step.session_id, Want.VERSION), self.store.now()
        alive = ref.latest_sign_of_life if ref else None
        if ref is None:
            self._is_lost(step, Outcome.MISSING)
        elif alive is not None and alive > now - self.min_idle:
            self._is_lost(step, Outcome.ACTIVE)
        elif self.store.has_branches(step.session_id):
            self._is_lost(step, Outcome.FAILED, "its branches share the items that would give way")
        else:
            is_removed = touches(replace(step.rewrite, replace=()))
            extract = Extract(
                session_id=step.session_id,
                items=tuple(item for item in self.store.items(step.session_id) if is_removed(item.key)),
            )
            if len(extract.items) != sum(span.items for span in step.rewrite.remove):
                self._is_lost(step, Outcome.CHANGED)
            elif not extract.entries:
                self._is_ready(step)  # nothing that an agent would miss
            else:
                self._asked[self.condenser.submit(extract, now)] = step, extract

    def _answered(self, future: Future[Condensed], step: Step, extract: Extract) -> None:
        try:
            answer = future.result()
        except ModelFailed as failure:
            self._is_lost(step, Outcome.FAILED, failure.message)
            self._in_a_row += 1
            if self._in_a_row == _IN_A_ROW:
                self._fatal = ModelUnavailable(
                    f"the model failed {self._in_a_row} times in a row, in the end like this: {failure.message}"
                )
            return
        except SessionctlError as error:
            self._fatal = error
            return
        self._in_a_row = 0
        self.consumed += answer.consumed
        made = in_place(step, extract, answer.items)
        if isinstance(made, Step):
            self._is_ready(made)
        else:
            self._is_lost(step, Outcome.FAILED, made)

    def _is_ready(self, step: Step) -> None:
        self._note()
        self._ready.append(step)

    def _is_lost(self, step: Step, outcome: Outcome, why: str | None = None) -> None:
        self._note()
        self._lost.append(Lost(step, outcome, why))

    def _note(self) -> None:
        if not self._ready and not self._lost:
            self._since = time.monotonic()
