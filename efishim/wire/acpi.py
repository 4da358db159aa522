"""ACPI tables: ACPI specification 6.5, chapter 5 (each structure cites its section)."""

from __future__ import annotations

from efishim.wire.layout import Layout, array, part, u8, u16, u32, u64

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


class Rsdp1(Layout):
    """Root System Description Pointer of ACPI 1.0 (5.2.5.3), which `checksum` covers in every revision."""

    SIZE = 20

    signature: bytes = array(0, 8)
    checksum: int = u8(8)
    oem_id: bytes = array(9, 6)
    revision: int = u8(15)
    rsdt_address: int = u32(16)


class Rsdp(Rsdp1):
    """The same of revision 2."""

    SIZE = 36

    length: int = u32(20)
    xsdt_address: int = u64(24)
    extended_checksum: int = u8(32)


class AddressRange(Layout):
    """Address Range Descriptor Structure (15.1), what int 15h E820h gives; callers before ACPI 3.0 take 20 bytes of it."""

    SIZE = 24

    base: int = u64(0)
    length: int = u64(8)
    type: int = u32(16)
    extended_attributes: int = u32(20)


class TableHead(Layout):
    """What every table begins with, those without a System Description Table Header too (5.2.10)."""

    SIZE = 8

    signature: bytes = array(0, 4)
    length: int = u32(4)


class SdtHeader(Layout):
    """System Description Table Header (5.2.6)."""

    SIZE = 36

    signature: bytes = array(0, 4)
    length: int = u32(4)
    revision: int = u8(8)
    checksum: int = u8(9)
    oem_id: bytes = array(10, 6)
    oem_table_id: bytes = array(16, 8)
    oem_revision: int = u32(24)
    creator_id: bytes = array(28, 4)
    creator_revision: int = u32(32)


class GenericAddress(Layout):
    """Generic Address Structure (5.2.3.2). `access_size` 1 to 4 are byte, word, dword and qword."""

    SIZE = 12

    space_id: int = u8(0)
    bit_width: int = u8(1)
    bit_offset: int = u8(2)
    access_size: int = u8(3)
    address: int = u64(4)


class Fadt(Layout):
    """Fixed ACPI Description Table as of ACPI 6.0 and later (5.2.9)."""

    SIZE = 276

    header: SdtHeader = part(0, SdtHeader)
    firmware_ctrl: int = u32(36)
    dsdt: int = u32(40)
    preferred_pm_profile: int = u8(45)
    sci_int: int = u16(46)
    smi_cmd: int = u32(48)
    acpi_enable: int = u8(52)
    acpi_disable: int = u8(53)
    s4bios_req: int = u8(54)
    pstate_cnt: int = u8(55)
    pm1a_evt_blk: int = u32(56)
    pm1b_evt_blk: int = u32(60)
    pm1a_cnt_blk: int = u32(64)
    pm1b_cnt_blk: int = u32(68)
    pm2_cnt_blk: int = u32(72)
    pm_tmr_blk: int = u32(76)
    gpe0_blk: int = u32(80)
    gpe1_blk: int = u32(84)
    pm1_evt_len: int = u8(88)
    pm1_cnt_len: int = u8(89)
    pm2_cnt_len: int = u8(90)
    pm_tmr_len: int = u8(91)
    gpe0_blk_len: int = u8(92)
    gpe1_blk_len: int = u8(93)
    gpe1_base: int = u8(94)
    cst_cnt: int = u8(95)
    p_lvl2_lat: int = u16(96)
    p_lvl3_lat: int = u16(98)
    flush_size: int = u16(100)
    flush_stride: int = u16(102)
    duty_offset: int = u8(104)
    duty_width: int = u8(105)
    day_alrm: int = u8(106)
    mon_alrm: int = u8(107)
    century: int = u8(108)
    iapc_boot_arch: int = u16(109)
    flags: int = u32(112)
    reset_reg: GenericAddress = part(116, GenericAddress)
    reset_value: int = u8(128)
    arm_boot_arch: int = u16(129)
    minor_version: int = u8(131)
    x_firmware_ctrl: int = u64(132)
    x_dsdt: int = u64(140)
    x_pm1a_evt_blk: GenericAddress = part(148, GenericAddress)
    x_pm1b_evt_blk: GenericAddress = part(160, GenericAddress)
    x_pm1a_cnt_blk: GenericAddress = part(172, GenericAddress)
    x_pm1b_cnt_blk: GenericAddress = part(184, GenericAddress)
    x_pm2_cnt_blk: GenericAddress = part(196, GenericAddress)
    x_pm_tmr_blk: GenericAddress = part(208, GenericAddress)
    x_gpe0_blk: GenericAddress = part(220, GenericAddress)
    x_gpe1_blk: GenericAddress = part(232, GenericAddress)
    sleep_control_reg: GenericAddress = part(244, GenericAddress)
    sleep_status_reg: GenericAddress = part(256, GenericAddress)
    hypervisor_vendor_identity: int = u64(268)


class Facs(Layout):
    """Firmware ACPI Control Structure (5.2.10); aligned to 64 bytes, without a checksum."""

    SIZE = 64

    signature: bytes = array(0, 4)
    length: int = u32(4)
    hardware_signature: int = u32(8)
    firmware_waking_vector: int = u32(12)
    global_lock: int = u32(16)
    flags: int = u32(20)
    x_firmware_waking_vector: int = u64(24)
    version: int = u8(32)
    ospm_flags: int = u32(36)


class Madt(Layout):
    """Multiple APIC Description Table (5.2.12), up to its interrupt controller structures."""

    SIZE = 44

    header: SdtHeader = part(0, SdtHeader)
    local_interrupt_controller_address: int = u32(36)
    flags: int = u32(40)


class Hpet(Layout):
    """HPET description table (IA-PC HPET specification 1.0a, 3.2.4)."""

    SIZE = 56

    header: SdtHeader = part(0, SdtHeader)
    event_timer_block_id: int = u32(36)
    base_address: GenericAddress = part(40, GenericAddress)
    hpet_number: int = u8(52)
    main_counter_minimum: int = u16(53)
    page_protection: int = u8(55)


class Waet(Layout):
    """Windows ACPI Emulated Devices Table (Microsoft's specification of it, 2009)."""

    SIZE = 40

    header: SdtHeader = part(0, SdtHeader)
    emulated_device_flags: int = u32(36)


class MadtEntry(Layout):
    """What every interrupt controller structure begins with."""

    SIZE = 2

    type: int = u8(0)
    length: int = u8(1)


class MadtLocalApic(Layout):
    """Processor Local APIC (5.2.12.2)."""

    SIZE = 8

    type: int = u8(0)
    length: int = u8(1)
    acpi_processor_uid: int = u8(2)
    apic_id: int = u8(3)
    flags: int = u32(4)


class MadtIoApic(Layout):
    """I/O APIC (5.2.12.3)."""

    SIZE = 12

    type: int = u8(0)
    length: int = u8(1)
    io_apic_id: int = u8(2)
    io_apic_address: int = u32(4)
    global_system_interrupt_base: int = u32(8)


class MadtOverride(Layout):
    """Interrupt Source Override (5.2.12.5). Flags: polarity in bits 0 and 1, trigger in 2 and 3 (table 5.26)."""

    SIZE = 10

    type: int = u8(0)
    length: int = u8(1)
    bus: int = u8(2)
    source: int = u8(3)
    global_system_interrupt: int = u32(4)
    flags: int = u16(8)


class MadtLocalApicNmi(Layout):
    """Local APIC NMI (5.2.12.7)."""

    SIZE = 6

    type: int = u8(0)
    length: int = u8(1)
    acpi_processor_uid: int = u8(2)
    flags: int = u16(3)
    local_apic_lint: int = u8(5)
