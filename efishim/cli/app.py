"""The top-level command: its subcommands, where they come from, and how errors are reported."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import click as plain_click
import rich_click as click

from efishim import __version__
from efishim.cli import INTERRUPTED
from efishim.cli.narrow import Context, adapted
from efishim.cli.plugin_options import plugin_options
from efishim.cli.project import Project, find_project
from efishim.cli.qemu_words import translated
from efishim.cli.streams import READER_GONE, Streams, guarded
from efishim.cli.talk import Talk
from efishim.closest import suggestion
from efishim.errors import EfishimError, UsageError
from efishim.plugin_guard import PluginError, described
from efishim.plugins import Registry, load_plugins

OWN_COMMANDS = (
    *(
        "run",
        "compare",
        "check",
        "surface",
        "baseline",
        "study",
        "matrix",
        "why",
        "inspect",
        "oracle",
        "providers",
        "platforms",
    ),
    *("rules", "plugins", "new-plugin", "cache", "doctor", "schema", "completion"),
    *("show", "explain"),
)
"""In the order of the help text. Each is the function `command` in the module of its name."""

BUG = 70
"""EX_SOFTWARE of sysexits.h: nothing that a user did should end here."""


class State:
    """What the commands share: the plugins, found when first asked for, and how to talk to the user."""

    def __init__(self, streams: Streams | None = None) -> None:
        self.talk = Talk()
        self.streams = streams or Streams()
        self.traceback = False
        """Print the traceback of a plugin's failure."""
        self.plugin_command = ""
        """The plugin whose command runs."""

    @cached_property
    def registry(self) -> Registry:
        """The plugins; those with problems are reported once, when the command ends."""
        return load_plugins()

    @cached_property
    def project(self) -> Project:
        """What `efishim.toml` says, in the current directory or above it. Raises UsageError."""
        try:
            return find_project(Path.cwd())
        except FileNotFoundError:  # the current directory was removed
            return Project()


class Group(click.RichGroup):
    """Commands imported when they are used, efishim's own first, those of plugins after them."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help text."""
        return [*OWN_COMMANDS, *(name for name in self._state(ctx).registry.commands if name not in OWN_COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in OWN_COMMANDS:
            command: click.Command = importlib.import_module(f"efishim.cli.{cmd_name.replace('-', '_')}").command
            return adapted(command)
        state = self._state(ctx)
        found = state.registry.commands.get(cmd_name)
        if found is not None:
            state.plugin_command = state.registry.owner("efishim_commands", cmd_name)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, plain_click.Command | None, list[str]]:
        """A command by its name, with arguments in efishim's words. The UsageError says which was probably meant."""
        name = args[0]
        command = None if name.startswith("-") else self.get_command(ctx, name)
        if command is None and not name.startswith("-") and not ctx.resilient_parsing:
            hint = f"{suggestion(name, self.list_commands(ctx))}see `efishim --help`"
            raise UsageError(f"there is no command {name!r}", hint=hint)
        if command is not None and _boots(command):
            args = [name, *translated(args[1:])]
        return super().resolve_command(ctx, args)

    @staticmethod
    def _state(ctx: click.Context) -> State:
        return ctx.ensure_object(State)


def _boots(command: plain_click.Command) -> bool:
    """Does it take a kernel's command line?"""
    below = command.commands.values() if isinstance(command, plain_click.Group) else ()
    return any("--append" in parameter.opts for parameter in command.params) or any(_boots(one) for one in below)


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
    "130 interrupted; 141 the reader of standard output went away.\n\n"
    "Defaults of options come from EFISHIM_* variables, then from efishim.toml in this directory or above; "
    "see docs/project-file.md.",
)
@plugin_options
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
        return
    defaults = dict(context.ensure_object(State).project.options)
    if defaults:
        if "platform" in defaults:
            defaults["platforms"] = (defaults["platform"],)  # a matrix takes several
        below = {"save": defaults, "check": defaults}
        context.default_map = {name: {**defaults, **below} for name in (context.invoked_subcommand,)}


def run_command_line(args: Sequence[str] | None = None) -> int:
    """Run it, turn what is raised into messages, and give the exit status."""
    with guarded() as streams:
        state = State(streams)
        status = _run(state, args)
        if "registry" in state.__dict__:
            for problem in state.registry.problems:
                state.talk.warning(f"plugin {problem.plugin}: {problem.sentence}")
        sys.stdout.flush()
        if streams.reader_gone:
            return READER_GONE
        if streams.failure is not None:
            state.talk.error(f"standard output cannot be written: {streams.failure.strerror}")
            return EfishimError.exit_status
        return status


def _run(state: State, args: Sequence[str] | None) -> int:
    try:
        status = cli.main(args=args, prog_name="efishim", standalone_mode=False, obj=state)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "efishim"
        state.talk.error(error.format_message(), f"see `{path} --help`")
        return error.exit_code
    except EfishimError as error:
        if state.traceback and error.__cause__ is not None:
            state.talk.lines("".join(traceback.format_exception(error.__cause__)))
        state.talk.error(error.sentence, error.hint)
        return error.exit_status
    except MemoryError:
        state.talk.error("there is not enough memory", "a guest takes what -m says, and each job (-j) has one")
        return EfishimError.exit_status
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may come from a hostile file
        if state.plugin_command:
            if state.traceback:
                state.talk.lines(traceback.format_exc())
            state.talk.error(f"the plugin {state.plugin_command} failed in its command: {described(error)}")
            return PluginError.exit_status
        state.talk.defect(traceback.format_exc())
        return BUG
    return status if isinstance(status, int) else 0
