"""Real firmware and real boot loaders, held against the same rules: where one breaks a rule, the dump says so and why."""

from __future__ import annotations

import pytest

from tests.lab.abi.moments import DUMPS, Dump, check, moment


@pytest.mark.parametrize("name", DUMPS)
def test_what_real_loaders_do_agrees_with_the_specifications(name: str) -> None:
    dump = Dump.read(name)
    found = check(dump.entry, moment(dump))
    assert {one.rule for one in found} == set(dump.violations), "\n".join(one.sentence for one in found)
    assert all(len(reason.split()) > 5 for reason in dump.violations.values())


def test_there_are_dumps_of_every_entry_that_qemu_was_watched_at() -> None:
    assert {Dump.read(name).entry for name in DUMPS} == {"efi", "pvh", "linux16", "linux32", "linux64"}
