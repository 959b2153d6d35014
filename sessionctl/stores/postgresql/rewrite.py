"""Taking the items of many spans out of PostgreSQL in one statement, which tells how many each of them held."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from sessionctl.core.model import Rewrite

# Each session is found by the index on its id: the keys, by which everybody's items lie in between, are kept
# out of the search by the sum.
_TAKING = """
    WITH given AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[]))
        WITH ORDINALITY AS span(owner, first, last, number)
    ), gone AS (
        DELETE FROM {messages} AS m USING given
        WHERE m.session_id = given.owner AND m.id + 0 BETWEEN given.first AND given.last RETURNING given.number
    )
    SELECT number, count(*) FROM gone GROUP BY number
"""


def take_items(connection: Connection, messages: str, rewrites: Sequence[Rewrite]) -> set[str]:
    """Delete the items of all spans from the table ``messages`` (quoted); the sessions where one held others."""
    spans = [(rewrite.session_id, span) for rewrite in rewrites for span in rewrite.remove]
    if not spans:
        return set()
    given = {
        "ids": [session_id for session_id, _ in spans],
        "firsts": [span.first for _, span in spans],
        "lasts": [span.last for _, span in spans],
    }
    statement = text(_TAKING.format(messages=messages.replace(":", "\\:")))
    taken = {int(number): int(items) for number, items in connection.execute(statement, given)}
    return {name for number, (name, span) in enumerate(spans, start=1) if taken.get(number, 0) != span.items}
