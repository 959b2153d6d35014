"""Laying out long texts for reading: lines wrapped to the terminal, the rest folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sessionctl.core.text import cell_width, visible

_CUT = 600
"""Where lines are not wrapped, a folded one ends after this many characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How texts are laid out: ``width`` cells (None: lines are never wrapped), folded or in full.

    With ``needle`` folding keeps the lines around what was searched for.
    """

    width: int | None
    full: bool = False
    needle: re.Pattern[str] | None = None

    def block(self, text: str, *, indent: int, keep: int) -> list[str]:
        """``text`` as safe lines, of which about ``keep`` stay when it is folded."""
        lines = visible(text, multiline=True).expandtabs(4).rstrip("\n").split("\n")
        if self.width is None:
            lines = lines if self.full else [self._cut(line) for line in lines]
        else:
            room = max(self.width - indent, 20)
            lines = [part for line in lines for part in wrap(line, room)]
        return lines if self.full else self._fold(lines, keep)

    def _cut(self, line: str) -> str:
        if len(line) <= _CUT * 5 // 4:
            return line
        found = self.needle.search(line, _CUT) if self.needle else None
        around = f"… {line[found.start() - 80 : found.end() + 80]} " if found else ""
        return f"{line[:_CUT]} {around}… {len(line) - _CUT} more characters (--full)"

    def _fold(self, lines: Sequence[str], keep: int) -> list[str]:
        if len(lines) <= keep + 4:
            return list(lines)
        kept = set(range(keep))
        if self.needle:
            hits = [index for index, line in enumerate(lines) if self.needle.search(line)]
            kept = {near for hit in hits[:20] for near in range(hit - 2, hit + 3) if 0 <= near < len(lines)} or kept
        folded, gap = list[str](), 0
        for index, line in enumerate(lines):
            if index not in kept:
                gap += 1
                continue
            if gap:
                folded.append(more(gap, "lines"))
            folded.append(line)
            gap = 0
        return [*folded, more(gap, "more lines")] if gap else folded


def more(count: int, what: str) -> str:
    """The mark that stands for what was folded away."""
    return f"… {count} {what.removesuffix('s') if count == 1 else what} (--full)"


def wrap(line: str, width: int) -> Iterator[str]:
    """Break a line into pieces of at most ``width`` cells, at spaces where there are any, keeping its indent."""
    if cell_width(line) <= width:
        yield line
        return
    indent = min(len(line) - len(line.lstrip(" ")) + 2, width // 2) if line.startswith(" ") else 0
    rest, lead = line, ""
    while rest:
        room = width - len(lead)
        end = _fitting(rest, room)
        if end < len(rest):
            space = rest.rfind(" ", end // 2, end + 1)
            end = space + 1 if space > 0 else end
        yield lead + rest[:end].rstrip(" ")
        rest, lead = rest[end:], " " * indent


def _fitting(text: str, room: int) -> int:
    """How many characters at the head of ``text`` take at most ``room`` cells; at least one."""
    head = text[:room]
    if head.isascii():
        return len(head)
    end, used = 0, 0
    for char in text[: 4 * room]:
        used += cell_width(char)
        if used > room and end:
            break
        end += 1
    return end
