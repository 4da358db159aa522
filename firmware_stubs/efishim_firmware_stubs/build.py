"""Assembles and compiles the guest programs and writes their hashes. Only developers need it.

    python -m efishim_firmware_stubs.build              # everything; what is compiled only with the same compiler
    python -m efishim_firmware_stubs.build probe init   # only sources whose paths begin so

Convention: every `NAME.asm` below a folder of this package becomes `NAME` next to it, and `NAME.bin` where NAME has no
suffix of its own (`init.elf.asm` becomes `init.elf`, `hook.asm` becomes `hook.bin`). `*.inc` files are only included,
from the folder of the source or from `include/`. Every `NAME.lds` is the linker script of NAME, which is made of all C and GNU
assembly (`*.c`, `*.S`) next to it. `hashes.json` maps each binary to its SHA-256, lower-case hexadecimal.

nasm's output does not depend on its version; that of a compiler does. What was compiled can be compared only where COMPILER
and LINKER are what is installed (`same_tools`).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent
MANIFEST = ROOT / "hashes.json"
ASSEMBLED, LINKED = ".asm", ".lds"
SUFFIXES = (ASSEMBLED, LINKED)

COMPILER = "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"
LINKER = "GNU ld (GNU Binutils for Debian) 2.40"
COMPILE = (
    *("gcc", "-c", "-std=c11", "-Os", "-g0", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fpie", "-fvisibility=hidden"),
    # Interrupts of a kernel come on the stack of the runtime service that it called, and find its registers in use.
    *("-mno-red-zone", "-mgeneral-regs-only"),
    *("-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-fno-ident"),
    # A service that ends in another one would otherwise jump there, and look as if the kernel had called that.
    *("-fno-optimize-sibling-calls", "-fno-tree-loop-distribute-patterns"),
)
LINK = (
    *("ld", "-static", "-no-pie", "-nostdlib", "--build-id=none", "--orphan-handling=error"),
    *("-z", "max-page-size=4096", "-z", "noexecstack", "--fatal-warnings"),
)


def sources() -> list[Path]:
    """Every source that has a binary, relative to this package, in a fixed order."""
    return sorted(path.relative_to(ROOT) for suffix in SUFFIXES for path in ROOT.rglob(f"*{suffix}"))


def binary_of(source: Path) -> Path:
    """Where the binary of a source lies, relative to this package."""
    stem = source.with_suffix("")
    return stem if stem.suffix else stem.with_suffix(".bin")


def same_tools() -> bool:
    """Are compiler and linker those that the committed binaries are from?"""
    return _first_line("gcc") == COMPILER and _first_line("ld") == LINKER


def _first_line(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env=_environment())
    except OSError:
        return ""
    return done.stdout.partition("\n")[0]


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"}


def make(source: Path, destination: Path) -> None:
    """Assemble or link one source, given relative to this package. Raises CalledProcessError with the tool's words in
    `stderr`.
    """
    if source.suffix == LINKED:
        _link(source, destination)
    else:
        _assemble(source, destination)


def _link(script: Path, destination: Path) -> None:
    """Objects are named by their sources, which is how they and the linker script appear: relative, without a path."""
    folder = ROOT / script.parent
    parts = sorted(path for suffix in ("*.c", "*.S") for path in folder.glob(suffix))
    with tempfile.TemporaryDirectory() as scratch:
        objects = [f"{part.stem}.o" for part in parts]
        for part, output in zip(parts, objects, strict=True):
            _run([*COMPILE, "-o", str(Path(scratch) / output), part.name], folder)
        _run([*LINK, "-T", str(ROOT / script), "-o", str(destination.absolute()), *objects], Path(scratch))


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=_environment())


def _assemble(source: Path, destination: Path) -> None:
    folder = ROOT / source.parent
    arguments = ["nasm", "-f", "bin", "-Wall", "-Werror", f"-I{folder}/", f"-I{ROOT / 'include'}/"]
    subprocess.run(
        [*arguments, "-o", str(destination), str(ROOT / source)],
        check=True,
        capture_output=True,
        text=True,
    )


def build(chosen: list[Path]) -> dict[Path, str]:
    """Make binaries and bring the manifest up to date. Returns what a tool said about the sources that it refused."""
    present = {binary_of(source).as_posix() for source in sources()}
    hashes = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    refused: dict[Path, str] = {}
    for source in chosen:
        binary = ROOT / binary_of(source)
        new = binary.with_name(binary.name + ".new")
        try:
            make(source, new)
        except subprocess.CalledProcessError as failure:
            refused[source] = failure.stderr
            new.unlink(missing_ok=True)
            continue
        hashes[binary_of(source).as_posix()] = hashlib.sha256(new.read_bytes()).hexdigest()
        new.chmod(0o644)  # the linker makes it executable, which it is not for the host
        new.replace(binary)
    kept = {name: digest for name, digest in hashes.items() if name in present}
    MANIFEST.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    return refused


def main(arguments: list[str]) -> int:
    """Make the binaries of the sources whose paths begin with one of the arguments, or all. Returns an exit status."""
    prefixes = tuple(arguments) or ("",)
    chosen = [source for source in sources() if source.as_posix().startswith(prefixes)]
    if not arguments and not same_tools():
        chosen = [source for source in chosen if source.suffix != LINKED]
        sys.stderr.write(f"left alone, since they are from {COMPILER} and {LINKER}: everything that is compiled\n")
    refused = build(chosen)
    sys.stderr.writelines(refused.values())
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
