"""Profiles: as values, as files, those that come with efishim, and recorded ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import UsageError
from efishim.firmware.catalogue import FUNCTIONS
from efishim.firmware.profile import (
    FIELDS,
    Item,
    Kind,
    Profile,
    ProfileError,
    ProfileOverrides,
    item,
    parse_item,
    weakenings,
)
from efishim.firmware.profile_files import FILE_LIMIT, read_profile, shipped, write_profile
from efishim.lab.plan.arguments import Words, find_profile, make_plan
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Record, decode, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.surface.usage import observed_profile
from efishim.wire.guids import BY_NAME
from tests.surface.needy import needy_plan

MANY = "\n".join(f"'EFI_GLOBAL_VARIABLE:v{n}' = 'absent'" for n in range(5000))

ITEMS = st.one_of(
    st.sampled_from(sorted(FUNCTIONS)).map(lambda name: item(Kind.SERVICE, name)),
    st.sampled_from(sorted(FIELDS)).map(lambda name: item(Kind.FIELD, name)),
    st.sampled_from(sorted(BY_NAME)).map(lambda name: item(Kind.PROTOCOL, name)),
    st.uuids().map(lambda guid: item(Kind.TABLE, str(guid))),
    st.tuples(st.sampled_from(sorted(BY_NAME)), st.text(min_size=1, max_size=20).filter(str.isprintable)).map(
        lambda pair: item(Kind.VARIABLE, ":".join(pair))
    ),
)


@pytest.mark.slow
@given(ITEMS)
def test_items_are_read_back(one: Item) -> None:
    assert parse_item(one.text) == one


@pytest.mark.slow
@given(st.dictionaries(ITEMS, st.sampled_from(["present", "absent"])), st.text(max_size=30), st.lists(st.text(max_size=9)))
def test_files_are_read_back(answers: dict[Item, str], text: str, sources: list[str]) -> None:
    profile = Profile(name=text, summary=text, sources=tuple(sources), answers=tuple(sorted(answers.items())))
    assert read_profile(write_profile(profile)) == profile


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_profiles(name: str) -> None:
    """Each is called as its file, says where its facts are from, and names a commit there."""
    profile = read_profile(shipped()[name], name=name)
    assert profile.name == name
    assert profile.sources
    assert all(len(source.split("/blob/")[1].split("/")[0]) == 40 for source in profile.sources)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("schema = 1\n[services]\n'BootServices.Frobnicate' = 'absent'", "there is no service 'BootServices.Frobnicate'"),
        ("schema = 1\n[services]\n'BootServices.Stall' = 'EFI_MAYBE'", "'EFI_MAYBE' is not an answer"),
        ("schema = 1\n[services]\n'BootServices.Stall' = 3", "'3' is not an answer"),
        ("schema = 1\n[services]\n'BootServices.CopyMem' = 'EFI_SUCCESS'", "returns no status"),
        ("schema = 1\n[tables]\n'SMBIOS3_TABLE_GUID' = 'EFI_NOT_FOUND'", "returns no status"),
        ("schema = 1\n[protocols]\n'NO_SUCH_GUID' = 'absent'", "'NO_SUCH_GUID' is not a GUID"),
        ("schema = 1\n[variables]\n'SecureBoot' = 'absent'", "'SecureBoot' is not a variable"),
        ("schema = 1\n[fields]\n'SystemTable.Nothing' = 'absent'", "there is no field"),
        ("schema = 1\nservices = 3", "services is not a table"),
        ("schema = 1\n[default]\nstars = 'absent'", "there is no default for 'stars'"),
        ("schema = 1\nservice = 3", "there is no key 'service'"),
        ("schema = 2", "its schema is '2'"),
        ("", "its schema is 'None'"),
        ("schema = 1\nvendor = ''", "the vendor must be a string"),
        ("schema = 1\nsources = 'x'", "sources are a list"),
        ("schema = [", "is not TOML"),
        ("schema = " + "9" * 5000, "is not TOML"),
        ("schema = 0x" + "f" * 20_000, "64 are the most"),
        ("schema = 1\nname = 0x" + "f" * 20_000, "64 are the most"),
        ("schema = 1\n[services]\n'BootServices.Stall' = 0x" + "f" * 20_000, "64 are the most"),
        ("schema = 1\n[variables]\n" + MANY, "more than 4096"),
        ("#" * (FILE_LIMIT + 1), "larger than 1 MiB"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("schema = 1\n[protocols]\n'" + "x" * 100_000 + "' = 'absent'", "a protocol has a name of 1 to 256"),
        (
            "schema = 1\n[tables]\n'SMBIOS3_TABLE_GUID' = 'absent'\n'f2fd1544-9794-4a2c-992e-e5bbcf20e394' = 'present'",
            "table:SMBIOS3_TABLE_GUID is named twice",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_files(content: str, sentence: str) -> None:
    """One sentence each, which names the file."""
    with pytest.raises(ProfileError) as raised:
        read_profile(content.encode(), name="bad.toml")
    assert raised.value.sentence.startswith("bad.toml")
    assert sentence in raised.value.sentence
    assert len(raised.value.sentence) < 1500
    assert "\n" not in raised.value.sentence


@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    with suppress(ProfileError):
        read_profile(data)


def test_bytes_that_are_not_text() -> None:
    with pytest.raises(ProfileError, match="is not TOML"):
        read_profile(b"\xff\xfe")


def test_unknown_profiles_name_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        find_profile(str(tmp_path / "nothing"), load_plugins().profiles)
    assert all(name in raised.value.hint for name in shipped())


def test_profiles_are_for_routes_behind_the_shim() -> None:
    words = Words(provider="hvmlite", entry="pvh", without=("BootServices.Stall",))
    with pytest.raises(UsageError, match="hvmlite/pvh has no firmware"):
        make_plan(load_plugins(), lambda: needy_plan().image, words)


def test_weakenings() -> None:
    found = weakenings(["BootServices.FreePool", "BootServices.Stall=EFI_UNSUPPORTED", "variable:EFI_GLOBAL_VARIABLE:a=absent"])
    assert {one.text: answer for one, answer in found.items()} == {
        "BootServices.FreePool": "absent",
        "BootServices.Stall": "EFI_UNSUPPORTED",
        "variable:EFI_GLOBAL_VARIABLE:a": "absent",
    }
    with pytest.raises(ProfileError, match="given twice"):
        weakenings(["BootServices.Stall", "BootServices.Stall=present"])
    with pytest.raises(ProfileError, match="is not an item"):
        weakenings(["gadget:x"])


def test_answers_of_lookups_and_variables() -> None:
    """A status of a protocol is what everything answers that looks for it; of a variable, what reading it answers."""
    profile = Profile().restrict(
        weakenings(["protocol:EFI_TCG2_PROTOCOL_GUID=EFI_UNSUPPORTED", "variable:EFI_GLOBAL_VARIABLE:db=EFI_DEVICE_ERROR"])
    )
    answers = ProfileOverrides(profile)
    error = 1 << 63
    assert answers.answer("BootServices.LocateProtocol", {"Protocol": "EFI_TCG2_PROTOCOL_GUID"}) == error | 3
    assert answers.answer("BootServices.LocateHandle", {"Protocol": "EFI_TCG2_PROTOCOL_GUID"}) == error | 3
    assert answers.answer("BootServices.LocateProtocol", {"Protocol": "EFI_RNG_PROTOCOL_GUID"}) is None
    read = {"VendorGuid": "EFI_GLOBAL_VARIABLE", "VariableName": "'db'"}
    assert answers.answer("RuntimeServices.GetVariable", read) == error | 7
    assert answers.answer("RuntimeServices.GetVariable", {**read, "VariableName": "'dbx'"}) is None
    assert answers.answer("RuntimeServices.SetVariable", read) is None


def test_the_record_says_so_and_only_then() -> None:
    plain = record_of()
    assert b'"profile"' not in encode(plain)
    assert b'"without"' not in encode(plain)
    weak = record_of(without=(("BootServices.FreePool", "EFI_UNSUPPORTED"),))
    assert weak.options.without == {"BootServices.FreePool": "EFI_UNSUPPORTED"}
    assert decode(encode(weak)) == without_wall_clock(weak)
    assert weak.reproduce.endswith("--without BootServices.FreePool=EFI_UNSUPPORTED")
    assert [call.status for call in weak.firmware_calls if call.service == "BootServices.FreePool"] == ["EFI_UNSUPPORTED"]


@pytest.mark.slow
def test_a_profile_that_allows_everything_changes_nothing() -> None:
    everything = record_of(profile=Blob.embedded("everything", write_profile(Profile())))
    options = msgspec.structs.replace(everything.options, profile=msgspec.UNSET)
    same = msgspec.structs.replace(everything, options=options, reproduce=record_of().reproduce)
    assert encode(without_wall_clock(same)) == encode(without_wall_clock(record_of()))


def test_a_recorded_profile_gives_the_same_run() -> None:
    plan, record = needy_plan(), record_of()
    seen = observed_profile(plan, record, load_plugins())
    assert read_profile(write_profile(seen)) == seen
    again = run_plan(replace(plan, profile=Blob.embedded("seen", write_profile(seen))))
    assert [(call.service, call.status) for call in again.firmware_calls] == [
        (call.service, call.status) for call in record.firmware_calls
    ]
    assert again.outcome.met
    assert ProfileOverrides(seen).of(item(Kind.SERVICE, "BootServices.GetMemoryMap")) == "absent"


def test_qiling_fails_as_the_real_one(cloud_kernel: Path) -> None:
    """Its system table has no signature, and the kernel's stub leaves with EFI_INVALID_PARAMETER: `Exit` is the only call."""
    plan = replace(
        needy_plan(),
        image=Blob.from_file(cloud_kernel),
        profile=find_profile("qiling", load_plugins().profiles),
        max_insns=50_000_000,
        memory=512 << 20,
    )
    record = run_plan(replace(plan, observers=False))
    assert [call.service for call in record.firmware_calls] == ["BootServices.Exit"]
    assert record.outcome.details == "image returned EFI_INVALID_PARAMETER"


def record_of(**changes: object) -> Record:
    return run_plan(replace(needy_plan(), **changes))  # type: ignore[arg-type]
