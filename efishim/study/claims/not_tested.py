"""What the thread disputed and no run here can settle; each with the reason, and with what is known."""

from __future__ import annotations

from efishim.study import sources
from efishim.study.experiment import Experiment, Finding, Statement, untested
from efishim.study.model import Source
from efishim.study.runs import Need, Runs, Subject

NO_RUN = "without a verdict: it takes what this study does not run"


def _open(key: str, source: Source, claim: str) -> Statement:
    return Statement(key, source, claim, NO_RUN, decidable=False)


REASONS = (
    (
        _open(
            "kasan",
            sources.paraphrase("What of code like KASAN, which needs its setup before other code runs?"),
            "A kernel with KASAN boots through every entry.",
        ),
        "no kernel with KASAN is built here; the kernel's history has commits for the case (fbe5a6dfe492, 416a33c9afce, "
        "661362e3dcab), which keep memset and memcmp, instrumented with KASAN, out of the PVH entry since guests "
        "could not boot with them",
    ),
    (
        _open(
            "old-xen-pv",
            sources.paraphrase("The old entry for Xen PV guests leaves out x86_64_start_kernel."),
            "A Xen PV guest skips the startup code that all other entries share.",
        ),
        "no PV guest is run: it takes Xen below the kernel; startup_xen and xen_start_kernel are not among the code that ran",
    ),
    (
        _open(
            "grub-efi",
            sources.paraphrase("GRUB 2 on EFI starts Linux through the EFI stub."),
            "Real GRUB on EFI firmware enters the kernel's EFI stub.",
        ),
        "the routes of this study begin at an entry of the kernel; efishim run --loader grub-efi runs the real one, of which "
        "version 2.06 enters the kernel's 32-bit entry by its command linux and the stub by its command chainloader",
    ),
    (
        _open(
            "more-complicated",
            sources.MORE_COMPLICATED,
            "The EFI entry becomes more complicated when Xen uses it.",
        ),
        "the kernels are unmodified, and the EFI entry as it is comes to userspace; how it would read with cases for Xen is no "
        "measurement",
    ),
    (
        _open(
            "another-bootloader",
            sources.ANOTHER_BOOTLOADER,
            "The firmware in the guest has to be maintained.",
        ),
        "this is true of any code, and its price is no number; the lines of source are in the section on the firmware in "
        "the guest",
    ),
    (
        _open(
            "other-dom0s",
            sources.OTHER_DOM0S,
            "Other kernels find EFI harder to implement than hvm_start_info.",
        ),
        "no NetBSD or FreeBSD is booted; a firmware in the guest is optional for each guest, and takes the same hvm_start_info",
    ),
    (
        _open(
            "elf-notes",
            sources.NO_ELF_NOTES,
            "A PE file cannot say what an ELF note says to Xen.",
        ),
        "the file formats were not compared; the firmware in the guest is the ELF file with the note, and needs none in the PE",
    ),
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Nothing."""
    del subject
    return ()


def judge(subject: Subject, runs: Runs) -> Finding:
    """Say why."""
    del subject, runs
    return Finding({statement.key: untested(why) for statement, why in REASONS})


EXPERIMENT = Experiment(
    "not-tested",
    "What no run here settles",
    "What else was disputed?",
    tuple(statement for statement, _ in REASONS),
    needs,
    judge,
    ("Nothing in this section was run.",),
)
