"""How far PostgreSQL's replicas are behind, as the primary sees it."""

from __future__ import annotations

from sqlalchemy import Connection, text

from sessionctl.core.model import Lag

_LAG = text("""
    SELECT pg_is_in_recovery() AS standby,
           (SELECT max(extract(epoch FROM coalesce(replay_lag, interval '0'))) FROM pg_stat_replication
            WHERE state IN ('streaming', 'catchup')) AS seconds,
           slot.name, slot.active, slot.retained
    FROM (SELECT 1) AS one LEFT JOIN (
        SELECT slot_name AS name, active,
               pg_wal_lsn_diff(CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END, restart_lsn) AS retained
        FROM pg_replication_slots WHERE restart_lsn IS NOT NULL ORDER BY restart_lsn LIMIT 1
    ) AS slot ON true
""")


def read_lag(connection: Connection) -> Lag | None:
    """None on a standby. Who may not see the replicas (it takes ``pg_monitor``) still sees the slots.

    A replica that has nothing to apply shows no delay; one whose applying stands still shows a growing one.
    """
    row = connection.execute(_LAG).one()
    if row.standby:
        return None
    seconds = None if row.seconds is None else float(row.seconds)
    if row.name is None:
        return Lag(seconds=seconds)
    return Lag(seconds=seconds, retained=max(0, int(row.retained)), slot=row.name, slot_active=row.active)
