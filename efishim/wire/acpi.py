"""ACPI tables, byte for byte: ACPI specification 6.5, chapter 5 (section numbers stand at each structure)."""

from __future__ import annotations

from efishim.wire.layout import Bytes, Layout, Part, u8, u16, u32, u64

RSDP_SIGNATURE = b"RSD PTR "
GAS_MEMORY, GAS_IO = 0, 1
"""Address space IDs of table 5.1."""

MADT_TYPES: dict[int, str] = {
    0: "Processor Local APIC",
    1: "I/O APIC",
    2: "Interrupt Source Override",
    3: "NMI Source",
    4: "Local APIC NMI",
    5: "Local APIC Address Override",
    9: "Processor Local x2APIC",
}


class FadtFlag:
    """Fixed feature flags, table 5.10."""

    WBINVD = 1 << 0
    PROC_C1 = 1 << 2
    PWR_BUTTON = 1 << 4
    SLP_BUTTON = 1 << 5
    FIX_RTC = 1 << 6
    TMR_VAL_EXT = 1 << 8
    RESET_REG_SUP = 1 << 10
    USE_PLATFORM_CLOCK = 1 << 15
    HW_REDUCED_ACPI = 1 << 20


class BootArch:
    """IA-PC boot architecture flags, table 5.11."""

    LEGACY_DEVICES = 1 << 0
    I8042 = 1 << 1
    VGA_NOT_PRESENT = 1 << 2
    MSI_NOT_SUPPORTED = 1 << 3
    PCIE_ASPM_CONTROLS = 1 << 4
    CMOS_RTC_NOT_PRESENT = 1 << 5


class Rsdp(Layout):
    """Root System Description Pointer, revision 2 (5.2.5.3). `checksum` covers the first 20 bytes."""

    SIZE = 36

    signature = Bytes(0, 8)
    checksum = u8(8)
    oem_id = Bytes(9, 6)
    revision = u8(15)
    rsdt_address = u32(16)
    length = u32(20)
    xsdt_address = u64(24)
    extended_checksum = u8(32)


class SdtHeader(Layout):
    """System Description Table Header (5.2.6)."""

    SIZE = 36

    signature = Bytes(0, 4)
    length = u32(4)
    revision = u8(8)
    checksum = u8(9)
    oem_id = Bytes(10, 6)
    oem_table_id = Bytes(16, 8)
    oem_revision = u32(24)
    creator_id = Bytes(28, 4)
    creator_revision = u32(32)


class GenericAddress(Layout):
    """Generic Address Structure (5.2.3.2). `access_size` 1 to 4 are byte, word, dword and qword."""

    SIZE = 12

    space_id = u8(0)
    bit_width = u8(1)
    bit_offset = u8(2)
    access_size = u8(3)
    address = u64(4)


class Fadt(Layout):
    """Fixed ACPI Description Table as of ACPI 6.0 and later (5.2.9)."""

    SIZE = 276

    header = Part(0, SdtHeader)
    firmware_ctrl = u32(36)
    dsdt = u32(40)
    preferred_pm_profile = u8(45)
    sci_int = u16(46)
    smi_cmd = u32(48)
    acpi_enable = u8(52)
    acpi_disable = u8(53)
    s4bios_req = u8(54)
    pstate_cnt = u8(55)
    pm1a_evt_blk = u32(56)
    pm1b_evt_blk = u32(60)
    pm1a_cnt_blk = u32(64)
    pm1b_cnt_blk = u32(68)
    pm2_cnt_blk = u32(72)
    pm_tmr_blk = u32(76)
    gpe0_blk = u32(80)
    gpe1_blk = u32(84)
    pm1_evt_len = u8(88)
    pm1_cnt_len = u8(89)
    pm2_cnt_len = u8(90)
    pm_tmr_len = u8(91)
    gpe0_blk_len = u8(92)
    gpe1_blk_len = u8(93)
    gpe1_base = u8(94)
    cst_cnt = u8(95)
    p_lvl2_lat = u16(96)
    p_lvl3_lat = u16(98)
    flush_size = u16(100)
    flush_stride = u16(102)
    duty_offset = u8(104)
    duty_width = u8(105)
    day_alrm = u8(106)
    mon_alrm = u8(107)
    century = u8(108)
    iapc_boot_arch = u16(109)
    flags = u32(112)
    reset_reg = Part(116, GenericAddress)
    reset_value = u8(128)
    arm_boot_arch = u16(129)
    minor_version = u8(131)
    x_firmware_ctrl = u64(132)
    x_dsdt = u64(140)
    x_pm1a_evt_blk = Part(148, GenericAddress)
    x_pm1b_evt_blk = Part(160, GenericAddress)
    x_pm1a_cnt_blk = Part(172, GenericAddress)
    x_pm1b_cnt_blk = Part(184, GenericAddress)
    x_pm2_cnt_blk = Part(196, GenericAddress)
    x_pm_tmr_blk = Part(208, GenericAddress)
    x_gpe0_blk = Part(220, GenericAddress)
    x_gpe1_blk = Part(232, GenericAddress)
    sleep_control_reg = Part(244, GenericAddress)
    sleep_status_reg = Part(256, GenericAddress)
    hypervisor_vendor_identity = u64(268)


class Facs(Layout):
    """Firmware ACPI Control Structure (5.2.10); aligned to 64 bytes, without a checksum."""

    SIZE = 64

    signature = Bytes(0, 4)
    length = u32(4)
    hardware_signature = u32(8)
    firmware_waking_vector = u32(12)
    global_lock = u32(16)
    flags = u32(20)
    x_firmware_waking_vector = u64(24)
    version = u8(32)
    ospm_flags = u32(36)


class Madt(Layout):
    """Multiple APIC Description Table (5.2.12), up to its interrupt controller structures."""

    SIZE = 44

    header = Part(0, SdtHeader)
    local_interrupt_controller_address = u32(36)
    flags = u32(40)


class MadtEntry(Layout):
    """What every interrupt controller structure begins with."""

    SIZE = 2

    type = u8(0)
    length = u8(1)


class MadtLocalApic(Layout):
    """Processor Local APIC (5.2.12.2)."""

    SIZE = 8

    type = u8(0)
    length = u8(1)
    acpi_processor_uid = u8(2)
    apic_id = u8(3)
    flags = u32(4)


class MadtIoApic(Layout):
    """I/O APIC (5.2.12.3)."""

    SIZE = 12

    type = u8(0)
    length = u8(1)
    io_apic_id = u8(2)
    io_apic_address = u32(4)
    global_system_interrupt_base = u32(8)


class MadtOverride(Layout):
    """Interrupt Source Override (5.2.12.5). Flags: polarity in bits 0 and 1, trigger in 2 and 3 (table 5.26)."""

    SIZE = 10

    type = u8(0)
    length = u8(1)
    bus = u8(2)
    source = u8(3)
    global_system_interrupt = u32(4)
    flags = u16(8)


class MadtLocalApicNmi(Layout):
    """Local APIC NMI (5.2.12.7)."""

    SIZE = 6

    type = u8(0)
    length = u8(1)
    acpi_processor_uid = u8(2)
    flags = u16(3)
    local_apic_lint = u8(5)
