"""The conformance kit as a class of tests: derive from it, name a provider, and pytest runs all of it.

from efishim.testing import ProviderSuite

class TestMine(ProviderSuite):
    provider = Mine()

Each failure names the rule (`efishim rules RULE` explains it) and the section of its specification. Real kernels are booted
where the command line names some: `pytest --efishim-kernel vmlinuz`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, ClassVar

import pytest

from efishim.errors import EfishimError, RouteError
from efishim.image.cachedir import cache_directory
from efishim.image.deb import parse_reference, system_store
from efishim.lab.abi import interface as rules
from efishim.lab.plan.default_words import default_cmdline, default_ramdisks
from efishim.lab.plan.plan import DEFAULT_MAX_INSNS, Blob
from efishim.provider import Entry, MachineFacts, Provider, Violation
from efishim.testing import checks_description
from efishim.testing.entered import Entered, enter, guest, userspace
from efishim.testing.kit import OF_ENTRY, told
from efishim.testing.memory import facts
from efishim.testing.pytest_plugin import KERNELS
from efishim.testing.subject import NOTHING, Subject, finding

DEB = "deb:"
NO_KERNEL = pytest.param("", marks=pytest.mark.skip(reason="no kernel was named with --efishim-kernel"))


class ProviderSuite:
    """Derive from it, and set `provider`."""

    provider: ClassVar[Provider]
    machine: ClassVar[MachineFacts] = facts()
    """The machine that the provider describes where no kernel runs: its own memory map, if it has one."""
    image: ClassVar[bytes | None] = None
    """What it boots; None is the probe kernel, which has an entry of every kind."""
    platform: ClassVar[str] = "pc"
    """The machine that kernels run on."""
    platform_options: ClassVar[Mapping[str, str]] = NOTHING
    """Its options, by name without the group."""
    options: ClassVar[Mapping[str, str]] = NOTHING
    """Options of the provider, by name without the group."""
    deviations: ClassVar[Mapping[str, str]] = NOTHING
    """Rules of a specification that the provider is known to violate, each with the reason. They are reported as expected
    failures; a rule that holds after all fails the suite.
    """

    @classmethod
    def subject(cls) -> Subject:
        """What is tested."""
        given: dict[str, Any] = {} if cls.image is None else {"image": cls.image}
        given |= {"platform": cls.platform, "platform_options": cls.platform_options, "options": cls.options}
        return Subject(cls.provider, cls.machine, **given)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each entry, and for each kernel that the command line names."""
        if not hasattr(type(self), "provider"):
            return
        if "entry" in metafunc.fixturenames:
            metafunc.parametrize("entry", self.subject().entries, ids=lambda one: one.name)
        if "efishim_kernel" in metafunc.fixturenames:
            kernels = metafunc.config.getoption(KERNELS)
            metafunc.parametrize("efishim_kernel", kernels or [NO_KERNEL], ids=str if kernels else ["none"])
        if "check" in metafunc.fixturenames:
            metafunc.parametrize("check", OF_ENTRY.values(), ids=[name.replace(" ", "-") for name in OF_ENTRY])

    def _entered(self, entry: Entry) -> Entered:
        """The run of an entry, one for all tests."""
        suite: Any = type(self)
        return _run(suite, entry)

    def test_description(self) -> None:
        """Name, summary, specifications, limits; native entries and those behind the shim."""
        _demand([*checks_description.description(self.subject()), *checks_description.entries(self.subject())])

    def test_an_entry_of_the_image(self) -> None:
        """There is something to test."""
        assert self.subject().entries, "the image has none of the provider's entries; set `image` to one that has"

    def test_memory(self, entry: Entry, check: Callable[[Subject, Entry], Iterable[Violation]]) -> None:
        """What it writes and reads, without an emulator."""
        _demand(check(self.subject(), entry))

    def test_any_request(self, entry: Entry) -> None:
        """Read-back is symmetric for arbitrary command lines, modules and machines."""
        made_up = pytest.importorskip("efishim.testing.any_request", reason="it needs hypothesis: efishim[testing]")
        _demand(made_up.any_request(self.subject(), entry))

    def test_specification(self, entry: Entry) -> None:
        """The rules of the entry's specification: processor, structure, image and modules at the first instruction."""
        run = self._entered(entry)
        _demand([*run.found, *(one for one in run.violations if one.rule not in self.deviations)])
        known = [f"{told(one)}\n    known: {self.deviations[one.rule]}" for one in run.violations]
        if known:
            pytest.xfail("\n".join(known))

    def test_probe(self, entry: Entry) -> None:
        """The probe kernel runs, and reports what the structure says."""
        run = self._entered(entry)
        _demand([] if self.image is not None else guest(run, entry))

    def test_deviations(self) -> None:
        """Those that are listed are there."""
        seen = {one.rule for entry in self.subject().entries for one in self._entered(entry).violations}
        _demand(finding(rules.DEVIATION, f"{rule} holds") for rule in self.deviations if rule not in seen)

    def test_real_kernel(self, entry: Entry, efishim_kernel: str) -> None:
        """A kernel reaches userspace and powers off."""
        image = _kernel(efishim_kernel)
        words = {"cmdline": default_cmdline(image), "initrds": default_ramdisks(image), "max_insns": DEFAULT_MAX_INSNS}
        try:
            run = enter(self.subject(), entry, image=image, **words)
        except RouteError as error:
            pytest.skip(error.sentence)
        record = run.record
        _demand(run.found)
        _demand(one for one in run.violations if one.rule not in self.deviations)
        _demand(() if record is None else userspace(record))


def _demand(found: Iterable[Violation]) -> None:
    words = [told(one) for one in found]
    if words:
        pytest.fail("\n".join(words), pytrace=False)


@cache
def _run(suite: Any, entry: Entry) -> Entered:
    """One run for all tests of an entry."""
    return enter(suite.subject(), entry)


def _kernel(reference: str) -> Blob:
    try:
        if not reference.startswith(DEB):
            return Blob.from_file(reference)
        store = system_store(cache_directory(os.environ), os.environ)
        return Blob.from_file(store.fetch(parse_reference(reference), lambda *_: None).path, label=reference)
    except EfishimError as error:
        pytest.fail(f"{reference}: {error.sentence}", pytrace=False)
