"""`efishim study`: test the claims of the 2016 thread by experiment, with a verdict on each."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.outputs import check_writable
from efishim.cli.run import Interruption, interruptible
from efishim.cli.runs_progress import Silent
from efishim.cli.shared import no_cache_option, on_option
from efishim.cli.talk import moved

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.lab.cache.records import RecordCache
    from efishim.lab.matrix import Result
    from efishim.lab.plan.plan import Blob, Plan
    from efishim.plugins import Registry
    from efishim.study.build import KernelStudy
    from efishim.study.meeting import MeetingFacts
    from efishim.study.model import Study
    from efishim.study.runs import Need
    from efishim.study.surfaces import SurfaceFacts

FORMATS = ("text", "markdown", "json", "html")
"""As in efishim.report.studies. A test compares."""

SUFFIXES = {".md": "markdown", ".json": "json", ".html": "html", ".htm": "html", ".txt": "text"}


@click.command("study")
@click.argument("kernels", metavar="[KERNEL...]", nargs=-1, type=complete.KERNEL)
@click.option("--other", "others", metavar="IMAGE", multiple=True, type=complete.FILE,
              help="Also boot an image that is not Linux: a path or deb:PACKAGE and its command line; repeatable.")  # fmt: skip
@click.option("--no-surface", is_flag=True, help="Skip the search for the smallest firmware, which takes minutes.")
@click.option(
    "--surface",
    "surface_files",
    metavar="FILE.json",
    multiple=True,
    type=complete.FILE,
    help="Reuse the result of `efishim surface --format json` instead of searching; repeatable.",
)
@click.option("--records", "keep", metavar="DIR", type=complete.FILE,
              help="Save records in DIR, and reuse those already there instead of booting again.")  # fmt: skip
@click.option("--evidence", metavar="DIR", type=complete.FILE,
              help="Write the evidence to DIR, one Markdown file per section, and only the results to FILE.")  # fmt: skip
@no_cache_option
@on_option
@click.option("--date", default="", metavar="TEXT", help="Date to print in the document. [default: none]")
@click.option(
    "--ramdisks", "ramdisk_folder", metavar="DIR", type=complete.FILE, help="Write the study's two ramdisks to DIR and exit."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), metavar="N", help="Run up to N boots in parallel. [default: one per processor]"
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="Output format. [default: by the suffix of FILE, or text]")
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@click.pass_obj
def command(
    state: State,
    /,
    kernels: tuple[str, ...],
    others: tuple[str, ...],
    no_surface: bool,
    surface_files: tuple[str, ...],
    keep: str | None,
    evidence: str | None,
    no_cache: bool,
    on: str | None,
    date: str,
    ramdisk_folder: str | None,
    jobs: int | None,
    form: str | None,
    output: str | None,
    quiet: bool,
) -> int:
    """Test the claims of the 2016 xen-devel thread on each KERNEL, and report a verdict, its evidence and its limits.

    Experiments share their runs, which are made once and in parallel. Every verdict is computed from them and printed
    with its criterion.

    Exit status: 0 every run that a verdict depends on succeeded, 1 otherwise.

    \b
        efishim study deb:linux-image-cloud-amd64 -o study.html
        efishim study vmlinuz-6.1 vmlinuz-6.12 --format markdown
        efishim study vmlinuz --other deb:xen-hypervisor-4.17-amd64
    """
    from efishim.errors import UsageError
    from efishim.lab.cache.records import own_records
    from efishim.report.studies import renderers

    if ramdisk_folder is not None:
        return _write_ramdisks(ramdisk_folder)
    if output:
        check_writable(output)
    if evidence is not None and (form or SUFFIXES.get(Path(output or "").suffix)) != "markdown":
        raise UsageError("--evidence is for Markdown", hint="give -o FILE.md or --format markdown")
    settings = StudySettings(
        jobs=jobs or os.cpu_count() or 1,
        quiet=quiet,
        surface=not no_surface,
        surfaces=_surfaces(surface_files),
        surface_files=surface_files,
        folder=None if keep is None else _folder(keep),
        cache=None if no_cache else own_records(),
        on=on,
        date=date,
    )
    with interruptible() as interruption:
        study = _study(state, kernels, others, interruption, settings)
    if study is not None:
        chosen = form or SUFFIXES.get(Path(output or "").suffix, "text")
        if evidence is not None:
            document(_write_evidence(study, evidence, output or ""), chosen, output)
        else:
            document(renderers()[chosen](study), chosen, output)
    return interruption.exit_status or (0 if study is not None and study.complete else 1)


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How to go about it."""

    jobs: int
    quiet: bool
    surface: bool
    surfaces: dict[str, SurfaceFacts]
    """Found earlier, by the SHA-256 of the image."""
    surface_files: tuple[str, ...]
    """As the user named them. Where all others are searched for as well, the document is the same without them."""
    folder: Path | None
    cache: RecordCache | None
    """Of the user, besides the folder."""
    on: str | None
    """The cluster that makes the runs; the search for the smallest firmware stays here."""
    date: str


@dataclass(frozen=True)
class Others:
    """Images that are not Linux by their labels, efishim's probe kernel among them, and command lines for some."""

    images: dict[str, Blob]
    lines: dict[str, str]


def _surfaces(files: tuple[str, ...]) -> dict[str, SurfaceFacts]:
    from efishim.errors import UsageError
    from efishim.lab.record import RECORD_LIMIT
    from efishim.reading import read_file
    from efishim.study.surfaces import read_surface

    return dict(read_surface(read_file(file, RECORD_LIMIT, "surface", UsageError), file) for file in files)


def _folder(name: str) -> Path:
    from efishim.report.files import OutputError

    place = Path(name)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{name} cannot be made: {error.strerror or error}") from error
    return place


def _write_evidence(study: Study, folder: str, output: str) -> str:
    """Writes the files of the sections, and returns the page that links to them."""
    from efishim.report.files import write_atomically
    from efishim.report.study_markdown import pages

    place = _folder(folder)
    front, files = pages(study, Path(os.path.relpath(place, Path(output).parent)).as_posix())
    for name, text in files.items():
        write_atomically(place / name, text.encode("utf-8"))
    return front


def _write_ramdisks(folder: str) -> int:
    from efishim.report.files import write_atomically
    from efishim.study.ramdisks import ramdisks

    place = _folder(folder)
    for blob in ramdisks():
        write_atomically(place / blob.label, blob.read())
    return 0


def _study(
    state: State, kernels: tuple[str, ...], others: tuple[str, ...], interruption: Interruption, settings: StudySettings
) -> Study | None:
    """The document; None when the user interrupted."""
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.plan import shell_word
    from efishim.study.build import Heading, build

    with state.talk.progress(quiet=settings.quiet, moving=True) as progress:
        blobs = [find_image(kernel, progress, state.registry) for kernel in kernels or (None,)]
        found = [(find_image(name.partition(" ")[0], progress, state.registry), name.partition(" ")[2]) for name in others]
        other = {blob.label: blob for blob in (find_image(None, progress, state.registry), *(blob for blob, _ in found))}
        lines = {blob.label: line for blob, line in found}
    done: list[KernelStudy] = []
    names: list[str] = []
    for blob in blobs:
        one = _kernel(state, blob, Others(other, lines), names, interruption, settings)
        if one is None:
            return None
        done.append(one)
        names.append(one.view.name)
    words = ["efishim", "study", *(blob.label for blob in blobs if blob.data is None)]
    words += [word for label, line in lines.items() for word in ("--other", f"{label} {line}".strip())]
    if not settings.surface and any(blob.sha256 not in settings.surfaces for blob in blobs):
        words += ["--no-surface", *(word for file in settings.surface_files for word in ("--surface", file))]
    words += ["--date", settings.date] if settings.date else []
    return build(done, Heading(" ".join(shell_word(word) for word in words), settings.date))


def _kernel(
    state: State, blob: Blob, others: Others, taken: list[str], interruption: Interruption, settings: StudySettings
) -> KernelStudy | None:
    """All runs with one kernel, judged; the records are let go."""
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.study.build import all_needs, judge_kernel
    from efishim.study.model import KernelView
    from efishim.study.ramdisks import ramdisks
    from efishim.study.runs import Runs, plans, subject_of

    cache = KernelCache(cache_directory(os.environ))
    with state.talk.progress(quiet=settings.quiet, moving=True) as progress:
        progress.phase(f"opening {blob.label}")
        image = open_image(blob.read(), path=blob.label, cache=cache)
        opened = {label: open_image(one.read(), path=label, cache=cache) for label, one in others.images.items()}
        subject = subject_of(image, blob.label, opened, others.lines)
    name = (image.version.split() or [blob.label])[0]
    name = name if name not in taken else f"{name} ({blob.sha256[:8]})"
    needs = all_needs(subject)
    chosen = plans(state.registry, blob, others.images, needs, ramdisks())
    results = _results(state, name, needs, chosen, interruption, settings)
    if interruption.is_set():
        return None
    surface = settings.surfaces.get(blob.sha256) or _surface(state, name, blob, subject.has("efi"), interruption, settings)
    if interruption.is_set():
        return None
    meeting = _meeting(state, name, blob, subject.has("efi") and subject.has("pvh"), interruption, settings)
    if interruption.is_set():
        return None
    view = KernelView(name=name, path=blob.label, version=image.version, sha256=blob.sha256)
    study = judge_kernel(view, subject, Runs(dict(zip(needs, results, strict=True)), surface, meeting))
    del results
    gc.collect()
    return study


def _results(
    state: State, name: str, needs: list[Need], chosen: list[Plan], interruption: Interruption, settings: StudySettings
) -> list[Result]:
    """Of all plans, in their order: kept ones, and those that had to be run."""
    from efishim.lab.matrix import Result, run_matrix
    from efishim.study.kept import kept

    found = {plan: kept(settings.folder, plan, state.registry) if settings.folder is not None else None for plan in chosen}
    missing = [(need, plan) for need, plan in zip(needs, chosen, strict=True) if found[plan] is None]
    with _progress(state.talk, name, [need.name for need, _ in missing], quiet=settings.quiet) as progress:
        new = run_matrix(
            [plan for _, plan in missing],
            jobs=settings.jobs,
            progress=Keeping(progress, settings.folder, state.registry),
            interrupt=interruption,
            registry=state.registry,
            cache=settings.cache,
            on=settings.on,
        )
    results = {result.plan: result for result in new}
    return [results[plan] if plan in results else Result(plan, record=found[plan]) for plan in chosen]


def _surface(
    state: State, name: str, blob: Blob, applies: bool, interruption: Interruption, settings: StudySettings
) -> SurfaceFacts:
    from efishim.study.surfaces import SurfaceFacts, find_surface

    if not applies:
        return SurfaceFacts(reason="the image has no EFI entry")
    if not settings.surface:
        return SurfaceFacts(reason="the search was left out (--no-surface)")
    if not settings.quiet:
        state.talk.line(f"{name}: looking for the smallest firmware", "dim")
    return find_surface(state.registry, blob, jobs=settings.jobs, interrupt=interruption, cache=settings.cache)


def _meeting(
    state: State, name: str, blob: Blob, applies: bool, interruption: Interruption, settings: StudySettings
) -> MeetingFacts:
    from efishim.study.meeting import MeetingFacts, find_meeting

    if not applies:
        return MeetingFacts(reason="the image lacks one of the two entries")
    if not settings.quiet:
        state.talk.line(f"{name}: looking at the point where the EFI entry and the PVH entry meet", "dim")
    return find_meeting(state.registry, blob, interrupt=interruption)


@contextmanager
def _progress(talk: Talk, kernel: str, names: list[str], *, quiet: bool) -> Iterator[Silent]:
    """On a terminal a line that is redrawn, elsewhere a line for each run that ended."""
    if quiet:
        yield Silent()
    elif talk.console.is_terminal:
        with talk.moving(f"{kernel}: {len(names)} runs") as status:
            yield Counting(talk, kernel, names, status)
    else:
        yield Counting(talk, kernel, names)


class Keeping(Silent):
    """Keeps each record as soon as it is there, so that nothing is lost when the study is cut short."""

    def __init__(self, inner: Silent, folder: Path | None, registry: Registry) -> None:
        self._inner, self._folder, self._registry = inner, folder, registry

    def finished(self, index: int, result: Result) -> None:
        """A run ended."""
        from efishim.study.kept import keep

        if self._folder is not None:
            with suppress(OSError):  # a full disk costs the next study time, not this one its result
                keep(self._folder, result, self._registry)
        self._inner.finished(index, result)


class Counting(Silent):
    """Says how many runs ended."""

    def __init__(self, talk: Talk, kernel: str, names: list[str], status: Any = None) -> None:
        self._talk, self._kernel, self._names, self._status = talk, kernel, names, status
        self._ended = 0

    def finished(self, index: int, result: Result) -> None:
        """A run ended."""
        self._ended += 1
        text = f"{self._kernel}: {self._ended} of {len(self._names)} runs, {self._names[index]}"
        if result.failure is not None:
            self._talk.line(f"{text}: {result.failure.sentence}")
        elif self._status is not None:
            self._status.update(moved(text))
        else:
            self._talk.line(text, "dim")
