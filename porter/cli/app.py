"""What all commands share: settings of the call, output, errors and exit codes.

Exit codes: 0 done; 1 a migration did not succeed, or the control plane cannot be reached; 2 the
request is wrong (usage, unknown name, conflict, not allowed); 3 the time to wait was over and the
migration goes on; 130 interrupted. docs/ci.md has the table.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType

from porter.cli.client import Api
from porter.client import exits
from porter.client.exits import exit_code
from porter.domain.errors import PorterError

OK, FAILED, BAD_INPUT, UNDER_WAY, INTERRUPTED = exits.CODES
STATE = "/var/lib/porter"
_PIPE_WIDTH = 160
API = "http://127.0.0.1:8460"


@dataclass
class App:
    """One call of `porter`. Commands get it by `@click.pass_obj`."""

    json: bool
    url: str
    state: Path
    token_file: Path
    api_factory: Callable[[str, Path], Api] = Api

    @cached_property
    def api(self) -> Api:
        return self.api_factory(self.url, self.token_file)

    @cached_property
    def console(self) -> Console:
        # In a pipe or a log nothing is gained by folding table cells at 80 columns.
        width = None if interactive() or "COLUMNS" in os.environ else _PIPE_WIDTH
        return Console(highlight=False, width=width)

    def working(self, what: str) -> AbstractContextManager[Any]:
        """A spinner for a person who waits; nothing in a pipe or with --json."""
        quiet = self.json or not interactive()
        return nullcontext() if quiet else self.console.status(f"{what} …")

    def show(self, document: Any, picture: RenderableType | None) -> None:
        """Print the document as JSON if asked for, else its picture."""
        if self.json:
            print_json(document)
        elif picture is not None:
            self.console.print(picture)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def report(error: PorterError, as_json: bool) -> int:
    """Say what went wrong on stderr, and as JSON on stdout if asked for. Returns the exit code."""
    if as_json:
        wrong = {"code": error.code, "message": error.message, "remedy": error.remedy}
        print_json({"error": wrong | error.members})
    click.echo(f"porter: {error}", err=True)
    return exit_code(error)


class PorterCommand(click.Command):
    """A command that also takes --json after its name, where people look for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not any("--json" in parameter.opts for parameter in self.params):
            self.params.append(
                click.Option(
                    ["--json"],
                    is_flag=True,
                    expose_value=False,
                    callback=_turn_json_on,
                    help="Print one JSON document on stdout and nothing else.",
                )
            )


def _turn_json_on(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().obj.json = True


class PorterGroup(click.Group):
    """A group whose commands all take --json; unknown commands get a hint."""

    command_class = PorterCommand
    group_class = type

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{error.format_message()} Known here: {known}.", ctx) from None


class LazyGroup(PorterGroup):
    """Imports a command's module only when it is used, so that `porter --help` is quick."""

    lazy: dict[str, tuple[str, str]]
    """Name → ("module:attribute", short help)."""

    def __init__(
        self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        here = super().list_commands(ctx)
        rows = [(name, self.commands[name].get_short_help_str(80)) for name in here]
        rows += [(name, help_text) for name, (_, help_text) in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def interactive() -> bool:
    """Whether a person watches stdout."""
    return sys.stdout.isatty()
