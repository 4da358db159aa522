"""bzImage files: the setup header and the layout that it describes (Documentation/arch/x86/boot.rst).

File offsets in bytes throughout. The image is hostile: a field that points outside the file is an ImageError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from efishim.errors import ImageError
from efishim.image.text import printable
from efishim.wire import linux_header as wire
from efishim.wire.bootparams import HDRS_MAGIC, SetupHeader
from efishim.wire.layout import Leaf

MAX_VERSION_LENGTH = 256
SECTOR = 512
PARAGRAPH = 16


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One field of the setup header; `value` is None when the image's protocol is older than the field."""

    name: str
    offset: int
    size: int
    since: int
    value: int | None


@dataclass(frozen=True, slots=True)
class BzImage:
    """A Linux boot protocol image."""

    protocol: int
    """Boot protocol version as the header counts it: 0x20f is 2.15."""
    fields: tuple[HeaderField, ...]
    """Every field of the setup header in its order."""
    header_end: int
    """Offset of the first byte after the setup header."""
    setup_size: int
    """Bytes of real-mode code with the boot sector; the protected-mode code starts there."""
    kernel_version: str
    """What `kernel_version` points to, empty when it points nowhere."""
    payload_offset: int
    """File offset of the compressed kernel; 0 when the protocol does not say."""
    payload_size: int
    kernel_info: Mapping[str, int | str]
    """struct kernel_info by field, empty before protocol 2.15."""

    def value(self, name: str) -> int:
        """A field by its boot.rst name; 0 when the protocol is older than it. Raises KeyError for other names."""
        for field in self.fields:
            if field.name == name:
                return field.value or 0
        raise KeyError(name)

    @property
    def protocol_name(self) -> str:
        """The protocol as people write it, `2.15`."""
        return f"{self.protocol >> 8}.{self.protocol & 0xFF:02d}"

    @property
    def loadflags(self) -> tuple[str, ...]:
        """Names of the set bits of `loadflags`."""
        return _names(self.value("loadflags"), wire.LOADFLAGS)

    @property
    def xloadflags(self) -> tuple[str, ...]:
        """Names of the set bits of `xloadflags`."""
        return _names(self.value("xloadflags"), wire.XLOADFLAGS)

    @property
    def handover_entry(self) -> int | None:
        """Offset of the 64-bit EFI handover entry from the start of the protected-mode code, None without one.

        Protocol 2.11 had the entry before xloadflags could tell of it (boot.rst).
        """
        if self.protocol < wire.HANDOVER_FROM:
            return None
        told = wire.XLF_EFI_HANDOVER_64 if self.protocol >= wire.XLOADFLAGS_FROM else 0
        if self.value("xloadflags") & told != told or not (told or self.value("handover_offset")):
            return None
        return self.value("handover_offset") + wire.ENTRY64_OFFSET

    def payload(self, data: bytes) -> memoryview:
        """The compressed kernel inside the image. Raises ImageError when the header names none."""
        if not self.payload_size:
            raise ImageError(
                f"boot protocol {self.protocol_name} of this image names no payload",
                hint="the compressed kernel can be found in images of protocol 2.08 and later",
            )
        return memoryview(data)[self.payload_offset : self.payload_offset + self.payload_size]


def _names(bits: int, names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(names.get(1 << n, f"bit {n}") for n in range(bits.bit_length()) if bits & 1 << n)


def is_bzimage(data: bytes) -> bool:
    """Has it the boot flag and the HdrS signature? Kernels before 2.00 (1995) have only the first."""
    header_at = wire.HEADER_START
    if len(data) < header_at + SetupHeader.SIZE:
        return False
    header = SetupHeader.parse(data[header_at : header_at + SetupHeader.SIZE])
    return header.boot_flag == wire.BOOT_FLAG and header.header == HDRS_MAGIC


def parse_bzimage(data: bytes) -> BzImage:
    """Read the setup header. Raises ImageError for an image that has none, or that is shorter than it says."""
    if not is_bzimage(data):
        raise ImageError("this is not a Linux boot image: no HdrS signature at 0x202")
    at = wire.HEADER_START
    header = SetupHeader.parse(data[at : at + SetupHeader.SIZE])
    if header.version < 0x200:
        raise ImageError(f"boot protocol version {header.version:#x} of this image is older than 2.00")
    # "the jump's displacement gives the end of the header" (boot.rst, details of harder to find fields)
    header_end = wire.JUMP_AT + 2 + data[wire.JUMP_AT + 1]
    fields = tuple(_field(header, leaf, header_end) for leaf in SetupHeader.leaves())
    values = {field.name: field.value or 0 for field in fields}
    setup_size = ((values["setup_sects"] or wire.DEFAULT_SETUP_SECTS) + 1) * SECTOR
    if setup_size >= len(data):
        raise ImageError(f"the Linux image is truncated: {setup_size} bytes of setup code, the file has {len(data)}")
    # syssize counts 16-byte paragraphs, the last of which need not be whole in the file.
    expected = setup_size + (values["syssize"] - 1) * PARAGRAPH
    if values["syssize"] and expected >= len(data):
        raise ImageError(
            f"the Linux image is truncated: its header announces {expected + PARAGRAPH} bytes, the file has {len(data)}"
        )
    payload_offset = setup_size + values["payload_offset"]
    if values["payload_length"] and payload_offset + values["payload_length"] > len(data):
        raise ImageError(
            f"the Linux image's payload ends at byte {payload_offset + values['payload_length']}, the file has {len(data)}"
        )
    return BzImage(
        protocol=header.version,
        fields=fields,
        header_end=header_end,
        setup_size=setup_size,
        kernel_version=_kernel_version(data, values["kernel_version"], setup_size),
        payload_offset=payload_offset if values["payload_length"] else 0,
        payload_size=values["payload_length"],
        kernel_info=_kernel_info(data, setup_size, values["kernel_info_offset"]),
    )


def _field(header: SetupHeader, leaf: Leaf, header_end: int) -> HeaderField:
    since, offset = wire.SINCE.get(leaf.name, 0x200), wire.HEADER_START + leaf.offset
    known = header.version >= since and offset + leaf.size <= header_end
    return HeaderField(leaf.name, offset, leaf.size, since, getattr(header, leaf.name) if known else None)


def _kernel_version(data: bytes, pointer: int, setup_size: int) -> str:
    """The string that `kernel_version` points to, less 0x200 (boot.rst); it must lie in the setup code."""
    at = pointer + 0x200
    if not pointer or at >= setup_size:
        return ""
    text = data[at : min(at + MAX_VERSION_LENGTH, setup_size)].split(b"\0")[0]
    return printable(text)


def _kernel_info(data: bytes, setup_size: int, offset: int) -> dict[str, int | str]:
    at = setup_size + offset
    if not offset:
        return {}
    if at + wire.KernelInfo.SIZE > len(data):
        raise ImageError(f"the Linux image's kernel_info at byte {at} lies outside the file of {len(data)} bytes")
    return wire.KernelInfo.parse(data[at : at + wire.KernelInfo.SIZE]).values()
