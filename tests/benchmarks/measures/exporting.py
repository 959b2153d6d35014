"""Exports beside the engines' own dumps, whole programs and files both, and the memory they take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.engines import Engine, location
from benchmarks.figures import Figure, Target
from benchmarks.processes import environment, peak_together, seconds_of, sessionctl

PLAIN, ZSTD, GZIP = "", ".zst", ".gz"
PACKERS = {PLAIN: "", ZSTD: "zstd -3 -q -c", GZIP: "gzip -6 -c"}
TARGETS = {PLAIN: 0.75, ZSTD: 0.9, GZIP: 4.0}
MEMORY = Target(ours=100)
GZIP_ROUNDS = 2


def figures(engine: Engine, directory: Path, rounds: int) -> Iterator[Figure]:
    """Items a second of JSON Lines, plain, and from SQLite compressed too; and the peak of all its processes."""
    scale = engine.generated.scale
    items = scale.sessions * scale.items
    for ending in PACKERS if engine.name == "sqlite" else (PLAIN,):
        packer = PACKERS[ending]
        if missing := [name for name in (engine.dump[0], packer.partition(" ")[0]) if name and not shutil.which(name)]:
            print(f"export: {missing[0]} is not installed", file=sys.stderr)
            continue
        beside = " | ".join(filter(None, (engine.dump[0], packer)))
        turns = min(rounds, GZIP_ROUNDS) if ending == GZIP else rounds
        took = [(_ours(engine, directory, ending), _dump(engine, directory, packer)) for _ in range(turns)]
        yield Figure(
            measure="export", engine=engine.name, name=f"jsonl{ending} : {beside}", unit="items/s",
            ours=tuple(items / mine for mine, _ in took),
            baseline=tuple(items / theirs for _, theirs in took),
            target=Target(ratio=TARGETS[ending], at_least=True), note="each item validated",
        )  # fmt: skip
    out = directory / "export.jsonl"
    peak = peak_together(_export(engine, out), environment(directory)) / 2**20
    out.unlink()
    yield Figure(
        measure="export", engine=engine.name, name="memory", unit="MiB", ours=(peak,), target=MEMORY,
        note="all processes together, what they share counted once",
    )  # fmt: skip


def _export(engine: Engine, out: Path) -> list[str]:
    return sessionctl("export", "-s", location(engine.address), "--out", str(out), "--quiet")


def _ours(engine: Engine, directory: Path, ending: str) -> float:
    out = directory / f"export.jsonl{ending}"
    took = seconds_of(_export(engine, out), environment(directory))
    if not ending:
        scale = engine.generated.scale
        with out.open("rb") as file:
            assert (
                sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(2**20), b"")) == scale.sessions * scale.items
            )
    out.unlink()
    return took


def _dump(engine: Engine, directory: Path, packer: str) -> float:
    out = directory / "dump"
    script = '"${@:2}" > "$1"' if not packer else f'"${{@:2}}" | {packer} > "$1"'
    command = ["bash", "-o", "pipefail", "-c", script, "dump", str(out), *engine.dump]
    try:
        return seconds_of(command, environment(directory))
    except subprocess.CalledProcessError:
        raise AssertionError(f"the dump failed: {engine.dump[0]}") from None
    finally:
        out.unlink(missing_ok=True)
