"""Assemble the guest programs and write their hashes: `python -m firmware_stubs.build`, needed by developers only.

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


def main() -> int:
    """Assemble everything. Returns an exit status."""
    hashes: dict[str, str] = {}
    for source in sources():
        binary = binary_of(source)
        try:
            assemble(source, ROOT / binary)
        except subprocess.CalledProcessError as failure:
            sys.stderr.write(failure.stderr)
            return 1
        hashes[binary.as_posix()] = hashlib.sha256((ROOT / binary).read_bytes()).hexdigest()
    MANIFEST.write_text(json.dumps(hashes, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
