"""The commands that list things: providers, platforms, plugins, schema, completion."""

from __future__ import annotations

import json
import shutil
import subprocess

import jsonschema
import pytest

from efishim.cli import main


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_provider_tells_all_about_itself(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "providers", "firmware")
    for word in ("EFI system table", "https://uefi.org/specs/UEFI/2.10/", "limits", "efi ", "through the EFI shim"):
        assert word in text
    (told,) = json.loads(shown(capsys, "providers", "firmware", "--format", "json"))
    assert told["entries"][0] == {
        "name": "efi",
        "summary": told["entries"][0]["summary"],
        "through_shim": True,
    }
    assert told["specifications"]
    assert told["limits"]


def test_lists_as_text_and_as_json_name_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("providers", "platforms"):
        rows = [line.split()[0] for line in shown(capsys, command).splitlines()[1:] if line]
        names = [one["name"] for one in json.loads(shown(capsys, command, "--format", "json"))]
        assert [row for row in rows if row in names] == names


def test_plugins_say_what_they_give(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(shown(capsys, "plugins", "--format", "json"))
    assert told["group"] == "efishim_v1"
    assert told["problems"] == []
    gives = {plugin["name"]: plugin["gives"] for plugin in told["plugins"]}
    assert "provider firmware" in gives["firmware"]
    assert "provider firmware" in shown(capsys, "plugins")


@pytest.mark.slow
def test_the_schema_is_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(shown(capsys, "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid_in_their_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = shown(capsys, "completion", shell)
    assert "_EFISHIM_COMPLETE" in script
    if shutil.which(shell):  # bash is everywhere; the others are checked where they are installed
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_nothing_is_padded_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(line == line.rstrip() for line in shown(capsys, "providers").splitlines())


def test_rules_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    names = [line.split()[0] for line in shown(capsys, "rules").splitlines()[1:]]
    assert {"pvh/start-info", "linux64/gdt", "image/intact"} <= set(names)
    text = shown(capsys, "rules", "pvh/start-info")
    for word in ("EBX", "pvh.pandoc", "checked at the entries: pvh"):
        assert word in text
    group = json.loads(shown(capsys, "rules", "boot_params", "--format", "json"))
    assert {one["rule"].partition("/")[0] for one in group} == {"boot_params"}
    entry = json.loads(shown(capsys, "rules", "linux32", "--format", "json"))
    assert {"linux32/zero", "boot_params/e820"} <= {one["rule"] for one in entry}
    assert all("linux32" in one["entries"] for one in entry)
    assert "conformance kit" in shown(capsys, "rules", "provider/told-ram")


def test_a_rule_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "pvh/nonsense"]) == 2
    assert "there are groups of rules" in capsys.readouterr().err
