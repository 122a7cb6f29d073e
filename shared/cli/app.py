"""What all commands have in common: `-h`, help texts that list names, and completions of them."""

import math
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperArgument, TyperCommand
from typer.models import ArgumentInfo, CommandFunctionType

if TYPE_CHECKING:
    import click


class Command(TyperCommand):
    """A command in whose help `{tasks}`, `{networks}` and `{strategies}` stand for all their names."""

    def format_help(self, ctx: "click.Context", formatter: "click.HelpFormatter") -> None:
        """Write the help, with the names put in; they are read from the registries only now."""
        self.help = _named(self.help)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):
                parameter.help = parameter.help or self._help_of(parameter.name or "")
            if isinstance(getattr(parameter, "help", None), str):
                parameter.help = _named(parameter.help)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: "click.Context", args: list[str]) -> list[str]:
        """Read what was typed; 'nan', which is neither below nor above any limit, is not a number here."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            if isinstance(value, float) and not math.isfinite(value):
                raise typer.BadParameter(f"{value} is not a finite number", ctx=ctx, param=parameter)
        return rest

    def _help_of(self, argument: str) -> str | None:
        """Return an argument's help from the command's function: Typer 0.20 loses it with Click 8.5."""
        hints = typing.get_type_hints(self.callback, include_extras=True)
        found = [item for item in typing.get_args(hints[argument])[1:] if isinstance(item, ArgumentInfo)]
        return found[0].help if found else None


class App(typer.Typer):
    """A group of commands, all of class `Command`.

    In the "markdown" mode of help texts, "[training]" is not taken for Rich's markup. Click itself suggests
    a command for a misspelt one.
    """

    def __init__(self, **options: Any) -> None:
        alone = options.get("invoke_without_command", False)
        defaults = {
            "no_args_is_help": not alone,
            "rich_markup_mode": "markdown",
            "suggest_commands": False,
        }
        super().__init__(**{**defaults, **options})

    def command(
        self, name: str | None = None, **options: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """Add a command."""
        return super().command(name, **{"cls": Command, **options})


def task_names() -> list[str]:
    """Return the names of all tasks, for the shell's completion."""
    from shared.tasks import TASKS

    return list(TASKS)


def _named(text: str | None) -> str | None:
    if text is None or "{" not in text:
        return text
    from shared.networks import NETWORKS
    from shared.strategies import STRATEGIES
    from shared.tasks import TASKS

    names = {"tasks": list(TASKS), "networks": list(NETWORKS), "strategies": list(STRATEGIES)}
    for kind, known in names.items():
        text = text.replace(f"{{{kind}}}", ", ".join(known))
    return text
