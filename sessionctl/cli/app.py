"""The root of the command tree: finds commands by file name, loads the one that is called, ends in an exit code."""

from __future__ import annotations

import copy
import gc
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace
from importlib.machinery import FileFinder
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from sessionctl import __version__
from sessionctl.cli import commands
from sessionctl.cli.context import current, set_current
from sessionctl.cli.options.coercion import coerce_late
from sessionctl.errors import SessionctlError, UsageError

ALIASES = {"ls": "list"}
_FIRST_LINE = re.compile(r'\A"""(.+?)(?:"""|\n)')
_EPILOG = (
    "Exit status: 0 done or nothing to do, 1 failed, 2 usage or a guard, 3 partial, 4 stopped by a limit, "
    "5 another run holds the store, 6 findings, 10 store missing or not understood, 11 access refused, "
    "130/143 interrupted."
)


class CommandFiles(MutableMapping[str, Any]):
    """The commands as a mapping from name to a light stand-in, made from the first line of each file.

    Help and completion of names need no more than that line, so that forty commands cost no import.
    """

    def __init__(self) -> None:
        self._found = {
            found.name: found.module_finder
            for found in pkgutil.iter_modules(commands.__path__)
            if isinstance(found.module_finder, FileFinder)
        }

    def __getitem__(self, name: str) -> TyperCommand:
        name = ALIASES.get(name, name)
        path = Path(self._found[name].path, f"{name}.py")
        with path.open(encoding="utf-8") as source:
            match = _FIRST_LINE.match(source.read(400))
        return TyperCommand(name=name, help=match[1] if match else None)

    def __contains__(self, name: object) -> bool:
        return ALIASES.get(str(name), name) in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._found))

    def __len__(self) -> int:
        return len(self._found)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("commands are files")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are files")


class StrictCommand(TyperCommand):
    """A command that refuses an option given twice unless it is one that may repeat."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [coerce_late(param) for param in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for param in given:
            once = isinstance(param, TyperOption) and not param.multiple and not param.is_flag
            if once and given.count(param) > 1:
                raise UsageError(f"{param.opts[0]} is given more than once")
        return super().parse_args(ctx, args)


class LazyGroup(TyperGroup):
    """A Typer group whose commands are imported when they are called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = CommandFiles()

    def get_params(self, ctx: Any) -> list[Any]:
        return [coerce_late(param) for param in super().get_params(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, self._load(str(found.name)) if found is not None else None, rest

    def _load(self, name: str) -> Any:
        """Import the command's module and build it, with the global options accepted behind its name too."""
        module = importlib.import_module(f"{commands.__name__}.{name}")
        if hasattr(module, "app"):
            command: Any = typer.main.get_group(module.app)
            targets = [command, *command.commands.values()]
        else:
            single = typer.Typer(add_completion=False)
            single.command(name, cls=StrictCommand)(module.command)
            command = typer.main.get_command(single)
            targets = [command]
        command.name = name
        for target in targets:
            target.params = [*target.params, *map(_behind_the_command, self.params)]
        return command


def _behind_the_command(param: Any) -> Any:
    param = copy.copy(param)
    param.expose_value = False
    param.hidden = param.hidden or param.name == "version"
    param.rich_help_panel = "Global options"
    return param


def _remember(param: typer.CallbackParam, value: Any) -> Any:
    """Every global option works before and behind the command; what was given at either place stays."""
    if value:
        set_current(replace(current(), **{str(param.name): value}))
    return value


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"sessionctl {__version__}\n")
        raise typer.Exit


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode="rich")


@app.callback(epilog=_EPILOG)
def root(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The settings file.", callback=_remember)
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, notes and hints.", callback=_remember)
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour.", callback=_remember)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_remember)] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Inspect and maintain the session stores of the OpenAI Agents SDK, safely beside live agents."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors are shown, never raised."""
    set_current(None)
    command = typer.main.get_command(app)
    if "_SESSIONCTL_COMPLETE" in os.environ:  # a completion script asks; Typer answers, and registers its shells here
        typer.completion.get_completion_inspect_parameters()
    try:
        status = command.main(list(args), prog_name="sessionctl", standalone_mode=False)
    except SessionctlError as error:
        if current().debug:
            raise
        from sessionctl.cli.output import show_error  # only on the way out

        show_error(error.code, error.message, error.hint, args)
        return error.exit_code
    except typer.TyperException as error:
        from sessionctl.cli.output import show_error

        context = getattr(error, "ctx", None)  # of the command that was misused, where it is known
        named = context.command_path if context else "sessionctl"
        said = error.format_message().replace("Value error, ", "")  # so begins what Typer has from Pydantic
        show_error("usage", said, f"see {named} --help", args)
        return error.exit_code
    except typer.Abort:  # what Typer makes of Ctrl-C outside of a run that stops in its own way
        return 130
    except Exception as error:
        if current().debug:
            raise
        from sessionctl.cli.output import show_error

        said = f"something unforeseen happened: {type(error).__name__}: {error}"
        show_error("internal", said, "--debug shows where; please report it", args)
        return 1
    return status if isinstance(status, int) else 0


def main() -> None:
    """The console script."""
    status = run(sys.argv[1:])
    gc.freeze()  # else Python looks through all that was imported on its way out: for 60 ms where SQLAlchemy was
    sys.exit(status)
