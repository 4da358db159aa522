"""`efishim completion`: shell completion scripts."""

from __future__ import annotations

import rich_click as click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a shell completion script.

    \b
        bash: efishim completion bash > ~/.local/share/bash-completion/completions/efishim
        zsh:  efishim completion zsh > ~/.zfunc/_efishim
        fish: efishim completion fish > ~/.config/fish/completions/efishim.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover click knows the three shells
        raise click.ClickException(f"click has no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "efishim", "_EFISHIM_COMPLETE").source())
