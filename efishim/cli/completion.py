"""`efishim completion`: shell completion scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import rich_click as click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write the script where the shell looks for it, and print its path.")
@click.pass_context
def command(context: click.Context, shell: str, install: bool) -> None:
    """Print a shell completion script, or install it.

    bash and fish find an installed script on their own. zsh looks in the folders of $fpath: ~/.zshrc has to add the script's
    folder to it before it calls compinit.

    \b
        efishim completion bash --install
        efishim completion zsh > ~/.zfunc/_efishim
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover click knows the three shells
        raise click.ClickException(f"click has no completion for {shell}")
    source = kind(context.find_root().command, {}, "efishim", "_EFISHIM_COMPLETE").source()
    if not install:
        click.echo(source)
        return
    target = place(shell, os.environ)
    _write(target, source)
    click.echo(target)
    if shell == "zsh":
        context.obj.talk.line(f"in ~/.zshrc, before compinit: fpath+=({target.parent})")


def place(shell: str, environment: Mapping[str, str]) -> Path:
    """Where a shell looks for the scripts of a user: bash-completion's README, zshcompsys(1), fish-completions(1)."""
    home = Path(environment.get("HOME") or "~").expanduser()
    if shell == "bash":
        data = environment.get("BASH_COMPLETION_USER_DIR") or environment.get("XDG_DATA_HOME", "") or str(home / ".local/share")
        base = Path(data) if environment.get("BASH_COMPLETION_USER_DIR") else Path(data) / "bash-completion"
        return base / "completions" / "efishim"
    if shell == "zsh":
        return Path(environment.get("ZDOTDIR") or home) / ".zfunc" / "_efishim"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "efishim.fish"


def _write(target: Path, source: str) -> None:
    from efishim.report.files import OutputError, write_atomically

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be made: {error.strerror or error}") from error
    write_atomically(target, f"{source.rstrip()}\n".encode())
