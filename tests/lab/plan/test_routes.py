"""Which routes an image has, and what becomes of the words that were typed for all of them."""

from __future__ import annotations

from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.errors import UsageError
from efishim.image.opened import open_image
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.plan import Blob
from efishim.lab.plan.routes import plan_routes, route_words
from efishim.plugins import load_plugins


def routes(*names: str, data: bytes | None = None, **words: Any) -> tuple[list[str], list[str]]:
    blob = Blob.embedded("embedded:probe", data or efishim_firmware_stubs.probe_kernel())
    image = open_image(blob.read(), path=blob.label)
    plans, without = plan_routes(load_plugins(), image, blob, names, words)
    return [f"{plan.route}@{plan.platform}" for plan in plans], [one.route for one in without]


def test_all_routes_of_all_providers_are_taken_or_told() -> None:
    plans, without = routes()
    every = {f"{one.name}/{door.name}" for one in load_plugins().providers.values() for door in one.entries}
    assert {plan.split("@")[0] for plan in plans} | set(without) == every
    assert {"hvmlite/efi@pc", "hvmlite/pvh@pc"} <= set(plans)


def test_a_route_says_its_platform_or_takes_the_one_of_the_words() -> None:
    assert routes("hvmlite/pvh", "hvmlite/pvh@hvmlite", platform="kvm")[0] == ["hvmlite/pvh@kvm", "hvmlite/pvh@hvmlite"]


def test_a_provider_alone_is_its_first_entry() -> None:
    assert routes("hvmlite")[0] == ["hvmlite/efi@pc"]


@pytest.mark.parametrize("name", ["", "/", "nobody/efi", "hvmlite/nothing", "hvmlite/efi@nowhere", "a/b/c", "hvmlite@"])
def test_what_is_no_route_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        routes(name)


def test_an_option_goes_to_the_routes_that_know_it() -> None:
    blob = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    image = open_image(blob.read(), path=blob.label)
    plans, _ = plan_routes(
        load_plugins(), image, blob, ("hvmlite/efi", "hvmlite/pvh"), {"options": ("shim.gop=1", "platform.pic=0")}
    )
    assert [dict(plan.options) for plan in plans] == [{"shim.gop": "1", "platform.pic": "0"}, {"platform.pic": "0"}]


def test_an_option_that_no_route_knows_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no route has an option shim\.gop"):
        routes("hvmlite/pvh", options=("shim.gop=1",))


def chosen(route: str | None = None, **words: Any) -> tuple[str | None, str | None, str, str]:
    found, note = route_words(load_plugins(), Words(**words), route)
    return found.provider, found.entry, found.platform, note


def test_a_route_in_one_word_is_provider_entry_and_platform() -> None:
    assert chosen("hvmlite/pvh@kvm") == ("hvmlite", "pvh", "kvm", "")
    assert chosen("hvmlite", platform="hvmlite") == ("hvmlite", "efi", "hvmlite", "")
    with pytest.raises(UsageError, match="names the provider"):
        chosen("hvmlite/pvh", entry="pvh")


def test_an_entry_alone_is_driven_by_the_provider_that_has_it() -> None:
    assert chosen(entry="pvh") == ("hvmlite", "pvh", "pc", "the entry pvh is driven by the provider hvmlite")
    assert chosen(entry="linux64")[0] == "grub"
    assert chosen(entry="linux64")[3].endswith("; also: kexec, subarch")
    assert chosen(entry="efi") == (None, "efi", "pc", ""), "the machine's own firmware has it"
    with pytest.raises(UsageError, match="no provider has") as refused:
        chosen(entry="linux63")
    assert refused.value.hint.startswith("did you mean linux")


def test_other_names_of_a_provider_are_told() -> None:
    assert chosen(provider="xen") == ("hvmlite", None, "pc", "xen is the provider hvmlite")
    assert routes("pvh/pvh")[0] == ["hvmlite/pvh@pc"]
    with pytest.raises(UsageError, match="no provider 'hvmlit'") as refused:
        chosen(provider="hvmlit")
    assert refused.value.hint.startswith("did you mean hvmlite? ")
