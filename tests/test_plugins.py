"""The registry of plugins: what good ones give, and that bad ones are named and harm nobody else."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from efishim_plugins.firmware.provider import Firmware

from efishim import plugins
from efishim.errors import UsageError
from efishim.hookspecs import hookimpl
from efishim.plugins import Registry


@dataclass
class Source:
    """An entry point whose loading does what the test says."""

    name: str
    plugin: Any

    def load(self) -> Any:
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


def plugin(**hooks: Any) -> SimpleNamespace:
    """A plugin whose hooks return what is given, or raise it."""

    def make(value: Any) -> Any:
        def hook() -> Any:
            if isinstance(value, BaseException):
                raise value
            return value

        return hookimpl(hook)

    return SimpleNamespace(**{f"efishim_{name}": make(value) for name, value in hooks.items()})


def provider(name: str) -> Any:
    made = Firmware()
    made.name = name
    return made


def test_the_shipped_plugins_come_through_the_public_group() -> None:
    registry = plugins.load_plugins()
    assert registry.problems == ()
    assert registry.provider("firmware").entries[0].name == "efi"
    assert registry.platform("pc").name == "pc"
    assert {one.name for one in registry.plugins} >= {"firmware", "platforms"}


def test_the_core_knows_no_provider_by_name() -> None:
    """Nothing but the default of `-p` may say `firmware` as the name of a provider; a registry without it works."""
    registry = Registry([Source("other", plugin(providers=[provider("other")]))])
    assert list(registry.providers) == ["other"]
    assert registry.problems == ()


GOOD = Source("zz_good", plugin(providers=[provider("good")]))


@pytest.mark.parametrize(
    "bad",
    [
        ImportError("no module named x"),
        RuntimeError("two\nlines"),
        SystemExit(3),
        plugin(nonsense=[]),
        plugin(providers=RuntimeError("boom")),
        plugin(providers=SystemExit(1)),
        plugin(providers=None),
        plugin(providers=[object()]),
        plugin(providers=[provider("Not A Name")]),
        SimpleNamespace(efishim_providers=hookimpl(lambda surplus: [])),
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_a_bad_plugin_is_reported_by_name_and_harms_nobody(bad: Any) -> None:
    registry = Registry([Source("aa_bad", bad), GOOD])
    assert list(registry.providers) == ["good"]
    assert [problem.plugin for problem in registry.problems] == ["aa_bad"]
    assert "\n" not in registry.problems[0].sentence


def test_a_misspelt_hook_is_named() -> None:
    registry = Registry([Source("typo", plugin(provider=[]))])
    assert "efishim_provider" in registry.problems[0].sentence


def test_one_bad_hook_leaves_the_plugins_other_hooks_alone() -> None:
    registry = Registry([Source("half", plugin(providers=[provider("half")], platforms=ValueError("broken")))])
    assert list(registry.providers) == ["half"]
    assert list(registry.platforms) == []
    assert [problem.plugin for problem in registry.problems] == ["half"]


def test_the_first_of_two_with_the_same_name_is_used() -> None:
    first, second = provider("same"), provider("same")
    registry = Registry([Source("b", plugin(providers=[second])), Source("a", plugin(providers=[first]))])
    assert registry.provider("same") is first
    assert [problem.plugin for problem in registry.problems] == ["b"]


def test_asking_for_what_is_not_there_names_what_is() -> None:
    registry = Registry([GOOD, Source("aa_bad", ImportError())])
    with pytest.raises(UsageError) as caught:
        registry.provider("nope")
    assert "good" in caught.value.hint
    assert "aa_bad" in caught.value.hint


def test_a_hook_is_asked_once_but_observers_are_new_for_every_run() -> None:
    def observers() -> list[Any]:
        return [SimpleNamespace(name="o", summary="", start=None, finish=None)]

    registry = Registry([GOOD, Source("o", SimpleNamespace(efishim_observers=hookimpl(observers)))])
    assert registry.providers is registry.providers
    assert registry.observers()[0] is not registry.observers()[0]


def test_what_a_plugin_gives_is_listed() -> None:
    registry = Registry([Source("mine", plugin(providers=[provider("a"), provider("b")]))])
    assert registry.given_by("mine") == ["provider a", "provider b"]
    assert registry.given_by("other") == []


def test_loading_the_plugins_imports_no_heavy_room() -> None:
    script = textwrap.dedent("""
        import sys
        from efishim.plugins import load_plugins
        registry = load_plugins()
        list(registry.providers), list(registry.platforms)
        heavy = ("unicorn", "construct", "pefile", "elftools", "msgspec", "capstone", "efishim.machine", "efishim.firmware")
        print([name for name in heavy if name in sys.modules])
    """)
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
