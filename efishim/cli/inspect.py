"""`efishim inspect KERNEL`: dump the headers of an image and the routes that apply to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.image.opened import Image


@click.command("inspect")
@click.argument("kernel", required=False, type=complete.KERNEL)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.option(
    "--symbol-file",
    metavar="FILE",
    type=complete.FILE,
    help="Write the kernel's symbols to FILE as an ELF file for gdb, at the addresses as linked.",
)
@click.pass_obj
def command(state: State, /, kernel: str | None, form: str, symbol_file: str | None) -> None:
    """Show the headers, entry points, sections, payload and notes of KERNEL, and which routes apply to it.

    KERNEL is a path or deb:PACKAGE; the default is the embedded probe kernel. Nothing is booted. The exit status is 4 if
    the image cannot be read.

    \b
        efishim inspect /boot/vmlinuz-6.1.0-50-amd64
        efishim inspect deb:linux-image-cloud-amd64 --format json | jq .routes
        efishim inspect vmlinuz --symbol-file vmlinux.sym     for gdb: symbol-file vmlinux.sym
    """
    import os

    from efishim.cli.kernel import find_image
    from efishim.cli.out import print_json
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.report.image import describe

    with state.talk.progress(quiet=form == "json", moving=True) as progress:
        blob = find_image(kernel, progress, state.registry)
        image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
        if symbol_file is not None:
            progress.phase("writing the symbols")
            _write_symbols(image, symbol_file)
        document = describe(image, state.registry.providers.values(), state.registry.entries)
    if form == "json":
        print_json(document)
    else:
        show(document)


def _write_symbols(image: Image, path: str) -> None:
    """What `add-symbol-file` of gdb takes. Raises ImageError without symbols."""
    from efishim.errors import ImageError
    from efishim.image.symbol_file import symbol_file
    from efishim.report.files import write_atomically

    if image.symbols is None:
        raise ImageError("the image has no symbols", hint="kernels with CONFIG_KALLSYMS have some")
    write_atomically(path, symbol_file(image.symbols))


def show(document: dict[str, Any]) -> None:
    """The document as tables, what most people want first."""
    from efishim.cli.out import heading, paragraph, table
    from efishim.report.figures import size

    heading(document["path"], f"{' and '.join(document['formats'])}, {size(document['size'])}")
    paragraph(f"version  {document['version'] or 'the image names none'}")
    paragraph(f"sha256   {document['sha256']}")
    if document["compression"]:
        paragraph(f"the whole file is compressed with {document['compression']}")
    mark = {True: "yes", False: "no"}
    _section("routes")
    rows = [(one["route"], mark[one["applies"]], one["reason"]) for one in document["routes"]]
    table(("route", "applies", "why not"), rows)
    _section("entries of the image")
    rows = [(one["entry"], mark[one["applies"]], one["where"] or one["reason"]) for one in document["entries"]]
    table(("entry", "there", "where, or why not"), rows)
    for name, tell in (("linux", _linux), ("pe", _pe), ("multiboot", _multiboot), ("kernel", _kernel)):
        part = document[name]
        if part is None:
            continue
        _section(TITLES[name])
        if "problem" in part:
            paragraph(part["problem"])
        else:
            tell(part)


TITLES = {
    "linux": "Linux setup header",
    "pe": "PE headers",
    "multiboot": "multiboot headers",
    "kernel": "the kernel inside",
}


def _section(title: str) -> None:
    from efishim.cli.out import heading

    click.echo()
    heading(title)


def _linux(part: dict[str, Any]) -> None:
    from efishim.cli.out import paragraph, table

    paragraph(f"boot protocol {part['protocol']}, {part['setup_size']:#x} bytes of setup code")
    paragraph(f"payload at byte {part['payload_offset']:#x}, {part['payload_size']:#x} bytes")
    paragraph(f"loadflags   {' '.join(part['loadflags']) or 'none'}")
    paragraph(f"xloadflags  {' '.join(part['xloadflags']) or 'none'}")
    rows = [(one["name"], f"{one['offset']:#x}", one["value"] or "newer than the protocol") for one in part["fields"]]
    table(("field", "offset", "value"), rows)


def _pe(part: dict[str, Any]) -> None:
    from efishim.cli.out import paragraph, table

    nx, moves = ("yes" if part[name] else "no" for name in ("nx_compat", "relocatable"))
    paragraph(f"{part['format']} for {part['machine']}, NX compatible: {nx}, relocatable: {moves}")
    names = ("AddressOfEntryPoint", "ImageBase", "SizeOfImage", "SectionAlignment", "Subsystem", "DllCharacteristics")
    paragraph("  ".join(f"{name} {part['optional'][name]}" for name in names if name in part["optional"]))
    rows = [
        (one["name"], one["rva"], *(f"{one[name]:#x}" for name in ("virtual_size", "offset", "raw_size")), one["protection"])
        for one in part["sections"]
    ]
    table(("section", "rva", "virtual size", "file offset", "raw size", "protection"), rows)


def _multiboot(part: dict[str, Any]) -> None:
    from efishim.cli.out import paragraph, table

    if part["version_1"]:
        paragraph(f"version 1 at byte {part['version_1']['offset']}, flags {part['version_1']['flags']}")
    if part["version_2"]:
        paragraph(f"version 2 at byte {part['version_2']['offset']}, {part['version_2']['length']} bytes")
        rows = [(one["name"], "optional" if one["optional"] else "required", one["data"]) for one in part["version_2"]["tags"]]
        table(("tag", "", "data"), rows)


def _kernel(part: dict[str, Any]) -> None:
    from efishim.cli.out import paragraph, table
    from efishim.report.figures import size

    paragraph(f"{part['class']}, compressed with {part['compression']}, {size(part['unpacked_size'])} unpacked")
    paragraph(f"entry {part['entry']}, PVH entry {part['pvh_entry'] or 'none'}, {part['symbols']:,} symbols")
    paragraph(f"loaded at {part['load']['start']} to {part['load']['end']}")
    rows = [
        (one["physical"], one["virtual"], f"{one['file_size']:#x}", f"{one['memory_size']:#x}", one["protection"])
        for one in part["segments"]
    ]
    table(("physical", "virtual", "file size", "memory size", "protection"), rows)
    if part["notes"]:
        click.echo()
        table(("note", "number", "name", "data"), [(n["owner"], str(n["type"]), n["name"], n["data"]) for n in part["notes"]])
