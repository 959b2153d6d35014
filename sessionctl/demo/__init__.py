"""Conversations of a small yarn shop's agents: the store that ``sessionctl demo`` writes, and material for tests.

They hold what real stores hold: tool calls (parallel, failing, lengthy ones), handoffs, reasoning, images,
approvals given, refused and pending, hosted tools, several scripts and directions of writing, and the accidents
that bring people to this tool. Nothing in them is random: each call gives equal conversations, whose ages are
told relative to now.
"""

from __future__ import annotations

from sessionctl.demo.script import Batch, Conversation, Json

__all__ = ["Batch", "Conversation", "Json", "conversations"]


def conversations() -> tuple[Conversation, ...]:
    """All conversations, in no particular order of age; their items are fresh objects that the caller may change."""
    from sessionctl.demo import (
        accidents,
        customers,
        errands,
        staff,
        world,
    )  # the texts are read when they are asked for

    return tuple(
        script.conversation() for source in (customers, world, staff, errands, accidents) for script in source.scripts()
    )
