"""The top-level command: its subcommands, where they come from, and how errors are reported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from functools import cached_property

import rich_click as click

from efishim import __version__
from efishim.cli import INTERRUPTED
from efishim.cli.talk import Talk
from efishim.errors import EfishimError
from efishim.plugins import Registry, load_plugins

OWN_COMMANDS = (
    *("run", "compare", "surface", "baseline", "study", "inspect", "oracle", "providers", "platforms", "plugins"),
    *("doctor", "schema", "completion"),
)
"""In the order of the help text. Each is the function `command` in the module of its name."""

BROKEN_PIPE = 1
BUG = 70
"""EX_SOFTWARE of sysexits.h: nothing that a user did should end here."""


class State:
    """What the commands share: the plugins, found when first asked for, and how to talk to the user."""

    def __init__(self) -> None:
        self.talk = Talk()

    @cached_property
    def registry(self) -> Registry:
        """The plugins; those with problems are reported once, when the command ends."""
        return load_plugins()


class Group(click.RichGroup):
    """Commands imported when they are used, efishim's own first, those of plugins after them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help text."""
        return [*OWN_COMMANDS, *(name for name in self._state(ctx).registry.commands if name not in OWN_COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in OWN_COMMANDS:
            command: click.Command = importlib.import_module(f"efishim.cli.{cmd_name}").command
            return command
        return self._state(ctx).registry.commands.get(cmd_name)

    @staticmethod
    def _state(ctx: click.Context) -> State:
        return ctx.ensure_object(State)


@click.group(
    cls=Group,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "rich_help_config": click.RichHelpConfiguration(text_paragraph_linebreaks="\n\n", max_width=100),
    },
    epilog="Exit status: 0 success; 1 the goal was not reached, or differences were found; 2 usage error; "
    "3 a provider or the emulator failed; 4 the image cannot be read; 77 the route does not apply to the image; "
    "130 interrupted.",
)
@click.version_option(__version__, "-V", "--version", message="efishim %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Boot one x86 kernel through every entry point it has, in one deterministic emulator, and diff what it sees.

    efishim boots an unmodified kernel through a chosen entry point (EFI stub, PVH, Linux boot protocol, Multiboot) and
    records the boot information it receives, the firmware calls it makes, the hardware it touches and the code it runs.

    \b
        efishim run                              boot the embedded probe kernel
        efishim run deb:linux-image-cloud-amd64  boot a Debian kernel to userspace
        efishim inspect vmlinuz                  list the entry points of an image
        efishim compare vmlinuz                  boot it through each of them and diff the runs
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run_command_line(args: Sequence[str] | None = None) -> int:
    """Run it, turn what is raised into messages, and give the exit status."""
    state = State()
    try:
        status = cli.main(args=args, prog_name="efishim", standalone_mode=False, obj=state)
        sys.stdout.flush()
    except click.Abort:
        status = INTERRUPTED
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "efishim"
        state.talk.error(error.format_message(), f"see `{path} --help`")
        status = error.exit_code
    except EfishimError as error:
        state.talk.error(error.sentence, error.hint)
        status = error.exit_status
    except BrokenPipeError:
        # The reader went away (`| head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = BROKEN_PIPE
    if "registry" in state.__dict__:
        for problem in state.registry.problems:
            state.talk.warning(f"plugin {problem.plugin}: {problem.sentence}")
    return status if isinstance(status, int) else 0
