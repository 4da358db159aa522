"""Two versions of a kernel through one route."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from efishim.compare.versions import Versions, encode, versions
from efishim.errors import UsageError
from efishim.lab.record import AbiViolation, Coverage, E820View, FunctionCoverage, Hex, LedgerEntry, LedgerKind, Record
from efishim.report.versions import render
from tests.records import a_record

replace = msgspec.structs.replace


def newer(**changes: Any) -> Record:
    old = a_record()
    return replace(old, image=replace(old.image, version="6.2", sha256="1" * 64), **changes)


def functions(*names: str) -> Coverage:
    return replace(a_record().coverage, functions=[FunctionCoverage(name=name, blocks=1) for name in names])


def section(found: Versions, name: str) -> Any:
    return next(one for one in found.sections if one.name == name)


def told(**fields: str) -> Record:
    view = a_record().boot_view
    assert view is not None
    params = view.boot_params
    return newer(boot_view=replace(view, boot_params=type(params).of({**dict(params.items()), **fields})))


def test_the_same_behaviour_of_another_kernel_is_the_same() -> None:
    found = versions(a_record(), newer())
    assert found.same
    assert [one.name for one in found.sections if not one.same] == []
    assert "The same is told, called and touched, and nothing new is complained of." in render([found], "text", verbose=False)


def test_what_is_touched_called_and_reached_counts() -> None:
    touch = LedgerEntry(kind=LedgerKind.MSR, what="0x179", device="", group="MCE", reads=1)
    touched = versions(a_record(), newer(ledger=[*a_record().ledger, touch]))
    assert section(touched, "hardware").new == ["MCE.msr 0x179"]
    assert not touched.same
    quiet = versions(a_record(), newer(firmware_calls=[]))
    assert len(section(quiet, "calls").gone) == 1
    assert not quiet.same
    short = versions(a_record(), newer(outcome=replace(a_record().outcome, met=False)))
    assert not short.same
    assert "the new kernel did not reach its goal" in render([short], "text", verbose=False)


def test_what_the_kernel_is_told_counts_and_its_own_header_does_not() -> None:
    found = section(versions(a_record(), told(**{"hdr.init_size": "0x5"})), "told")
    assert found.same
    assert found.noise == {"fields of the image's own setup header": 1}
    assert not versions(a_record(), told(acpi_rsdp_addr="0x5")).same


def test_what_a_loader_writes_into_the_header_is_told_and_not_of_the_build() -> None:
    found = section(versions(a_record(), told(**{"hdr.type_of_loader": "0x5"})), "told")
    assert [one.path for one in found.changed if "type_of_loader" in one.path] or any(
        "type_of_loader" in one for one in found.new
    )
    assert not found.same


def test_ranges_of_the_memory_map_are_told() -> None:
    view = a_record().boot_view
    assert view is not None

    def with_ram(end: int) -> Any:
        return replace(view, e820=(E820View(Hex(0), Hex(end), Hex(1), "RAM"),))

    old = replace(a_record(), boot_view=with_ram(0x800_0000))
    assert versions(old, newer(boot_view=with_ram(0x800_0000))).same
    assert not versions(old, newer(boot_view=with_ram(0x400_0000))).same


def test_a_new_complaint_and_a_violated_rule_count_and_another_line_does_not() -> None:
    line = "[    0.100000] {}\n"
    oops = newer(console=a_record().console + line.format("BUG: kernel NULL pointer dereference, address: 0"))
    found = versions(a_record(), oops)
    assert len(section(found, "complaints").new) == 1
    assert not found.same
    assert versions(a_record(), newer(console=a_record().console + line.format("hello: a new driver"))).same
    rule = AbiViolation(rule="pvh/tr", sentence="TR is one: it is none", source="pvh.pandoc")
    violated = versions(replace(a_record(), abi=[]), newer(abi=[rule]))
    assert section(violated, "violations").new == ["pvh/tr"]
    assert not violated.same


def test_functions_are_matched_by_name_and_not_by_a_compilers_copies() -> None:
    old = replace(a_record(), coverage=functions("a", "b.isra.0", "gone"))
    found = section(versions(old, newer(coverage=functions("a", "b.constprop.3.cold", "fresh"))), "code")
    assert (found.new, found.gone) == (["fresh"], ["gone"])
    assert found.noise == {"names of a compiler's copies": 2}
    assert versions(old, newer(coverage=functions("a"))).same, "code alone is no change of the handover"


def test_two_routes_are_not_two_versions() -> None:
    with pytest.raises(UsageError, match="through one route"):
        versions(a_record(), newer(route=replace(a_record().route, entry="pvh")))


def test_the_document_is_json() -> None:
    (found,) = msgspec.json.decode(encode([versions(a_record(), newer())]), type=list[Versions])
    assert found.route == "firmware/efi@pc"
    assert render([found], "json", verbose=False).startswith("[\n")
