"""struct boot_params, the "zero page", and what it points to.

Names and offsets: arch/x86/include/uapi/asm/bootparam.h and setup_data.h, include/uapi/linux/screen_info.h, edd.h and
apm_bios.h of the Linux sources; meanings in Documentation/arch/x86/boot.rst and zero-page.rst. One exception: the
e820 table is not among the leaves of BootParams, since only its first `e820_entries` entries mean anything.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, counted, numbers, part, parts, text32, u8, u16, u32, u64

HDRS_MAGIC = 0x53726448
"""`hdr.header`: the letters HdrS."""

EFI32_LOADER_SIGNATURE, EFI64_LOADER_SIGNATURE = 0x32334C45, 0x34364C45
"""`efi_info.efi_loader_signature`: the letters EL32 and EL64 (arch/x86/include/asm/efi.h)."""

E820_TABLE = 0x2D0
"""Offset of e820_table in boot_params."""

E820_MAX_ENTRIES_ZEROPAGE = 128
"""Entries in boot_params.e820_table; more of them travel as SETUP_E820_EXT."""

COMMAND_LINE_SIZE = 2048
"""What an x86 kernel copies of its command line, NUL included (arch/x86/include/asm/setup.h)."""

E820_TYPES: dict[int, str] = {
    # arch/x86/include/asm/e820/types.h
    1: "RAM",
    2: "RESERVED",
    3: "ACPI",
    4: "NVS",
    5: "UNUSABLE",
    7: "PMEM",
    12: "PRAM",
    0xEFFFFFFF: "SOFT_RESERVED",
}

SETUP_INDIRECT = 1 << 31

SETUP_TYPES: dict[int, str] = {
    # arch/x86/include/uapi/asm/setup_data.h
    0: "SETUP_NONE",
    1: "SETUP_E820_EXT",
    2: "SETUP_DTB",
    3: "SETUP_PCI",
    4: "SETUP_EFI",
    5: "SETUP_APPLE_PROPERTIES",
    6: "SETUP_JAILHOUSE",
    7: "SETUP_CC_BLOB",
    8: "SETUP_IMA",
    9: "SETUP_RNG_SEED",
    10: "SETUP_KEXEC_KHO",
    SETUP_INDIRECT: "SETUP_INDIRECT",
}


class ScreenInfo(Layout):
    """struct screen_info (include/uapi/linux/screen_info.h)."""

    SIZE = 0x40

    orig_x: int = u8(0x00)
    orig_y: int = u8(0x01)
    ext_mem_k: int = u16(0x02)
    orig_video_page: int = u16(0x04)
    orig_video_mode: int = u8(0x06)
    orig_video_cols: int = u8(0x07)
    flags: int = u8(0x08)
    unused2: int = u8(0x09)
    orig_video_ega_bx: int = u16(0x0A)
    unused3: int = u16(0x0C)
    orig_video_lines: int = u8(0x0E)
    orig_video_isVGA: int = u8(0x0F)
    orig_video_points: int = u16(0x10)
    lfb_width: int = u16(0x12)
    lfb_height: int = u16(0x14)
    lfb_depth: int = u16(0x16)
    lfb_base: int = u32(0x18)
    lfb_size: int = u32(0x1C)
    cl_magic: int = u16(0x20)
    cl_offset: int = u16(0x22)
    lfb_linelength: int = u16(0x24)
    red_size: int = u8(0x26)
    red_pos: int = u8(0x27)
    green_size: int = u8(0x28)
    green_pos: int = u8(0x29)
    blue_size: int = u8(0x2A)
    blue_pos: int = u8(0x2B)
    rsvd_size: int = u8(0x2C)
    rsvd_pos: int = u8(0x2D)
    vesapm_seg: int = u16(0x2E)
    vesapm_off: int = u16(0x30)
    pages: int = u16(0x32)
    vesa_attributes: int = u16(0x34)
    capabilities: int = u32(0x36)
    ext_lfb_base: int = u32(0x3A)
    _reserved: bytes = array(0x3E, 2)


class ApmBiosInfo(Layout):
    """struct apm_bios_info (include/uapi/linux/apm_bios.h)."""

    SIZE = 0x14

    version: int = u16(0x00)
    cseg: int = u16(0x02)
    offset: int = u32(0x04)
    cseg_16: int = u16(0x08)
    dseg: int = u16(0x0A)
    flags: int = u16(0x0C)
    cseg_len: int = u16(0x0E)
    cseg_16_len: int = u16(0x10)
    dseg_len: int = u16(0x12)


class IstInfo(Layout):
    """struct ist_info: what int 15h E980h said about SpeedStep."""

    SIZE = 0x10

    signature: int = u32(0x00)
    command: int = u32(0x04)
    event: int = u32(0x08)
    perf_level: int = u32(0x0C)


class SysDescTable(Layout):
    """struct sys_desc_table: the machine's MCA description."""

    SIZE = 0x10

    length: int = u16(0x00)
    table: bytes = array(0x02, 14)


class OlpcOfwHeader(Layout):
    """struct olpc_ofw_header: Open Firmware of the OLPC XO."""

    SIZE = 0x10

    ofw_magic: int = u32(0x00)
    ofw_version: int = u32(0x04)
    cif_handler: int = u32(0x08)
    irq_desc_table: int = u32(0x0C)


class EfiInfo(Layout):
    """struct efi_info: where the firmware's system table and memory map are."""

    SIZE = 0x20

    efi_loader_signature: int = text32(0x00)
    efi_systab: int = u32(0x04)
    efi_memdesc_size: int = u32(0x08)
    efi_memdesc_version: int = u32(0x0C)
    efi_memmap: int = u32(0x10)
    efi_memmap_size: int = u32(0x14)
    efi_systab_hi: int = u32(0x18)
    efi_memmap_hi: int = u32(0x1C)


class SetupHeader(Layout):
    """struct setup_header, offsets as boot.rst counts them: from the start of the image and of boot_params."""

    SIZE = 0x7B
    ORIGIN = 0x1F1

    setup_sects: int = u8(0x1F1)
    root_flags: int = u16(0x1F2)
    syssize: int = u32(0x1F4)
    ram_size: int = u16(0x1F8)
    vid_mode: int = u16(0x1FA)
    root_dev: int = u16(0x1FC)
    boot_flag: int = u16(0x1FE)
    jump: int = u16(0x200)
    header: int = text32(0x202)
    version: int = u16(0x206)
    realmode_swtch: int = u32(0x208)
    start_sys_seg: int = u16(0x20C)
    kernel_version: int = u16(0x20E)
    type_of_loader: int = u8(0x210)
    loadflags: int = u8(0x211)
    setup_move_size: int = u16(0x212)
    code32_start: int = u32(0x214)
    ramdisk_image: int = u32(0x218)
    ramdisk_size: int = u32(0x21C)
    bootsect_kludge: int = u32(0x220)
    heap_end_ptr: int = u16(0x224)
    ext_loader_ver: int = u8(0x226)
    ext_loader_type: int = u8(0x227)
    cmd_line_ptr: int = u32(0x228)
    initrd_addr_max: int = u32(0x22C)
    kernel_alignment: int = u32(0x230)
    relocatable_kernel: int = u8(0x234)
    min_alignment: int = u8(0x235)
    xloadflags: int = u16(0x236)
    cmdline_size: int = u32(0x238)
    hardware_subarch: int = u32(0x23C)
    hardware_subarch_data: int = u64(0x240)
    payload_offset: int = u32(0x248)
    payload_length: int = u32(0x24C)
    setup_data: int = u64(0x250)
    pref_address: int = u64(0x258)
    init_size: int = u32(0x260)
    handover_offset: int = u32(0x264)
    kernel_info_offset: int = u32(0x268)


class E820Entry(Layout):
    """struct boot_e820_entry. `size` in bytes."""

    SIZE = 20

    addr: int = u64(0)
    size: int = u64(8)
    type: int = u32(16)


class EddInfo(Layout):
    """struct edd_info (include/uapi/linux/edd.h); `params` is what int 13h AH=48h returned."""

    SIZE = 82

    device: int = u8(0)
    version: int = u8(1)
    interface_support: int = u16(2)
    legacy_max_cylinder: int = u16(4)
    legacy_max_head: int = u8(6)
    legacy_sectors_per_track: int = u8(7)
    params: bytes = array(8, 74)


class BootParams(Layout):
    """struct boot_params: one page."""

    SIZE = 0x1000

    screen_info: ScreenInfo = part(0x000, ScreenInfo)
    apm_bios_info: ApmBiosInfo = part(0x040, ApmBiosInfo)
    _pad2: bytes = array(0x054, 4)
    tboot_addr: int = u64(0x058)
    ist_info: IstInfo = part(0x060, IstInfo)
    acpi_rsdp_addr: int = u64(0x070)
    _pad3: bytes = array(0x078, 8)
    hd0_info: bytes = array(0x080, 16)
    hd1_info: bytes = array(0x090, 16)
    sys_desc_table: SysDescTable = part(0x0A0, SysDescTable)
    olpc_ofw_header: OlpcOfwHeader = part(0x0B0, OlpcOfwHeader)
    ext_ramdisk_image: int = u32(0x0C0)
    ext_ramdisk_size: int = u32(0x0C4)
    ext_cmd_line_ptr: int = u32(0x0C8)
    _pad4: bytes = array(0x0CC, 112)
    cc_blob_address: int = u32(0x13C)
    edid_info: bytes = array(0x140, 128)
    efi_info: EfiInfo = part(0x1C0, EfiInfo)
    alt_mem_k: int = u32(0x1E0)
    scratch: int = u32(0x1E4)
    e820_entries: int = u8(0x1E8)
    eddbuf_entries: int = u8(0x1E9)
    edd_mbr_sig_buf_entries: int = u8(0x1EA)
    kbd_status: int = u8(0x1EB)
    secure_boot: int = u8(0x1EC)
    _pad5: bytes = array(0x1ED, 2)
    sentinel: int = u8(0x1EF)
    _pad6: bytes = array(0x1F0, 1)
    hdr: SetupHeader = part(0x1F1, SetupHeader)
    _pad7: bytes = array(0x26C, 0x290 - 0x26C)
    edd_mbr_sig_buffer: list[int] = numbers(0x290, 4, 16)
    e820_table: bytes = counted(E820_TABLE, E820Entry.SIZE * E820_MAX_ENTRIES_ZEROPAGE)
    _pad8: bytes = array(0xCD0, 48)
    eddbuf: list[EddInfo] = parts(0xD00, EddInfo, 6)
    _pad9: bytes = array(0xEEC, 276)

    def e820(self) -> list[E820Entry]:
        """The first `e820_entries` entries of e820_table, at most 128."""
        step = E820Entry.SIZE
        count = min(self.e820_entries, E820_MAX_ENTRIES_ZEROPAGE)
        return [E820Entry.parse(self.e820_table[at : at + step]) for at in range(0, count * step, step)]

    def set_e820(self, entries: list[tuple[int, int, int]]) -> None:
        """Fill e820_table and `e820_entries` from (addr, size, type). Raises ValueError for more than 128."""
        if len(entries) > E820_MAX_ENTRIES_ZEROPAGE:
            raise ValueError(f"{len(entries)} entries do not fit the 128 of e820_table")
        self.e820_entries = len(entries)
        rows = b"".join(E820Entry(addr=addr, size=size, type=kind).build() for addr, size, kind in entries)
        self.e820_table = rows + self.e820_table[len(rows) :]

    def cmd_line(self) -> int:
        """Physical address of the command line, its upper half from `ext_cmd_line_ptr`."""
        return self.ext_cmd_line_ptr << 32 | self.hdr.cmd_line_ptr

    def ramdisk(self) -> tuple[int, int]:
        """Physical address and size of the initial ramdisk, the upper halves from the ext_ fields."""
        hdr = self.hdr
        return self.ext_ramdisk_image << 32 | hdr.ramdisk_image, self.ext_ramdisk_size << 32 | hdr.ramdisk_size


class SetupData(Layout):
    """struct setup_data: the head of every node of the chain at hdr.setup_data; `len` bytes follow it."""

    SIZE = 16

    next: int = u64(0)
    type: int = u32(8)
    len: int = u32(12)


class SetupIndirect(Layout):
    """struct setup_indirect: the body of a SETUP_INDIRECT node, which lies at `addr`."""

    SIZE = 24

    type: int = u32(0)
    reserved: int = u32(4)
    len: int = u64(8)
    addr: int = u64(16)


class PciSetupRom(Layout):
    """struct pci_setup_rom without its setup_data head (arch/x86/include/asm/pci.h); the ROM follows."""

    SIZE = 48

    vendor: int = u16(0)
    devid: int = u16(2)
    pcilen: int = u64(8)
    segment: int = u64(16)
    bus: int = u64(24)
    device: int = u64(32)
    function: int = u64(40)


class EfiSetupData(Layout):
    """struct efi_setup_data (arch/x86/include/asm/efi.h): what a kexec'd kernel is told of the firmware's tables."""

    SIZE = 96

    fw_vendor: int = u64(0)
    _unused: int = u64(8)
    tables: int = u64(16)
    smbios: int = u64(24)
    reserved: list[int] = numbers(32, 8, 8)


class JailhouseSetupData(Layout):
    """struct jailhouse_setup_data up to and with version 1 (version 2 adds `flags` behind it)."""

    SIZE = 280

    version: int = u16(0)
    compatible_version: int = u16(2)
    pm_timer_address: int = u16(4)
    num_cpus: int = u16(6)
    pci_mmconfig_base: int = u64(8)
    tsc_khz: int = u32(16)
    apic_khz: int = u32(20)
    standard_ioapic: int = u8(24)
    cpu_ids: bytes = array(25, 255)


class JailhouseSetupDataV2(JailhouseSetupData):
    """Version 2 and later."""

    SIZE = 284

    flags: int = u32(280)


class CcSetupData(Layout):
    """struct cc_setup_data without its head (arch/x86/include/asm/sev.h): where the SEV-SNP blob is."""

    SIZE = 4

    cc_blob_address: int = u32(0)


class CcBlobSevInfo(Layout):
    """struct cc_blob_sev_info: where SEV-SNP's secrets and CPUID pages are."""

    SIZE = 40

    magic: int = text32(0)
    version: int = u16(4)
    reserved: int = u16(6)
    secrets_phys: int = u64(8)
    secrets_len: int = u32(16)
    rsvd1: int = u32(20)
    cpuid_phys: int = u64(24)
    cpuid_len: int = u32(32)
    rsvd2: int = u32(36)


class ImaSetupData(Layout):
    """struct ima_setup_data: where the IMA measurement list of the kernel before is."""

    SIZE = 16

    addr: int = u64(0)
    size: int = u64(8)


class KhoData(Layout):
    """struct kho_data: kexec handover."""

    SIZE = 32

    fdt_addr: int = u64(0)
    fdt_size: int = u64(8)
    scratch_addr: int = u64(16)
    scratch_size: int = u64(24)


class PropertiesHeader(Layout):
    """struct properties_header (drivers/firmware/efi/apple-properties.c): the head of Apple's device properties."""

    SIZE = 12

    len: int = u32(0)
    version: int = u32(4)
    dev_count: int = u32(8)
