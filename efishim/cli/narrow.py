"""Help for narrow terminals: in rows instead of a table, whose columns would cut words in the middle."""

from __future__ import annotations

import shutil
import textwrap

import click as plain_click
import rich_click as click

LEAST = 80
"""Columns from which on the table has room for every word."""


class Context(click.RichContext):
    """A command's context whose help fits the terminal."""

    def get_help(self) -> str:
        """rich-click's, or click's own where the terminal is narrow."""
        width = shutil.get_terminal_size().columns
        return super().get_help() if width >= LEAST else _in_rows(self, width)


def adapted(command: plain_click.Command) -> plain_click.Command:
    """The command, with help that fits the terminal; what a plugin made in its own way is left as it is."""
    if isinstance(command, click.RichCommand):
        command.context_class = Context
    if isinstance(command, plain_click.Group):
        for one in command.commands.values():
            adapted(one)
    return command


def _in_rows(context: plain_click.Context, width: int) -> str:
    command, formatter = context.command, plain_click.HelpFormatter(width=width - 1)
    kind = plain_click.Group if isinstance(command, plain_click.Group) else plain_click.Command
    plain_click.Command.format_usage(command, context, formatter)
    plain_click.Command.format_help_text(command, context, formatter)
    kind.format_options(command, context, formatter)  # type: ignore[arg-type]  # it is of the kind
    plain_click.Command.format_epilog(command, context, formatter)
    return "\n".join(_folded(line, width - 1) for line in formatter.getvalue().rstrip("\n").splitlines())


def _folded(line: str, width: int) -> str:
    """What click leaves as it is, the examples, between words; further in where it goes on."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    folded = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(folded) if len(line) > width else line
