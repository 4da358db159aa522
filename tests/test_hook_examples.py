"""The examples of docs/hooks.md: each hook has one, and each does what its section says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from efishim_firmware_stubs import probe_kernel
from msgspec import UNSET

from efishim import hookspecs
from efishim.cli.kernel import find_image
from efishim.compare.added import hold_to_counter_cases, rules_of
from efishim.compare.build import build
from efishim.errors import EfishimError, ImageError, UsageError
from efishim.firmware.profile_files import read_profile
from efishim.lab.abi import all_rules, checkers
from efishim.lab.plan.arguments import find_profile
from efishim.lab.progress import NoProgress
from efishim.lab.record import Fields, Hex, Reason, Record
from efishim.plugin_guard import PluginError
from efishim.plugins import GROUP, Registry
from efishim.report.comparison_text import rules_used
from efishim.report.formats import formats
from efishim.testing import run
from tests.support.images import build_elf

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "hooks.md").read_text()
SECTIONS = dict(re.findall(r"^## (efishim_\w+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))


@dataclass(frozen=True)
class Package:
    """The installed package that brought the plugin."""

    name: str = "efishim-example"
    version: str = "1.0"


def brought_by(record: Record) -> list[str]:
    return [] if record.plugins is UNSET else [one.distribution for one in record.plugins]


def example(hook: str, **changes: str) -> Registry:
    """The shipped plugins, and the module of a section as a plugin of a package."""
    (code,) = re.findall(r"```python\n(.*?)```", SECTIONS[hook], re.DOTALL)
    for old, new in changes.items():
        assert old in code
        code = code.replace(old, new)
    module = ModuleType("efishim_example")
    exec(compile(code, "docs/hooks.md", "exec"), module.__dict__)
    return Registry([*entry_points(group=GROUP), SimpleNamespace(name="example", dist=Package(), load=lambda: module)])


def test_each_hook_has_a_section_and_a_module() -> None:
    hooks = {name for name in vars(hookspecs) if name.startswith("efishim_")}
    assert set(SECTIONS) == hooks
    for hook in hooks - {"efishim_providers"}:  # which has a page of its own
        registry = example(hook)
        assert registry.given_by("example")
        assert registry.problems == ()


ELF = build_elf([(0x10_0000, 0x10_0000, b"\xfa\xf4" * 32, 0x1000)], entry=0x10_0000, wide=False, machine=3)


def test_an_entry_with_its_checker() -> None:
    registry = example("efishim_entries")
    record = run(ELF, registry=registry, provider="noter")
    assert record.abi == []
    assert record.outcome.reason is Reason.HALTED
    assert brought_by(record) == ["efishim-example"]
    wrong = run(
        ELF,
        registry=example("efishim_entries", **{"memory.write(address, MAGIC)": 'memory.write(address, b"NONE")'}),
        provider="noter",
    )
    assert [(one.rule, one.found) for one in wrong.abi or ()] == [("elf32/pointer", "EBX is 0x1000")]
    assert all_rules(checkers(registry.entries.values()))["elf32/paging"][1] == ("elf32",)


def test_an_entry_that_follows_what_is_not_there_is_an_error() -> None:
    lines = {'follows, leaves_out = "", ()': 'follows, leaves_out = "linux48", ()'}
    for change, words in (
        (lines, "follows 'linux48'"),
        ({'leaves_out = "", ()': 'leaves_out = "pvh", ("pvh/majic",)'}, "leaves out pvh/majic"),
        ({'"elf32/paging"': '"pvh/paging"'}, "has an ABI rule 'pvh/paging'"),
    ):
        with pytest.raises(PluginError, match=re.escape(words)):
            checkers(example("efishim_entries", **change).entries.values())


@pytest.fixture(scope="module")
def pair() -> tuple[Record, Record]:
    """Two routes that differ in what the rules of shipped plugins explain, and in `scratch`."""
    one, other = (run(provider=provider, entry="linux64", until="startup_64") for provider in ("subarch", "grub"))
    return with_scratch(one, 0x2A), other


def with_scratch(record: Record, value: int) -> Record:
    assert record.boot_view is not None
    assert record.entry_view is not None
    params = Fields({**record.boot_view.boot_params, "scratch": Hex(value)})
    view = msgspec.structs.replace(record.boot_view, boot_params=params)
    structures = [
        msgspec.structs.replace(one, fields=Fields({**one.fields, "scratch": Hex(value)})) if one.name == "boot_params" else one
        for one in record.entry_view.structures
    ]
    entry = msgspec.structs.replace(record.entry_view, structures=structures)
    return msgspec.structs.replace(record, boot_view=view, entry_view=entry)


def unexplained(records: tuple[Record, Record], registry: Registry) -> list[str]:
    rules = rules_of(registry)
    hold_to_counter_cases(rules, records)
    return [one.fact.path for one in build(records, [], rules).pairs[0].unexplained]


def test_rules_are_added_and_named_with_their_distribution(pair: tuple[Record, Record]) -> None:
    registry = example("efishim_rules")
    with_rule = build(pair, [], rules_of(registry))
    assert "efishim-example:build number in scratch" in rules_used(with_rule)
    without = unexplained(pair, Registry(entry_points(group=GROUP)))
    assert [path for path in without if path.endswith("boot_params.scratch")]
    assert set(without) - set(unexplained(pair, registry)) == {path for path in without if path.endswith(".scratch")}
    # Another value is not what the rule speaks of.
    other = (with_scratch(pair[0], 0x2B), pair[1])
    assert [path for path in unexplained(other, registry) if path.endswith(".scratch")]


def test_a_rule_of_a_plugin_decides_nothing_that_a_shipped_one_decides(pair: tuple[Record, Record]) -> None:
    changes = {
        '"startup_64.boot_params.scratch", "entry.boot_params.scratch"': '"startup_64.boot_params.hdr.type_of_loader"',
        "values = '0x2a\\n'": "",
        'counter = [{path = "startup_64.boot_params.scratch", left = "0x2b", right = ""}]': (
            'counter = [{path = "startup_64.boot_params.hdr.type_of_loader", left = "0x2b", right = ""}]'
        ),
    }
    registry = example("efishim_rules", **changes)
    used = {group.rule for group in build(pair, [], rules_of(registry)).pairs[0].groups}
    assert registry.problems == ()
    assert not [name for name in used if name.startswith("efishim-example:")]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("no kernel reads.", "no kernel reads", "full stop"),
        ("zero-page.rst, 1e4 scratch", "zero-page.rst", "where to look"),
        ('counter = [{path = "startup_64.boot_params.scratch", left = "0x2b", right = ""}]', "", "no counter-case"),
        ('"startup_64.boot_params.scratch", "entry.boot_params.scratch"', '"startup_64.*"', "what no rule may explain"),
        ('"startup_64.boot_params.scratch", "entry.boot_params.scratch"', '"milestone.shut*"', "what no rule may explain"),
        ('"startup_64.boot_params.scratch", "entry.boot_params.scratch"', '"abi.linux64/*"', "what no rule may explain"),
        ('{path = "startup_64.boot_params.scratch"', '{path = "startup_64.boot_params.hdr.version"', "its paths name"),
        ('"startup_64.boot_params.scratch", "entry.boot_params.scratch"', '"code.my_*"', "where it branches off"),
        ('{path = "startup_64.boot_params.scratch"', '{path = "nowhere"', "is no fact"),
        ('class = "by design"', 'class = "fine"', "a class is"),
        ("[\"build", "[\"build", ""),
    ],
)  # fmt: skip
def test_a_rule_that_is_less_strict_than_shipped_ones_is_left_out_and_reported(old: str, new: str, sentence: str) -> None:
    registry = example("efishim_rules", **{old: new})
    added = [rule.name for rule in rules_of(registry) if rule.name.startswith("efishim-example:")]
    said = [(one.plugin, one.hook) for one in registry.problems if sentence in one.sentence]
    assert (added, said) == (
        ([], [("example", "efishim_rules")]) if sentence else (["efishim-example:build number in scratch"], [])
    )


def test_a_rule_that_explains_its_own_counter_case_ends_the_comparison(pair: tuple[Record, Record]) -> None:
    registry = example("efishim_rules", **{"values = '0x2a\\n'": ""})
    with pytest.raises(PluginError, match="efishim-example:build number in scratch explains its own counter-case"):
        unexplained(pair, registry)


def test_a_source_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = example("efishim_image_sources")
    monkeypatch.setenv("MIRROR", str(tmp_path))
    (tmp_path / "probe").write_bytes(probe_kernel())
    blob = find_image("mirror:probe", NoProgress(), registry)
    assert (blob.label, blob.read()) == ("mirror:probe", probe_kernel())
    with pytest.raises(ImageError, match="has no 7"):
        find_image("mirror:7", NoProgress(), registry)
    with pytest.raises(UsageError, match="not the name of a build"):
        find_image("mirror:../probe", NoProgress(), registry)
    with pytest.raises(ImageError, match="does not exist"):
        find_image("elsewhere:probe", NoProgress(), registry)
    wrong = example("efishim_image_sources", **{"FoundImage(path, reference)": 'FoundImage(path, "probe")'})
    with pytest.raises(PluginError, match="would not find again"):
        find_image("mirror:probe", NoProgress(), wrong)


def test_a_profile_of_firmware() -> None:
    registry = example("efishim_profiles")
    assert {"ovmf", "u-boot", "no-rng"} <= registry.profiles.keys()
    blob = find_profile("no-rng", registry.profiles)
    assert read_profile(blob.read()).vendor == "Example"
    record = run(registry=registry, provider="firmware", profile="no-rng", until="entry")
    assert brought_by(record) == ["efishim-example"]
    taken = example("efishim_profiles", **{'FirmwareProfile("no-rng"': 'FirmwareProfile("ovmf"'})
    assert "Example" not in taken.profiles["ovmf"].toml
    assert [one.plugin for one in taken.problems] == ["example"]


def test_a_platform() -> None:
    record = run(registry=example("efishim_platforms"), platform="plain", provider="hvmlite", entry="pvh", until="entry")
    assert record.machine is not None
    assert record.route.platform == "plain"
    assert record.outcome.met


def test_a_protocol_and_an_observer() -> None:
    registry = example("efishim_observers")
    assert any("microseconds" in note for note in run(registry=registry, provider="firmware", until="entry").notes)
    assert run(registry=example("efishim_firmware_protocols"), provider="firmware", until="entry").outcome.met


def test_a_report_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    record = run(provider="hvmlite", entry="pvh", until="entry")
    assert formats(example("efishim_reports"))["csv"].render(record) == "entry,0\n"
    hello: Any = example("efishim_commands").commands["hello"]
    hello.main(["world"], standalone_mode=False)
    assert capsys.readouterr().out == "hello world\n"


def fixed() -> tuple[Any, Registry]:
    """The loader with fixed addresses of docs/write-a-provider.md."""
    text = (ROOT / "docs" / "write-a-provider.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Fixed" in block)
    space: dict[str, Any] = {}
    exec(compile(code, "write-a-provider.md", "exec"), space)
    provider = space["Fixed"]()
    theirs = SimpleNamespace(efishim_providers=hookspecs.hookimpl(lambda: [provider]))
    return provider, Registry([*entry_points(group=GROUP), SimpleNamespace(name="fixed", dist=None, load=lambda: theirs)])


def test_a_loader_with_page_tables_gdt_and_structures_at_fixed_addresses() -> None:
    _, registry = fixed()
    record = run(registry=registry, provider="fixed", options=("fixed.mapped=2",))
    assert record.outcome.met
    assert record.entry_view is not None
    cpu = record.entry_view.cpu
    assert (cpu.control.cr3, cpu.gdt.base, cpu.gdt.limit, cpu.registers.rsi) == (0x9000, 0x500, 0x1F, 0x7000)
    assert "boot_params.cmdline=console=ttyS0" in record.console
    # Two GiB do not cover what lies above, but all that the protocol asks for.
    assert record.abi == []
    with pytest.raises(UsageError, match="the option mapped takes a number, not 'many'"):
        run(registry=registry, provider="fixed", options=("fixed.mapped=many",))
    with pytest.raises(EfishimError, match="64 GiB cannot be mapped"):
        run(registry=registry, provider="fixed", options=("fixed.mapped=64",))
