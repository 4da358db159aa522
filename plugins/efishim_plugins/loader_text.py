"""What configurations of boot loaders have in common: they are lines of text."""

from __future__ import annotations

from efishim.errors import UsageError


def one_line(command_line: bytes, loader: str) -> str:
    """A command line as text for a line of a configuration. Raises UsageError for what would be no line, or another one."""
    try:
        text = command_line.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"the command line is not UTF-8, and the configuration of {loader} is") from error
    if "\n" in text or "\r" in text:
        raise UsageError(f"a command line for {loader} has no line ends")
    return text.strip()


def slashes(path: str) -> str:
    """A path of the disk as loaders of Unix descent write it."""
    return path.replace("\\", "/")
