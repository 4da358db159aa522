"""Options of QEMU in their own spelling, one dash before a word: understood where efishim has the same, else refused.

Without this, `-append=quiet` is `-a ppend=quiet`, as POSIX has it (utility syntax guideline 5).
"""

from __future__ import annotations

from collections.abc import Sequence

from efishim.errors import UsageError

SAME = {"-append": "--append", "-initrd": "--initrd"}
"""What they are called here."""

ARGUMENT = "-kernel"
"""Its value is the argument KERNEL."""

OTHERS = {
    "-machine": "the machine is chosen with --platform; see `efishim platforms`",
    "-cpu": "the processor belongs to the platform; see `efishim platforms`",
    "-smp": "the machine has one processor",
    "-accel": "the processor is always emulated",
    "-enable-kvm": "the processor is always emulated",
    "-bios": "the firmware is emulated; --profile makes it answer as another one does",
    "-pflash": "the firmware is emulated; --profile makes it answer as another one does",
    "-nographic": "the console always goes to stdout: leave it out",
    "-serial": "the console always goes to stdout: leave it out",
    "-display": "the console always goes to stdout: leave it out",
    "-vga": "the devices belong to the platform; see `efishim platforms`",
    "-monitor": "there is no monitor; -s waits for gdb",
    "-qmp": "there is no monitor; -s waits for gdb",
    "-gdb": "write --gdb PORT, or -s for port 1234",
    "-no-reboot": "a run ends when the guest reboots: leave it out",
    "-no-shutdown": "a run ends when the guest powers off: leave it out",
    "-drive": "the machine is described by --platform; see `efishim run --help` for what can be attached",
    "-hda": "the machine is described by --platform; see `efishim run --help` for what can be attached",
    "-cdrom": "the machine is described by --platform; see `efishim run --help` for what can be attached",
    "-device": "the devices belong to the platform; see `efishim platforms`",
    "-netdev": "the machine has no network",
    "-nic": "the machine has no network",
}

TAKES_TEXT = frozenset({"-a", "--append", "--cmdline", "-append"})
"""Behind these stands a command line, whatever it looks like."""


def translated(args: Sequence[str]) -> list[str]:
    """The arguments of a command that boots a kernel, with QEMU's options by efishim's names. Raises UsageError for those that
    efishim has no counterpart of.
    """
    found: list[str] = []
    before = ""
    for index, arg in enumerate(args):
        if arg == "--":
            return [*found, *args[index:]]
        name, equals, value = arg.partition("=")
        if before in TAKES_TEXT:
            found.append(arg)
        elif name in SAME:
            found.append(SAME[name] + equals + value)
        elif name == ARGUMENT:
            found += [value] if equals else []
        elif name in OTHERS:
            raise UsageError(f"{name} is an option of QEMU that efishim does not have", hint=OTHERS[name])
        else:
            found.append(arg)
        before = "" if equals or before in TAKES_TEXT else arg
    return found
