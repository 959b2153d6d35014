"""Stats as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sessionctl.cli.output import Column, Output, Record
from sessionctl.cli.views.tokens import method_told, usage_told
from sessionctl.core.plan import Totals
from sessionctl.core.tokens import counted_by
from sessionctl.core.units import format_age, format_minute, format_second, format_size, format_time
from sessionctl.operations.stats import Share, Stats

_BAR = 24
_TOOLS = 15


def stats_json(stats: Stats) -> dict[str, Any]:
    """The record of one store's stats, or of several together."""
    usage = stats.usage
    return {
        "store": stats.store,
        "flavour": stats.info.flavour if stats.info else None,
        "store_time": format_time(stats.store_time),
        "sessions": stats.totals.sessions,
        "items": stats.totals.items,
        "bytes": stats.totals.bytes,
        "empty_sessions": stats.empty,
        "oldest_activity": format_time(stats.oldest),
        "newest_activity": format_time(stats.newest),
        "by_age": _histogram_json(stats, stats.by_age),
        "by_items": _histogram_json(stats, stats.by_items),
        "top": [
            {"store": store, "session_id": ref.id, "last_activity": format_time(ref.last_activity),
             "items": ref.items, "bytes": ref.bytes}
            for store, ref in stats.top
        ],
        "orphan_items": stats.orphans,
        "sample": {"items": stats.sampled, "complete": stats.sampled_all},
        "tokens": _tokens(stats),
        "tokens_by": counted_by(),
        "recorded_usage": None if stats.recorded is None else asdict(stats.recorded),
        "by_type": _shares_json(stats, stats.by_type, "type"),
        "by_tool": _shares_json(stats, stats.by_tool, "tool"),
        "disk": None if usage is None else {
            "bytes": usage.total, "reclaimable_bytes": usage.free, "log_bytes": usage.log,
        },
    }  # fmt: skip


def _histogram_json(stats: Stats, buckets: Mapping[str, Totals]) -> list[dict[str, Any]]:
    """``bytes`` is null where sessions were counted but not measured."""
    return [
        {"bucket": label, "sessions": t.sessions, "items": t.items, "bytes": t.bytes if stats.measured else None}
        for label, t in buckets.items()
    ]


def _shares_json(stats: Stats, shares: Mapping[str, Share], key: str) -> list[dict[str, Any]]:
    return [
        {key: name, "items": share.items, "bytes": share.bytes, "tokens": share.tokens}
        for name, share in _scaled(stats, shares)
    ]


def _scaled(stats: Stats, shares: Mapping[str, Share]) -> list[tuple[str, Share]]:
    """By name, largest first, scaled from the sample to the whole."""
    per_item = 1.0 if stats.sampled_all else stats.totals.items / max(1, stats.sampled)
    per_byte = _per_byte(stats)
    rows = [
        (
            name,
            Share(items=round(s.items * per_item), bytes=round(s.bytes * per_byte), tokens=round(s.tokens * per_byte)),
        )
        for name, s in shares.items()
    ]
    return sorted(rows, key=lambda row: (-row[1].bytes, row[0]))


def _per_byte(stats: Stats) -> float:
    """What one octet of the sample stands for."""
    return 1.0 if stats.sampled_all else stats.totals.bytes / max(1, sum(s.bytes for s in stats.by_type.values()))


def _tokens(stats: Stats) -> int:
    return round(sum(share.tokens for share in stats.by_type.values()) * _per_byte(stats))


def show_stats(out: Output, stats: Stats, parts: Sequence[Stats]) -> None:
    """The tables, from the whole to the detail."""
    for line in _head(stats, parts):
        out.line(line)
    if stats.store is None:
        out.line()
        out.table(_STORES, map(_store_record, sorted(parts, key=lambda part: -part.totals.bytes)))
    if not stats.totals.sessions:
        return
    for title, buckets in (("LAST ACTIVITY", stats.by_age), ("ITEMS IN A SESSION", stats.by_items)):
        out.line()
        out.table(_histogram_columns(title, stats), _histogram_records(buckets, stats))
    if stats.top:
        out.line()
        several = [Column(key="store", header="STORE", fold=True)] if stats.store is None else []
        out.table([*several, *_TOP], _top_records(stats))
    mark = "" if stats.sampled_all else "~"
    for title, shares in (("KIND OF ITEM", stats.by_type), ("TOOL (calls and outputs)", stats.by_tool)):
        if shares:
            out.line()
            out.table(_share_columns(title, mark), _share_records(stats, shares))
    if not stats.sampled_all:
        out.note(f"kinds and tools (~) are estimated from {stats.sampled:,} of {stats.totals.items:,} items")


def _head(stats: Stats, parts: Sequence[Stats]) -> Iterator[str]:
    t = stats.totals
    yield f"{stats.store} ({stats.info.flavour})" if stats.info else f"{len(parts)} stores"
    empty = f", {stats.empty:,} of them without items" if stats.empty else ""
    yield f"  sessions   {t.sessions:,}{empty}"
    yield f"  items      {t.items:,}, {format_size(t.bytes)} of stored text"
    if stats.oldest and stats.newest:
        yield f"  activity   {format_second(stats.oldest)} to {format_second(stats.newest)}"
    if t.items:
        yield f"  tokens     ~{_tokens(stats):,}, {method_told(counted_by())}"
    if stats.recorded:
        yield f"  recorded   {usage_told(stats.recorded)}"
    usage = stats.usage
    if usage is not None and usage.total is not None:
        free = f", {format_size(usage.free)} free inside" if usage.free else ""
        log = f", {format_size(usage.log)} of log" if usage.log else ""
        yield f"  on disk    {format_size(usage.total)}{free}{log}"
    if stats.orphans:
        yield f"  orphans    {stats.orphans:,} items belong to no session row"


_STORES = (
    Column(key="store", header="STORE", fold=True),
    Column(key="sessions", header="SESSIONS", justify="right"),
    Column(key="items", header="ITEMS", justify="right"),
    Column(key="size", header="SIZE", justify="right"),
)


def _store_record(stats: Stats) -> Record:
    t = stats.totals
    return {"store": stats.store, "sessions": f"{t.sessions:,}", "items": f"{t.items:,}", "size": format_size(t.bytes)}


def _histogram_columns(title: str, stats: Stats) -> Sequence[Column]:
    size = [Column(key="size", header="SIZE", justify="right")] if stats.measured else []
    return (
        Column(key="label", header=title),
        Column(key="sessions", header="SESSIONS", justify="right"),
        Column(key="share", header="SHARE", justify="right"),
        Column(key="items", header="ITEMS", justify="right"),
        *size,
        Column(key="bar", header=""),
    )


def _histogram_records(buckets: Mapping[str, Totals], stats: Stats) -> Iterator[Record]:
    for label, t in buckets.items():
        if t.sessions:
            share = t.sessions / stats.totals.sessions
            yield {
                "label": label,
                "sessions": f"{t.sessions:,}",
                "share": f"{share:.0%}",
                "items": f"{t.items:,}",
                "size": format_size(t.bytes),
                "bar": "█" * max(1, round(share * _BAR)),
            }


_TOP = (
    Column(key="session_id", header="LARGEST SESSIONS", fold=True),
    Column(key="idle", header="IDLE", justify="right"),
    Column(key="items", header="ITEMS", justify="right"),
    Column(key="size", header="SIZE", justify="right"),
)


def _top_records(stats: Stats) -> Iterator[Record]:
    for store, ref in stats.top:
        at, now = ref.last_activity, stats.store_time
        yield {
            "store": store,
            "session_id": ref.id,
            "idle": format_age(now - at) if at and now else format_minute(at),
            "items": f"{ref.items or 0:,}",
            "size": format_size(ref.bytes or 0),
        }


def _share_columns(title: str, mark: str) -> Sequence[Column]:
    return (
        Column(key="name", header=title, fold=True),
        Column(key="items", header=f"{mark}ITEMS", justify="right"),
        Column(key="size", header=f"{mark}SIZE", justify="right"),
        Column(key="tokens", header="~TOKENS", justify="right"),
        Column(key="share", header="SHARE", justify="right"),
        Column(key="bar", header=""),
    )


def _share_records(stats: Stats, shares: Mapping[str, Share]) -> Iterator[Record]:
    for name, scaled in _scaled(stats, shares)[:_TOOLS]:
        share = scaled.bytes / max(1, stats.totals.bytes)
        yield {
            "name": name,
            "items": f"{scaled.items:,}",
            "size": format_size(scaled.bytes),
            "tokens": f"{scaled.tokens:,}",
            "share": f"{share:.0%}",
            "bar": "█" * round(share * _BAR),
        }
