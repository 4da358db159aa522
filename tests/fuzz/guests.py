"""`python -m tests.fuzz.guests`: hostile guests on all routes, in slices that go on where the last one ended.

A guest is the probe kernel with random instructions over its code, so that it has every entry. It is a function of the seed
and its number, and so is its route. What ends without a name, raises an exception that is no error of efishim's, or takes
more than SECONDS of processor time is printed with the command that shows it again. `--state FILE` keeps the counts; the same
command with the same file continues.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import efishim_firmware_stubs

from efishim.errors import EfishimError
from efishim.image.cachedir import write_atomically
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.run import run_plan
from tests.hostile.programs import MEMORY, REGISTRY
from tests.hostile.test_random_code import DEFINED, PIECES

SECONDS, MEMORY_KIB = 5.0, 1 << 20
MAX_INSNS = 100_000
CODE = range(0x1000, 0x8000)
"""Bytes of the probe's file that are code."""
REFUSED = "refused"


def routes() -> list[tuple[str, str, str]]:
    """Every entry of every provider, on three machines; where a route does not apply, the guest is refused."""
    found = [(one.name, entry.name) for one in REGISTRY.providers.values() for entry in one.entries]
    return [(provider, entry, platform) for provider, entry in sorted(found) for platform in ("pc", "hvmlite", "kvm")]


def guest(seed: int, number: int) -> tuple[tuple[str, str, str], bytes]:
    """The route and the image of a guest."""
    random = Random(f"{seed}/{number}")
    image = bytearray(efishim_firmware_stubs.probe_kernel())
    dense = random.choice((1, 8, 64, 400))
    for _ in range(dense):
        at = random.randrange(CODE.start, CODE.stop - 64)
        piece = random.choice(PIECES) if random.randrange(3) else random.randbytes(random.randint(1, 8))
        image[at : at + len(piece)] = piece
    return random.choice(routes()), bytes(image)


def ending(seed: int, number: int) -> tuple[str, str]:
    """What came of a guest, and what is wrong with that: empty when nothing is."""
    (provider, entry, platform), image = guest(seed, number)
    limits = {"memory": MEMORY, "max_insns": MAX_INSNS, "timeout": 120.0}
    plan = Plan(image=Blob.embedded("guest", image), provider=provider, entry=entry, platform=platform, **limits)  # type: ignore[arg-type]
    try:
        reason = run_plan(plan, registry=REGISTRY).outcome.reason
    except EfishimError:
        return REFUSED, ""
    except Exception:  # noqa: BLE001 - whatever it is, it is what this is for
        return "exception", traceback.format_exc()
    return reason.value, "" if reason in DEFINED else "an end without a name"


def main() -> int:
    """1 when something was found in this slice or an earlier one."""
    options = _options()
    state: dict[str, Any] = {"seed": options.seed, "next": options.first, "found": [], "ends": {}}
    if options.state is not None and options.state.exists():
        state = json.loads(options.state.read_text())
        if state["seed"] != options.seed:
            print(f"{options.state} is of the seed {state['seed']}", file=sys.stderr)
            return 2
    counts = Counter(state["ends"])
    first, began = state["next"], time.monotonic()
    at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of whatever the process did before
    for number in range(first, first + options.count):
        before = time.process_time()
        end, wrong = ending(options.seed, number)
        spent = time.process_time() - before
        if not wrong and spent > SECONDS:
            wrong = f"{spent:.1f} s of processor time"
        counts[end] += 1
        if wrong:
            state["found"].append(number)
            print(f"{number} on {'/'.join(guest(options.seed, number)[0])}: {end}: {wrong}", flush=True)
            print(f"python -m tests.fuzz.guests --seed {options.seed} --first {number} --count 1", flush=True)
        state |= {"next": number + 1, "ends": dict(sorted(counts.items()))}
        if options.state is not None:
            write_atomically(options.state.absolute(), json.dumps(state).encode())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = options.count / max(time.monotonic() - began, 1e-9)
    print(f"guests {first} to {state['next'] - 1}, seed {options.seed}: {rate:.1f} a second, {peak >> 10} MiB")
    print(f"in all: {', '.join(f'{count} {end}' for end, count in state['ends'].items())}")
    print(f"{len(state['found'])} found", *state["found"])
    return 1 if state["found"] or peak > max(MEMORY_KIB, at_first) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guests", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first guest, without a state [0]")
    parser.add_argument("--count", type=int, default=1000, help="guests of this slice [1000]")
    parser.add_argument("--state", type=Path, help="continue from this file, and keep the counts in it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
