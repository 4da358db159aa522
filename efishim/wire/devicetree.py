"""Flattened device trees (Devicetree Specification 0.4, chapter 5)."""

from __future__ import annotations

from efishim.wire.layout import Layout, be32


class FdtHeader(Layout):
    """struct fdt_header as far as all its versions have it (5.2)."""

    SIZE = 28

    magic: int = be32(0)
    totalsize: int = be32(4)
    off_dt_struct: int = be32(8)
    off_dt_strings: int = be32(12)
    off_mem_rsvmap: int = be32(16)
    version: int = be32(20)
    last_comp_version: int = be32(24)
