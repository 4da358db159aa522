"""Fuzzing of everything that opens an image: only typed errors may come out.

`python tests/fuzz/fuzz_image.py [CORPUS]` runs it under atheris where that is installed; the property tests in
tests/image/test_hostile.py drive the same function with hypothesis.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from efishim.errors import EfishimError
from efishim.image.opened import open_image
from efishim.image.pe import layout_pe


def open_everything(data: bytes) -> str:
    """Ask an image everything that can be asked. Gives what came of it: a format, or the sentence of the error."""
    try:
        image = open_image(data, path="fuzz")
    except EfishimError as error:
        return one_sentence(error)
    for door in image.doors:
        assert bool(door.where) != bool(door.reason), door
    assert image.version is not None
    for question in (
        lambda: image.kernel,
        lambda: [image.symbols.name_at(s.address) for s in image.symbols] if image.symbols else None,
        lambda: layout_pe(image.data, image.parts.pe).relocate(0x100000) if image.parts.pe else None,
        lambda: image.parts.bzimage.payload(image.data) if image.parts.bzimage else None,
    ):
        try:
            question()
        except EfishimError as error:
            one_sentence(error)
    return image.format


def one_sentence(error: EfishimError) -> str:
    """The error's sentence, checked for what all of them promise."""
    assert error.sentence
    assert "\n" not in error.sentence
    assert len(error.sentence) < 2000
    return error.sentence


def main() -> None:
    """Run atheris until it is stopped."""
    # Not a dependency: it is built against one version of clang and needed by nobody who only runs the tests.
    atheris: Any = importlib.import_module("atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: bool(open_everything(bytes(data))) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
