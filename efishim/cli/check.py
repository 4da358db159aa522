"""`efishim check DUMP`: check the handover in a dump against the specification of its entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from efishim.cli import complete

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.image.entries import Entry
    from efishim.lab.abi.of_dump import DumpCheck
    from efishim.provider import EntryKind

ENTRIES = ("pvh", "linux64", "linux32", "linux16", "multiboot", "multiboot2")
"""As in efishim.dump.entry, whose import would take a while. A test compares."""


@click.command("check")
@click.argument("dump", type=complete.FILE)
@click.argument("kernel", required=False, type=complete.FILE)
@click.option(
    *("-e", "--entry"),
    metavar="ENTRY",
    help=f"The entry that the dump was taken at: {', '.join(ENTRIES)}, or with KERNEL one of a plugin. [default: detected]",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say on stderr what was derived and what could not be checked.")
@click.pass_obj
def command(state: State, /, dump: str, kernel: str | None, entry: str | None, form: str, quiet: bool) -> int:
    """Check the handover in DUMP, the memory and registers of a machine that is stopped at a kernel's entry.

    DUMP is an ELF core as QEMU's dump-guest-memory writes it, or a TOML file with registers and ranges of memory
    (docs/check-a-dump.md), also packed with gzip or zstd. Nothing is booted: DUMP is checked
    against the rules of the entry (`efishim rules`). With KERNEL, the image that was loaded, memory is also
    compared with its bytes.

    Exit status: 0 no rule is violated, 1 one is, 4 the dump cannot be read.

    \b
        efishim check vm.core
        efishim check vm.core vmlinuz --entry linux64
        efishim check vm.toml --format json
    """
    import os

    from efishim.cli import out
    from efishim.cli.kernel import find_image
    from efishim.dump.entry import entry_of
    from efishim.dump.opened import open_dump
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.lab.abi.of_dump import check_dump
    from efishim.lab.observe.views import recorded
    from efishim.report.violations import violation_lines

    with state.talk.progress(quiet=quiet, moving=True) as progress:
        progress.phase("reading the dump")
        opened = open_dump(dump)
        image = None
        if kernel is not None:
            blob = find_image(kernel, progress, state.registry)
            image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
        progress.phase("checking the handover")
        found = check_dump(opened, _entry(state, entry) if entry else entry_of(opened), image)
    if not quiet:
        for sentence in (*opened.derived, *(f"{rule} is not checked: {why}" for rule, why in found.unchecked)):
            state.talk.line(sentence, "dim")
    if form == "json":
        out.print_json(_document(opened.path, opened.form, opened.derived, found))
    else:
        lines = violation_lines(found.entry, recorded(found.violations))
        print("\n".join(lines or [f"the handover at the entry {found.entry} violates none of {len(found.checked)} rules"]))
    return 1 if found.violations else 0


def _entry(state: State, name: str) -> Entry | EntryKind:
    """An entry of efishim's own, or of a plugin. Raises UsageError."""
    from efishim.errors import UsageError
    from efishim.image.entries import Entry

    if name in ENTRIES:
        return Entry(name)
    kinds = state.registry.entries
    if name not in kinds:
        raise UsageError(f"dumps are not checked at an entry {name!r}", hint=f"there are: {', '.join((*ENTRIES, *kinds))}")
    return kinds[name]


def _document(path: str, form: str, derived: tuple[str, ...], found: DumpCheck) -> dict[str, object]:
    return {
        "dump": path,
        "form": form,
        "entry": found.entry,
        "derived": list(derived),
        "violations": [
            {"rule": one.rule, "demand": one.demand, "found": one.found, "specification": one.reference}
            for one in found.violations
        ],
        "checked": list(found.checked),
        "unchecked": dict(found.unchecked),
    }
