"""The one sink for results: tables, JSON, JSON Lines, CSV and names on stdout; all other words on stderr.

A command describes its records once, as ``Column``s over JSON-ready mappings, and every form follows.
Text that came out of a store passes ``visible`` before it can reach a terminal.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from sessionctl.cli.context import current
from sessionctl.core.text import cell_width, visible
from sessionctl.errors import ConfirmationRequired, UsageError

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "sessionctl/v1"
Record = Mapping[str, Any]


class Form(StrEnum):
    """How results are written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    NAME = "name"

    @property
    def for_people(self) -> bool:
        return self in (Form.TABLE, Form.WIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: ``key`` in the record and the CSV header (empty: tables only), ``show`` makes the table's text.

    ``wide`` columns appear in the wide form only. ``fold`` lets long text use several lines.
    """

    key: str
    header: str
    show: Callable[[Record], str] | None = None
    justify: Literal["left", "right"] = "left"
    style: str = ""
    wide: bool = False
    fold: bool = False

    def text(self, record: Record) -> str:
        value = self.show(record) if self.show else record.get(self.key)
        if value is None:
            return "–"
        return f"{value:,}" if type(value) is int else visible(str(value))


def to_json(value: Any) -> str:
    """ASCII JSON: safe on a terminal and in a pipe, whatever the text; lone surrogates stay escapes."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")


class Output:
    """The sink of one command."""

    def __init__(self, form: Form = Form.TABLE, *, null: bool = False, allowed: Sequence[Form] | None = None) -> None:
        if allowed is not None and form not in allowed:
            raise UsageError(f"--output {form} is not for this command", hint="use " + ", ".join(allowed))
        if null and form is not Form.NAME:
            raise UsageError("--null separates names: it goes with --output name")
        self.form = form
        self._end = "\0" if null else "\n"

    @cached_property
    def console(self) -> Console:
        """Rich's console on stdout; as wide as the terminal, 100 cells in a pipe."""
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Rich's console on stderr."""
        return _console(sys.stderr)

    def json(self, record: Record) -> None:
        """One JSON object on a line of its own."""
        sys.stdout.write(to_json({"schema": SCHEMA, **record}) + "\n")

    def record(self, record: Record) -> None:
        """One line of JSON Lines."""
        sys.stdout.write(to_json(record) + "\n")

    def records(
        self,
        columns: Sequence[Column],
        records: Iterable[Record],
        *,
        key: str,
        name: str = "session_id",
        tail: Callable[[], Record] = dict,
    ) -> None:
        """Write ``records`` in this sink's form, streamed in all but the tables.

        ``key`` is the array's name in JSON, ``tail()`` gives the keys that follow it and is asked after
        the last record. ``name`` is the field that the name form prints.
        """
        if self.form.for_people:
            self.table(columns, records)
        elif self.form is Form.JSON:
            self._json_array(key, records, tail)
        elif self.form is Form.CSV:
            self._csv(columns, records)
        else:
            for record in records:
                if self.form is Form.JSONL:
                    self.record(record)
                else:
                    self.name(str(record[name]))

    def name(self, text: str) -> None:
        """One name; as it is in a pipe, made visible on a terminal."""
        shown = visible(text) if sys.stdout.isatty() else text
        sys.stdout.flush()
        sys.stdout.buffer.write(shown.encode("utf-8", "surrogateescape") + self._end.encode())
        if "\n" in text and self._end == "\n" and not sys.stdout.isatty():
            self.warn("an id contains a line break: add --null to keep ids apart")

    def table(
        self,
        columns: Sequence[Column],
        records: Iterable[Record],
        *,
        title: str | None = None,
        console: Console | None = None,
    ) -> None:
        """A table on stdout; in a pipe it is as wide as its content, so that no line is cut."""
        from rich.table import Table  # the other forms need no Rich
        from rich.text import Text

        shown = [column for column in columns if self.form is Form.WIDE or not column.wide]
        table = Table(
            box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", header_style="bold"
        )
        rows = [[column.text(record) for column in shown] for record in records]
        for number, column in enumerate(shown):
            longest = max((cell_width(row[number]) for row in rows), default=0)
            table.add_column(
                column.header,
                justify=column.justify,
                style=column.style,
                overflow="fold",
                no_wrap=not column.fold,
                min_width=None if column.fold else longest,  # only what folds gives way on a narrow screen
            )
        for row in rows:
            table.add_row(*map(Text, row))
        console = console or self.console
        if console.is_terminal:
            console.print(table)
        else:
            content = console.measure(table, options=console.options.update(width=100_000)).maximum
            console.width = max(console.width, content)  # print() draws no wider than its console
            console.print(table, soft_wrap=True)

    def line(self, text: str = "", *, console: Console | None = None) -> None:
        """A line of text for people, on stdout."""
        (console or self.console).print(visible(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Something worth knowing; silenced by --quiet."""
        if not current().quiet:
            self.err.print(visible(text), style="dim", soft_wrap=True)

    def hint(self, text: str) -> None:
        """What to do next; silenced by --quiet."""
        self.note(f"hint: {text}")

    def warn(self, text: str) -> None:
        """Something that may be wrong; never silenced."""
        self.err.print(f"warning: {visible(text)}", style="yellow", soft_wrap=True)

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask on the terminal; True with --yes; ConfirmationRequired where there is no terminal to ask on."""
        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfirmationRequired
        self.err.print(f"{visible(question)} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _json_array(self, key: str, records: Iterable[Record], tail: Callable[[], Record]) -> None:
        write = sys.stdout.write
        records = _begun(records)
        write(f'{{"schema": {to_json(SCHEMA)}, {to_json(key)}: [')
        separator = ""
        for record in records:
            write(separator + to_json(record))
            separator = ", "
        rest = to_json(tail())[1:-1]
        write("]" + (", " + rest if rest else "") + "}\n")

    def _csv(self, columns: Sequence[Column], records: Iterable[Record]) -> None:
        clean = visible if sys.stdout.isatty() else _as_is
        records = _begun(records)
        writer = csv.writer(_Rows())  # with its own line ends, for which it quotes a lone CR too
        keys = list(dict.fromkeys(column.key for column in columns if column.key))
        writer.writerow(keys)
        for record in records:
            values = (record.get(key) for key in keys)
            writer.writerow([clean(value) if isinstance(value, str) else value for value in values])


class _Rows:
    """Lines of CSV on stdout; ids of invalid UTF-8 get through as the bytes they are."""

    def write(self, text: str) -> int:
        sys.stdout.flush()
        line = text.removesuffix("\r\n") + "\n"
        return sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))


def _begun(records: Iterable[Record]) -> Iterator[Record]:
    """The same, with the first already fetched: a store that cannot be read fails before anything is written."""
    rest = iter(records)
    return chain(list(islice(rest, 1)), rest)


def _as_is(text: str) -> str:
    return text


def _console(stream: Any) -> Console:
    from rich.console import Console  # imported when something is drawn

    width = None if stream.isatty() else 100
    return Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        no_color=current().no_color or None,
        width=width,
    )


def show_error(code: str, message: str, hint: str | None, args: Sequence[str]) -> None:
    """The last words on stderr: one sentence and a hint, or one JSON object where JSON was asked for."""
    if not message.strip():
        return
    if _asked_for_json(args):
        error = {"code": code, "message": message, "hint": hint}
        sys.stderr.write(to_json({"schema": SCHEMA, "error": error}) + "\n")
        return
    console = _console(sys.stderr)
    console.print(f"error: {visible(message)}", style="red", soft_wrap=True)
    if hint:
        console.print(f"hint: {visible(hint)}", style="dim", soft_wrap=True)


def _asked_for_json(args: Sequence[str]) -> bool:
    """The parser may have failed, so the arguments are looked at as they stand."""
    joined = list(_pairs(args))
    return any(flag in ("-o", "--output") and value in ("json", "jsonl") for flag, value in joined)


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, arg in enumerate(args):
        flag, equals, value = arg.partition("=")
        if equals:
            yield flag, value
        elif arg.startswith("-o") and len(arg) > 2:
            yield "-o", arg[2:]
        elif index + 1 < len(args):
            yield arg, args[index + 1]
