"""The shipped providers pass the conformance kit, as a package of somebody else would use it."""

from __future__ import annotations

import pytest
from efishim_plugins.firmware.provider import Firmware
from efishim_plugins.grub.provider import Grub
from efishim_plugins.hvmlite.provider import Hvmlite
from efishim_plugins.kexec.provider import Kexec
from efishim_plugins.lilo.provider import Lilo
from efishim_plugins.multiboot.provider import Multiboot
from efishim_plugins.multiboot2.provider import Multiboot2
from efishim_plugins.subarch.provider import Subarch

from efishim.plugins import load_plugins
from efishim.testing import ProviderSuite

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]


class TestFirmware(ProviderSuite):
    provider = Firmware()


class TestGrub(ProviderSuite):
    provider = Grub()


class TestHvmlite(ProviderSuite):
    provider = Hvmlite()


class TestKexec(ProviderSuite):
    provider = Kexec()


class TestLilo(ProviderSuite):
    provider = Lilo()


class TestMultiboot(ProviderSuite):
    provider = Multiboot()


class TestMultiboot2(ProviderSuite):
    provider = Multiboot2()


class TestSubarch(ProviderSuite):
    provider = Subarch()


def test_none_is_left_out() -> None:
    tested = {suite.provider.name for suite in ProviderSuite.__subclasses__() if suite.__module__ == __name__}
    assert tested == set(load_plugins().providers)
