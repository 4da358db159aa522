"""`python -m tests.fuzz [TARGET]...`: mutated inputs through the parsers, as many or as long as one likes.

Every example is a function of its target, the seed and its number. An exception that is no error of efishim's, more than
SECONDS of processor time or more than MEMORY is printed with the command that shows it again, and the input is kept. Where
atheris is installed, --guided lets it choose the inputs by the code that they reach.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

SECONDS = 5.0
MEMORY_KIB = 1 << 20
CHUNK = 1000


def main() -> int:
    """1 when something was found."""
    options = _options()
    if options.guided:
        return _guided(options)
    from tests.fuzz.targets import targets  # noqa: PLC0415 - under guidance it is imported otherwise

    found = 0
    for name in options.target or targets():
        found += _plain(name, options)
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="as in tests/fuzz/targets.py; all of them without")
    parser.add_argument("--examples", type=int, default=10_000, help="inputs for each target [10000]")
    parser.add_argument("--first", type=int, default=0, help="number of the first input [0]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0, help="end after so many seconds for each target [never]")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where inputs are kept [build/fuzz]")
    parser.add_argument("--guided", action="store_true", help="let atheris choose the inputs")
    return parser.parse_args()


def _plain(name: str, options: argparse.Namespace) -> int:
    from tests.fuzz.mutations import mutated  # noqa: PLC0415
    from tests.fuzz.targets import seeds_of, targets  # noqa: PLC0415

    work, seeds = targets()[name].work, seeds_of(name)
    began, found, slowest, done = time.monotonic(), 0, 0.0, 0
    for number in range(options.first, options.first + options.examples):
        data = mutated(seeds, options.seed, number)
        before = time.process_time()
        try:
            work(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is what this is for
            traceback.print_exc()
            found += _keep(name, number, data, options, "an exception")
        spent = time.process_time() - before
        slowest, done = max(slowest, spent), done + 1
        if spent > SECONDS:
            found += _keep(name, number, data, options, f"{spent:.1f} s")
        if done % CHUNK == 0:
            print(f"{name}: {done}, slowest {slowest:.2f} s, {_peak() >> 10} MiB", flush=True)
        if options.seconds and time.monotonic() - began > options.seconds:
            break
    if _peak() > MEMORY_KIB:
        print(f"{name}: more than 1 GiB at some time, {_peak() >> 10} MiB")
        found += 1
    print(
        f"{name}: {done} inputs, seed {options.seed}, {found} found, slowest {slowest:.2f} s, {_peak() >> 10} MiB", flush=True
    )
    return found


def _peak() -> int:
    """Most memory that was resident, KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _keep(name: str, number: int, data: bytes, options: argparse.Namespace, what: str) -> int:
    options.keep.mkdir(parents=True, exist_ok=True)
    place = options.keep / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    place.write_bytes(data)
    again = f"python -m tests.fuzz {name} --seed {options.seed} --first {number} --examples 1"
    print(f"{name}: {what}: {place}; {again}", flush=True)
    return 1


def _guided(options: argparse.Namespace) -> int:
    if len(options.target) != 1:
        print("--guided takes one target", file=sys.stderr)
        return 2
    atheris: Any = importlib.import_module("atheris")  # it is not there for every Python
    with atheris.instrument_imports(include=["efishim"]):
        from tests.fuzz.targets import seeds_of, targets  # noqa: PLC0415

        name = options.target[0]
        work = targets()[name].work
    corpus = options.keep / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds_of(name):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    bounds = [f"-timeout={SECONDS:.0f}", f"-rss_limit_mb={MEMORY_KIB >> 10}", f"-artifact_prefix={options.keep}/{name}-"]
    bounds += [f"-runs={options.examples}", f"-seed={options.seed + 1}"]
    bounds += [f"-max_total_time={options.seconds:.0f}"] if options.seconds else []
    atheris.Setup([sys.argv[0], *bounds, str(corpus)], lambda data: bool(work(bytes(data))) and None)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
