"""What a plugin does wrong is one sentence: plugin, member, failure, file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from efishim_plugins.hvmlite.provider import Hvmlite

from efishim.errors import ProviderError, UsageError
from efishim.plugin_guard import Guarded, PluginError, guarded_call, place, problem
from efishim.provider import CpuMode, CpuState, Handover, Segment


def guarded(**members: Any) -> Any:
    """A provider of a plugin with other members."""
    return Guarded("efishim_providers", "mine", "theirs", type("Mine", (Hvmlite,), members)())


def raises(error: BaseException) -> Callable[..., Any]:
    def method(*_: object) -> Any:
        raise error

    return method


def failure(action: Callable[[], Any]) -> str:
    with pytest.raises(PluginError) as caught:
        action()
    return caught.value.sentence


def test_what_is_right_goes_through() -> None:
    handover = Handover(0x1000)
    mine = guarded(produce=lambda *_: handover)
    assert mine.produce(None, None, None) is handover
    assert mine.name == "mine"
    assert [one.name for one in mine.entries][:1] == ["efi"]
    assert not hasattr(mine, "what_nobody_has")


@pytest.mark.parametrize("error", [KeyError("acpi"), RuntimeError("two\nlines"), SystemExit(3), AttributeError("gone")])
@pytest.mark.parametrize("method", ["produce", "read_back", "cpu_state", "structures", "runs_on", "keeps_boot_services"])
def test_an_exception_has_plugin_member_file_and_line(method: str, error: BaseException) -> None:
    said = failure(lambda: getattr(guarded(**{method: raises(error)}), method)(1, 2))
    assert said.startswith(f"the plugin theirs failed in Mine.{method}: {type(error).__name__}")
    assert "test_plugin_guard.py, line" in said
    assert "\n" not in said


def test_a_property_that_fails_is_named_too() -> None:
    assert "failed in Mine.entries: ValueError: x" in failure(
        lambda: guarded(entries=property(raises(ValueError("x")))).entries
    )
    # An attribute that is missing inside of one is not taken for one that is not there.
    assert "Mine.runs_on" in failure(lambda: guarded(runs_on=property(raises(AttributeError("y")))).runs_on)


@pytest.mark.parametrize("error", [ProviderError("no room"), UsageError("no such option")])
def test_the_sentences_of_a_provider_are_its_own(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        guarded(produce=raises(error)).produce()
    assert caught.value is error


GOOD = CpuState(CpuMode.LONG, 0x1000, {"rsi": 1}, {"cs": Segment(8, 0, 1, 0)})


@pytest.mark.parametrize(
    ("method", "returned", "said"),
    [
        ("cpu_state", None, "it returned None instead of CpuState"),
        ("cpu_state", "long", "it returned a str instead of CpuState"),
        ("cpu_state", CpuState(CpuMode.LONG, None, {}, {}), "CpuState whose rip is None instead of int"),  # type: ignore[arg-type]
        ("cpu_state", CpuState("long", 1, {}, {}), "CpuState whose mode is a str instead of CpuMode"),  # type: ignore[arg-type]
        ("cpu_state", CpuState(CpuMode.LONG, 1, {"rsi": "x"}, {}), "CpuState whose registers is a str instead of int"),  # type: ignore[dict-item]
        ("cpu_state", CpuState(CpuMode.LONG, 1, {}, {"cs": 8}), "CpuState whose segments is a int instead of Segment"),  # type: ignore[dict-item]
        ("produce", None, "it returned None instead of Handover"),
        ("produce", Handover("here"), "Handover whose address is a str instead of int | None"),  # type: ignore[arg-type]
        ("read_back", {}, "it returned a dict instead of BootInformation"),
        ("structures", None, "it returned None instead of a tuple"),
        ("structures", [1], "it returned an item that is a int instead of Structure"),
        ("runs_on", 1, "it returned a int instead of str"),
        ("keeps_boot_services", None, "it returned None instead of bool"),
    ],
)
def test_a_wrong_return_type_is_named(method: str, returned: object, said: str) -> None:
    def wrong(*_: object) -> Any:
        return returned

    found = failure(getattr(guarded(**{method: wrong}), method))
    assert found.startswith(f"the plugin theirs is wrong in Mine.{method}: ")
    assert said in found
    assert "test_plugin_guard.py, line" in found


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("entries", None), ("entries", ("pvh",)), ("options", 5), ("limits", "one"), ("summary", 3), ("module_alignment", "x")],
)
def test_a_wrong_attribute_is_named(attribute: str, value: object) -> None:
    assert f"wrong in Mine.{attribute}: it is " in failure(lambda: getattr(guarded(**{attribute: value}), attribute))


def test_a_method_that_is_none_is_named() -> None:
    assert "Mine.produce that is not a method" in failure(lambda: guarded(produce=5).produce)


def test_a_generator_fails_where_it_is_called() -> None:
    def structures(*_: object) -> Iterator[Any]:
        raise KeyError("late")
        yield

    assert "Mine.structures: KeyError" in failure(lambda: guarded(structures=structures).structures())


def test_platforms_and_reports_are_looked_at() -> None:
    platform: Any = Guarded("efishim_platforms", "m", "theirs", type("Machine", (), {"name": "m", "build": lambda *_: None})())
    assert "Machine.build: it returned None instead of PlatformFacts" in failure(lambda: platform.build(1, 2))
    report: Any = Guarded("efishim_reports", "r", "theirs", type("Report", (), {"name": "r", "render": lambda *_: b"x"})())
    assert "Report.render: it returned a bytes instead of str" in failure(lambda: report.render(1))


def test_memory_that_runs_out_is_nobodys_fault() -> None:
    with pytest.raises(MemoryError):
        guarded_call("theirs", "hook", raises(MemoryError()))


def test_the_place_is_the_plugins_and_not_ours() -> None:
    """Where the plugin called what raised, though that is efishim's code."""
    with pytest.raises(AttributeError) as caught:
        problem(1, "NoSuchType")
    assert "test_plugin_guard.py" in place(caught.value)
    assert place(ValueError()) == ""


@pytest.mark.parametrize("value", [GOOD, CpuState(CpuMode.REAL, 0, {}, {})])
def test_what_fits_has_no_problem(value: CpuState) -> None:
    assert problem(value, "CpuState") is None
    assert problem((value, value), "Iterable[CpuState]") is None
