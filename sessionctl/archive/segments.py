"""Which archive files lie at an address, and which directories are a run's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sessionctl.archive.places import Entry, Place, place
from sessionctl.errors import ArchiveDamaged, ArchiveMissing

_SEGMENT = re.compile(r"(\d{6,})\.jsonl(?:\.zst|\.gz)?", re.ASCII)
_ARCHIVE = re.compile(r".+\.jsonl(?:\.zst|\.gz)?", re.DOTALL)


def segments(address: str | Place) -> list[Place]:
    """The archive files at ``address`` in order: a file, the directory of a run or an export, or one of runs'.

    Files in the making are passed over. Raises ArchiveMissing where there is none, ArchiveDamaged where one
    is missing in a row.
    """
    at = place(address) if isinstance(address, str) else address
    if not at.is_directory():
        at.size()  # raises where there is nothing
        return [at]
    entries = at.entries()
    exported = _of_export(at, entries)
    found = [] if exported else list(_of_run(at, entries))
    for entry in entries if not found else ():
        if entry.is_directory:
            run = at.child(entry.name)
            found += _of_run(run, run.entries())
    found = found or exported
    if not found:
        raise ArchiveMissing(f"there is no archive in {at}")
    return found


def runs(address: str) -> list[Place]:
    """The directories of runs under ``address``, by name; whether they are nothing else is not looked at."""
    at = place(address)
    if not at.is_directory():
        raise ArchiveMissing(f"there is no directory {at}")
    return [at.child(entry.name) for entry in at.entries() if entry.is_directory]


def is_segment(entry: Entry) -> bool:
    """Is it named like a sealed segment of a run?"""
    return entry.is_file and _SEGMENT.fullmatch(entry.name) is not None


def _of_run(run: Place, entries: list[Entry]) -> Iterator[Place]:
    names = sorted((entry.name for entry in entries if is_segment(entry)), key=_number)
    for expected, name in enumerate(names, 1):
        if _number(name) != expected:
            raise ArchiveDamaged(f"{run}: segment {expected} is missing")
        yield run.child(name)


def _of_export(at: Place, entries: list[Entry]) -> list[Place]:
    """The files that an export in several files wrote, by name; none where all are named like those of a run."""
    files = [entry for entry in entries if entry.is_file and _ARCHIVE.fullmatch(entry.name)]
    return [] if all(map(is_segment, files)) else [at.child(name) for name in sorted(file.name for file in files)]


def _number(name: str) -> int:
    return int(name.partition(".")[0])
