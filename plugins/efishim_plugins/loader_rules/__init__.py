"""Why a real boot loader may differ from its imitation: rules of `efishim compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import RuleSet


@hookimpl
def efishim_rules() -> list[RuleSet]:
    """The one set of this package."""
    from importlib import resources

    from efishim.provider import RuleSet

    rules = (resources.files("efishim_plugins.loader_rules") / "rules.toml").read_text(encoding="utf-8")
    return [RuleSet("loaders", "what real boot loaders do that their imitations leave out", rules)]
