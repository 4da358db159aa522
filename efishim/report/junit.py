"""JUnit XML for CI systems, with one test case per route and check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from efishim.compare.facts import Side
from efishim.compare.model import Comparison

DETAILS_LIMIT = 64 << 10
"""Most characters of details in one case."""


@dataclass(frozen=True, slots=True)
class Case:
    """One check of one route. `failure` is a sentence, empty when it passed; `skipped` a reason, empty when it ran."""

    route: str
    check: str
    failure: str = ""
    details: str = ""
    skipped: str = ""


def render(suite: str, cases: Sequence[Case]) -> str:
    """The document, with its last newline. It carries no times: the same cases give the same document."""
    failures, skipped = sum(bool(case.failure) for case in cases), sum(bool(case.skipped) for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}
    root = Element("testsuites", counts)
    body = SubElement(root, "testsuite", {"name": suite, **counts})
    for case in cases:
        element = SubElement(body, "testcase", {"classname": _xml(f"{suite}.{case.route}"), "name": _xml(case.check)})
        if case.skipped:
            SubElement(element, "skipped", {"message": _xml(case.skipped)})
        elif case.failure:
            failure = SubElement(element, "failure", {"message": _xml(case.failure)})
            failure.text = _xml(case.details[:DETAILS_LIMIT])
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def comparison_cases(comparison: Comparison) -> list[Case]:
    """For each route: it reached its goal; differences in boot information are explained; so are those in behaviour."""
    cases = []
    for run in comparison.runs:
        cases.append(Case(run.name, f"reaches {run.goal}", "" if run.met else run.verdict))
        for pair in comparison.pairs:
            if pair.right != run.name:
                continue
            for side, check in ((Side.INPUTS, "boot information"), (Side.BEHAVIOUR, "behaviour")):
                found = [one for one in pair.unexplained if one.side is side]
                sentence = f"{len(found)} unexplained against {pair.left}" if found else ""
                details = "\n".join(f"{one.path}: {one.left or '-'} | {one.right or '-'}" for one in found)
                cases.append(Case(run.name, f"{check}, against {pair.left}", sentence, details))
    for one in comparison.skipped:
        failure, skipped = (one.reason, "") if one.failed else ("", one.reason)
        cases.append(Case(one.route, "runs", failure, one.hint if one.failed else "", skipped))
    return cases


def _xml(text: str) -> str:
    """Only characters that XML 1.0 allows (section 2.2)."""
    return "".join(_allowed(text))


def _allowed(text: str) -> Iterable[str]:
    for char in text:
        code = ord(char)
        good = code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
        yield char if good else "\N{REPLACEMENT CHARACTER}"
