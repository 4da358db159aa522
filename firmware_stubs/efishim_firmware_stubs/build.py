"""Assemble the guest programs and write their hashes: needed by developers only.

    python -m efishim_firmware_stubs.build              # everything
    python -m efishim_firmware_stubs.build probe init   # only sources whose paths begin so

Convention: every `NAME.asm` below a folder of this package becomes `NAME` next to it, and `NAME.bin` where NAME has no
suffix of its own (`init.elf.asm` becomes `init.elf`, `hook.asm` becomes `hook.bin`). `*.inc` files are only included,
from the folder of the source or from `include/`. `hashes.json` maps each binary to its SHA-256, lower-case hexadecimal.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent
MANIFEST = ROOT / "hashes.json"


def sources() -> list[Path]:
    """Every source that has a binary, relative to this package, in a fixed order."""
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.asm"))


def binary_of(source: Path) -> Path:
    """Where the binary of a source lies, relative to this package."""
    stem = source.with_suffix("")
    return stem if stem.suffix else stem.with_suffix(".bin")


def assemble(source: Path, destination: Path) -> None:
    """Assemble one source, given relative to this package. Raises CalledProcessError with nasm's words in `stderr`."""
    folder = ROOT / source.parent
    arguments = ["nasm", "-f", "bin", "-Wall", "-Werror", f"-I{folder}/", f"-I{ROOT / 'include'}/"]
    subprocess.run(
        [*arguments, "-o", str(destination), str(ROOT / source)],
        check=True,
        capture_output=True,
        text=True,
    )


def build(chosen: list[Path]) -> dict[Path, str]:
    """Assemble sources and bring the manifest up to date. Returns what nasm said about those that it refused."""
    present = {binary_of(source).as_posix() for source in sources()}
    hashes = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {}
    refused: dict[Path, str] = {}
    for source in chosen:
        binary = ROOT / binary_of(source)
        new = binary.with_name(binary.name + ".new")
        try:
            assemble(source, new)
        except subprocess.CalledProcessError as failure:
            refused[source] = failure.stderr
            new.unlink(missing_ok=True)
            continue
        hashes[binary_of(source).as_posix()] = hashlib.sha256(new.read_bytes()).hexdigest()
        new.replace(binary)
    kept = {name: digest for name, digest in hashes.items() if name in present}
    MANIFEST.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    return refused


def main(arguments: list[str]) -> int:
    """Assemble the sources whose paths begin with one of the arguments, or all. Returns an exit status."""
    prefixes = tuple(arguments) or ("",)
    refused = build([source for source in sources() if source.as_posix().startswith(prefixes)])
    sys.stderr.writelines(refused.values())
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
