"""What rules accept: named predicates over a difference and both runs. rules.toml and oracle.toml name them with `accepts`.

Each is a pure function that relates values: to each other, or to what their own run was told. None asks for a kernel version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from efishim.compare.evidence import Evidence
from efishim.compare.predicates import early, laws, machine, maps, originals, pointers, processor, real, tables
from efishim.compare.predicates.never import failed_call, is_grave, never_explained

Predicate = Callable[[Evidence], bool]

PREDICATES: Mapping[str, Predicate] = {
    predicate.__name__.replace("_", "-"): predicate
    for predicate in (
        maps.boot_services_freed,
        maps.edges_of_memory,
        maps.entries_counted,
        maps.firmware_keeps_alike,
        maps.firmware_keeps_little,
        maps.firmware_keeps_the_same,
        maps.firmware_takes_the_same,
        maps.in_bios_data_area,
        maps.in_isa_hole,
        maps.last_page,
        maps.lines_as_told,
        maps.map_is_whole,
        maps.mem_total_as_told,
        maps.memory_line,
        maps.native_map_of_the_machine,
        maps.pages_of_a_hole,
        maps.shown_as_told,
        maps.times_as_told,
        maps.total_pages,
        pointers.addresses_in_memory,
        pointers.in_memory,
        pointers.kernel_place,
        pointers.part_of_kernel,
        pointers.ramdisk_of_the_log,
        pointers.ramdisk_of_the_user,
        pointers.ranges_alike,
        pointers.same_ramdisk,
        pointers.somewhere,
        early.before_the_routes_meet,
        early.on_the_told_screen,
        laws.as_the_structure_asks,
        laws.display_of_the_machine,
        laws.loaders_number,
        laws.memory_behind_1_mib,
        laws.text_screen,
        laws.users_command_line,
        originals.alignment_of_the_place,
        originals.grub_tells_efis_map,
        originals.ramdisk_by_load_file2,
        originals.reads_the_word_initrd,
        originals.scratch_of_the_place,
        originals.users_words_and_ramdisks,
        processor.state_of_the_mode,
        machine.acpi_as_chosen,
        machine.acpi_tables_differ,
        machine.clocks_as_chosen,
        machine.devices_as_chosen,
        machine.leaf_within_maximum,
        machine.machine_as_chosen,
        machine.names_its_platform,
        machine.register_of_the_fadt,
        real.alike_but_for_addresses,
        real.alike_but_for_the_number,
        real.command_line_of_the_flow,
        real.loops_agree,
        real.nobody_reads,
        real.revision_as_told,
        tables.bios_answers,
        tables.clock_of_the_run,
        tables.runtime_map_as_told,
        tables.tables_as_told,
        tables.says_it_of_its_own,
        tables.version_as_told,
    )
}
"""By name, with hyphens for underscores."""

__all__ = ["PREDICATES", "Predicate", "failed_call", "is_grave", "never_explained"]
