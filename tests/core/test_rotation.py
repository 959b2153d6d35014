"""Windows, groups and templates of rotations."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionctl.core.rotation import OldestFirst, Period, Template, beyond, grouping
from sessionctl.errors import UsageError

TIMES = st.datetimes(datetime(1, 2, 1), datetime(9998, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001 - a bound
TEMPLATES = {
    Period.DAY: "/srv/a/{year}/{month}-{day}.db",
    Period.WEEK: "/srv/a/{year}-W{week}.db",
    Period.MONTH: "/srv/a/{year}{month}.db",
    Period.YEAR: "/srv/a/{year}",
}


@given(st.sampled_from(Period), TIMES)
def test_a_window_has_its_times_and_is_read_back_from_its_name(period: Period, at: datetime) -> None:
    begins = period.begins(at)
    assert begins <= at < begins + timedelta(days=366)
    assert period.begins(begins) == begins
    assert period.begins(begins - timedelta(microseconds=1)) < begins
    assert period.read(period.named(at)) == begins
    template = Template(TEMPLATES[period], period)
    for number in (1, 2, 17):
        target = template.sibling(template.target(at), number)
        for path in (target, f"{target}.zst", f"{target}.gz"):
            fields = template.found(path)
            assert fields is not None
            assert template.begins(fields) == begins


@pytest.mark.parametrize(
    ("period", "at", "target"),
    [
        (Period.DAY, "2026-03-01T00:00:00+00:00", "/srv/a/2026/03-01.db"),
        (Period.DAY, "2026-03-01T00:30:00+01:00", "/srv/a/2026/02-28.db"),
        (Period.WEEK, "2027-01-03T23:59:59+00:00", "/srv/a/2026-W53.db"),
        (Period.WEEK, "2024-12-30T00:00:00+00:00", "/srv/a/2025-W01.db"),
        (Period.MONTH, "2024-02-29T12:00:00+00:00", "/srv/a/202402.db"),
        (Period.YEAR, "2026-12-31T23:59:59.999999+00:00", "/srv/a/2026"),
    ],
)
def test_windows_are_by_the_calendar_in_utc(period: Period, at: str, target: str) -> None:
    assert Template(TEMPLATES[period], period).target(datetime.fromisoformat(at)) == target


@given(st.text(), st.text(alphabet=string.printable + "äÄ\udc80", max_size=40))
def test_no_group_and_no_stem_leads_out_of_its_directory(group: str, stem: str) -> None:
    template = Template("/srv/a/{group}/{stem}.db", grouped=True)
    target = Path(template.target(None, group=group, stem=stem))
    assert ".." not in target.parts
    assert target.parent.parent == Path("/srv/a") == template.directory
    assert template.found(str(target)) == {"group": target.parent.name, "stem": target.stem}


@given(st.text(max_size=12), st.text(max_size=12))
def test_two_groups_never_share_a_target(one: str, other: str) -> None:
    template = Template("/srv/{group}.db", grouped=True)
    mine, others = (
        {template.sibling(template.target(None, group=group), number) for number in (1, 2, 3)} for group in (one, other)
    )
    assert one == other or not {path.lower() for path in mine} & {path.lower() for path in others}


def test_groups_in_urls_are_parts_of_a_path_too() -> None:
    template = Template("postgresql://ops@db/{group}", grouped=True)
    assert template.directory is None
    assert template.target(None, group="a/b?x=1") == "postgresql://ops@db/a%252Fb%253Fx%253D1"
    assert Template("sqlite:////srv/{group}.db", grouped=True).target(None, group="a") == "/srv/a.db"


@pytest.mark.parametrize(
    ("text", "period", "grouped", "said"),
    [
        ("/a/{yaer}.db", None, False, "no field {yaer}"),
        ("/a/{year}.db", None, False, "needs --by"),
        ("/a/{year}.db", Period.MONTH, False, "needs {month}"),
        ("/a/{year}-{month}-{day}.db", Period.MONTH, False, "{day} in --into does not go with --by month"),
        ("/a/{group}.db", None, False, "go together"),
        ("/a/all.db", None, True, "go together"),
        ("/a/{group}-{stem}.db", None, True, "need a /"),
        ("/a/{year}.db.zst", Period.YEAR, False, "--compress"),
        ("sqlite://host/x", None, False, "names no SQLite files"),
        ("sqlite:////a.db?sessions_table=x", None, False, "names no SQLite files"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(text: str, period: Period | None, grouped: bool, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        Template(text, period, grouped)


def test_other_files_are_none_of_the_template() -> None:
    template = Template("/srv/a/{year}-{month}.db", Period.MONTH)
    for path in ("/srv/a/2026-3.db", "/srv/a/x2026-03.db", "/srv/a/2026-03.db-wal", "/srv/b/2026-03.db",
                 "/srv/a/2026-03.db.part", "/srv/a/2026-03+.db"):  # fmt: skip
        assert template.found(path) is None
    odd = template.found("/srv/a/2026-13.db")
    assert odd is not None
    assert template.begins(odd) is None


def test_the_glob_finds_what_the_template_knows(tmp_path: Path) -> None:
    template = Template(f"{tmp_path}/[x]*/{{group}}/{{year}}.db", Period.YEAR, grouped=True)
    target = template.target(datetime(2026, 1, 1, tzinfo=UTC), group="a b")
    for path in (target, template.sibling(target, 2), f"{target}.zst"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    found = {str(path) for path in Path("/").glob(template.glob.removeprefix("/"))}
    assert found == {target, template.sibling(target, 2), f"{target}.zst"}


def test_the_group_is_the_first_capture() -> None:
    group = grouping("^([^:]+):(.*)")
    assert [group(name) for name in ("a:b", "ab", ":b")] == ["a", None, None]
    for regex, said in (("(", "is not a regular expression"), ("a", "captures nothing")):
        with pytest.raises(UsageError, match=said):
            grouping(regex)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 1000)), max_size=60), st.integers(-10, 30_000))
def test_the_fewest_oldest_go_until_enough_went(sessions: list[tuple[int, int]], needed: int) -> None:
    oldest = OldestFirst()
    for second, size in sessions:
        oldest.add(datetime.fromtimestamp(second, UTC), size)
    chosen = list(oldest.choose(needed))
    assert len(chosen) == len(sessions)
    gone = [session for session, goes in zip(sessions, chosen, strict=True) if goes]
    stays = [session for session, goes in zip(sessions, chosen, strict=True) if not goes]
    if gone:
        youngest = max(second for second, _ in gone)
        assert all(second >= youngest for second, _ in stays)
        assert sum(size for _, size in gone) - max(size for second, size in gone if second == youngest) < needed
    assert sum(size for _, size in gone) >= needed or not stays


@given(st.lists(TIMES, max_size=20), st.integers(0, 10))
def test_the_newest_windows_are_kept(windows: list[datetime], keep: int) -> None:
    old = beyond(windows, keep)
    kept = set(windows) - old
    assert len(kept) == min(keep, len(set(windows)))
    assert not kept or all(window < min(kept) for window in old)
