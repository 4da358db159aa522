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
from efishim.plugin_guard import PluginError
from efishim.plugins import Registry


@dataclass
class Source:
    """An entry point whose loading does what the test says."""

    name: str
    plugin: Any
    dist: Any = None

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


def entry(name: str) -> Any:
    members = {"summary": "", "specifications": (), "follows": "", "leaves_out": (), "requirements": ()}
    return SimpleNamespace(name=name, find=None, load=None, check=None, **members)


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


@dataclass(frozen=True)
class Distribution:
    """What installed an entry point."""

    name: str
    version: str = "1.0"


def installed(name: str, plugin: Any, distribution: str) -> Source:
    return Source(name, plugin, Distribution(distribution))


def test_of_two_with_the_same_name_the_user_says_which() -> None:
    first, second = provider("same"), provider("same")
    first.summary, second.summary = "first", "second"
    registry = Registry(
        [
            installed("b", plugin(providers=[second, provider("only")]), "theirs"),
            installed("a", plugin(providers=[first]), "ours"),
        ]
    )
    with pytest.raises(UsageError) as caught:
        registry.provider("same")
    assert "ours:same or theirs:same" in caught.value.hint
    assert (registry.provider("ours:same").summary, registry.provider("theirs:same").summary) == ("first", "second")
    assert registry.provider("theirs:same").name == "theirs:same"
    assert registry.provider("only").name == registry.provider("theirs:only").name == "only"
    assert list(registry.providers) == ["only", "ours:same", "theirs:same"]
    assert registry.problems == ()
    with pytest.raises(UsageError):
        registry.provider("ours:only")


def test_two_packages_may_call_their_plugins_the_same() -> None:
    registry = Registry(
        [
            installed("grub", plugin(providers=[provider("a")]), "one"),
            installed("grub", plugin(providers=[provider("b")]), "two"),
        ]
    )
    assert list(registry.providers) == ["a", "b"]
    assert [one.name for one in registry.plugins] == ["one:grub", "two:grub"]
    assert registry.problems == ()


def test_a_default_that_two_claim_is_nobodys() -> None:
    registry = Registry([Source("a", plugin(providers=[provider("a"), provider("b")]))])
    with pytest.raises(UsageError) as caught:
        registry.default_provider()
    assert "a, b" in caught.value.hint


def test_a_provider_that_is_missing_since_its_hook_failed_is_the_plugins_failure() -> None:
    registry = Registry([GOOD, Source("bad", plugin(providers=RuntimeError("boom")))])
    with pytest.raises(PluginError) as caught:
        registry.provider("nope")
    for word in ("bad", "efishim_providers", "RuntimeError: boom", "test_plugins.py, line"):
        assert word in caught.value.sentence
    assert registry.provider("good").name == "good"


def test_what_is_not_chosen_by_name_is_first_of_all_ours() -> None:
    """A plugin that calls its entry like one of efishim's own is named, and replaces nothing."""
    ours, theirs = entry("elf64"), entry("elf64")
    registry = Registry([installed("a", plugin(entries=[theirs]), "other"), installed("z", plugin(entries=[ours]), "efishim")])
    assert list(registry.entries) == ["elf64"]
    assert registry.owner("efishim_entries", "elf64") == "z"
    assert [(one.plugin, one.sentence) for one in registry.problems] == [
        ("a", "elf64 of efishim_entries exists already and is left out")
    ]


def test_who_takes_the_first_provider_takes_ours_first() -> None:
    registry = Registry(
        [
            installed("a", plugin(providers=[provider("a"), provider("z")]), "other"),
            installed("m", plugin(providers=[provider("m"), provider("n")]), "efishim"),
        ]
    )
    assert list(registry.providers) == ["a", "m", "n", "z"]
    assert list(registry.providers_ours_first) == ["m", "n", "a", "z"]


def test_an_entry_of_efishims_own_is_not_a_plugins() -> None:
    """It would bring its own loader and rules, and each provider's run would be held to those."""
    registry = Registry([installed("a", plugin(entries=[entry("linux64"), entry("linux65")]), "other")])
    assert "linux64" not in registry.entries
    assert ["linux64' is an entry of efishim's own" in one.sentence for one in registry.problems] == [True]


def test_who_took_part_is_named_when_another_package_brought_it() -> None:
    sources = [
        installed("theirs", plugin(providers=[provider("a")]), "their-package"),
        installed("ours", plugin(providers=[provider("b")]), "efishim"),
        installed("machine", plugin(platforms=[SimpleNamespace(name="m", summary="", options=(), build=None)]), "machines"),
        Source("nobodys", plugin(providers=[provider("c")])),
        installed("doors", plugin(entries=[entry("e")]), "doors"),
    ]
    registry = Registry(sources)
    assert registry.providers.keys() == {"a", "b", "c"}
    assert registry.platforms.keys() == {"m"}

    assert registry.entries.keys() == {"e"}

    def took_part(name: str, machine: str, door: str = "pvh") -> list[tuple[str, str, str]]:
        chosen = [("efishim_providers", name), ("efishim_platforms", machine), ("efishim_entries", door)]
        found = registry.took_part(chosen, protocols=True, observers=True)
        assert all(len(one.sha256) == 64 for one in found)
        return [(one.name, one.distribution, one.version) for one in found]

    assert took_part("a", "m") == [("machine", "machines", "1.0"), ("theirs", "their-package", "1.0")]
    assert took_part("b", "pc") == []
    assert took_part("b", "pc", "e") == [("doors", "doors", "1.0")]
    assert took_part("c", "pc") == []


@pytest.mark.parametrize(
    ("blocked", "left"),
    [
        ("", {"ours", "theirs", "more"}),
        ("*", {"ours"}),
        ("theirs", {"ours", "more"}),
        ("pack:more, ours", {"theirs"}),
        ("other:more", {"ours", "theirs", "more"}),
    ],
)
def test_plugins_can_be_left_out(blocked: str, left: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [
        installed(name, plugin(providers=[provider(name)]), distribution)
        for name, distribution in (("ours", "efishim"), ("theirs", "x"), ("more", "pack"))
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: sources if group == plugins.GROUP else [])
    monkeypatch.setenv(plugins.BLOCKED, blocked)
    assert {one.name for one in plugins.load_plugins().plugins} == left


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
