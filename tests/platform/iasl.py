"""ACPICA's compiler and disassembler as a judge (Debian package acpica-tools)."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IASL:
    """The program, and a directory for its files."""

    program: str
    directory: Path

    def run(self, *arguments: str) -> str:
        """Standard output and error of a successful run."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.directory,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def disassemble(self, table: bytes, name: str) -> str:
        """The source that the table is made of; fails when the disassembler says Error or Warning."""
        (self.directory / f"{name}.dat").write_bytes(table)
        said = self.run("-d", f"{name}.dat")
        assert not re.search(r"\b(error|warning|invalid|incorrect)\b", said, re.IGNORECASE), said
        source = (self.directory / f"{name}.dsl").read_text()
        assert "Incorrect checksum" not in source
        return source

    def compile_remarks(self, name: str) -> list[str]:
        """Errors, warnings and remarks about the source of that name."""
        said = self.run("-vr", "-p", f"{name}-again", f"{name}.dsl")
        return re.findall(r"^(?:Error|Warning|Remark).*", said, re.MULTILINE)

    def fields(self, table: bytes, name: str) -> dict[str, int]:
        """A data table's numbers under the names that ACPICA gives them; of equal names the first counts."""
        found: dict[str, int] = {}
        line = re.compile(r"^(?:\[[0-9A-F]{3}h \d+ +\d+\])? +(\S.*?) : ([0-9A-F]+)(?: \[.*\])?$", re.MULTILINE)
        for label, value in line.findall(self.disassemble(table, name)):
            found.setdefault(label.strip(), int(value, 16))
        return found
