"""Options that belong together, declared once as the parameters of a function, for every command that has them."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args


def grouped(
    parameter: str, make: Callable[..., Any], *, without: Collection[str] = (),
    saying: Mapping[str, str] | None = None, panel: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Put the options of ``make`` in the place of a command's ``parameter``, which gets what ``make`` makes of them.

    ``without``: options of ``make`` that this command does not have. One that the command has itself goes to both.
    ``saying``: what the help of this command says of an option instead; such options stand in its ``panel``.
    """
    said = saying or {}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True).parameters
        options = inspect.signature(make, eval_str=True).parameters
        ours = {
            name: _reworded(option, said[name], panel) if name in said else option
            for name, option in options.items()
            if name not in without
        }

        @functools.wraps(command)
        def with_options(**given: Any) -> Any:
            made = make(**{name: given[name] for name in ours})
            return command(**{parameter: made}, **{name: given[name] for name in own if name != parameter})

        keyword = [
            option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for mine in own.values()
            for option in ([o for o in ours.values() if o.name not in own] if mine.name == parameter else [mine])
        ]
        with_options.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
        with_options.__annotations__ = {option.name: option.annotation for option in keyword}
        return with_options

    return decorate


def _reworded(option: inspect.Parameter, said: str, panel: str | None) -> inspect.Parameter:
    kind, declared = get_args(option.annotation)
    reworded = copy.copy(declared)
    reworded.help = said
    reworded.rich_help_panel = panel or declared.rich_help_panel
    return option.replace(annotation=Annotated[kind, reworded])
