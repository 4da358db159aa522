"""An answer to "why" in words and as a page."""

from __future__ import annotations

import json
from dataclasses import replace

from efishim.report import whys
from efishim.why.model import Answer, Cause, Effect, ItemAnswer, Sanity, Trial

ROUTES = ("hvmlite/efi@pc", "hvmlite/pvh@pc")


def cause(*items: str, into: int) -> Cause:
    return Cause(items=items, into=ROUTES[into], sides=(1 - into, into))


ANSWER = Answer(
    image="vmlinuz",
    sha256="0" * 64,
    version="6.1.0",
    routes=ROUTES,
    outcomes=("shutdown", "shutdown"),
    insns=4,
    virtual_ns=1,
    items=(
        ItemAnswer(name="efi_info", size=2048, values=("", ""), idle=False, exact=False, switches=("code.efi_init",)),
        ItemAnswer(name="boot_params.a", size=2, values=("", ""), idle=True, exact=False, readers=("f", "g", "h", "i", "j")),
        ItemAnswer(name="boot_params.b", size=2, values=("", ""), idle=True, exact=True, readers=()),
        ItemAnswer(name="register rax", size=8, values=("0x1", "0x0"), idle=True, exact=True),
    ),
    effects=(
        Effect(fact="code.efi_init", kind="code", values=("ran", ""), causes=(cause("efi_info", into=0),)),
        Effect(fact="log.<both>", kind="log", values=("", "said"), causes=(cause("a", "b", into=1),)),
    ),
    sanity=(Sanity(into=ROUTES[0], of=ROUTES[1], same=True),),
    trials=(Trial(base=ROUTES[0], taken=("efi_info",), outcome="kernel panic", switched=(), other=900, exact=False),),
)


def test_words() -> None:
    text = whys.text(ANSWER)
    assert "hvmlite/efi@pc with every item of hvmlite/pvh@pc does what hvmlite/pvh@pc does" in text
    assert "2 of 2 differences have a cause, 0 have none." in text
    assert "    - code.efi_init  (when taken over into hvmlite/efi@pc only)\n" in text
    assert "only together: a and b\n" in text
    assert "  register rax*: 0x1, 0x0\n" in text
    assert "  boot_params.a: 2 bytes; read by f, g, h, i and 1 more\n" in text
    assert "  boot_params.b*: 2 bytes; never read\n" in text
    assert "alone in hvmlite/efi@pc: the run ends with 'kernel panic', and 900 facts" in text


def test_a_defect_is_said_first() -> None:
    bad = replace(ANSWER, sanity=(Sanity(into=ROUTES[0], of=ROUTES[1], same=False, defects=("log.x",)),))
    text = whys.text(bad)
    assert "DEFECT: hvmlite/efi@pc" in text
    assert whys.conclusion(bad).startswith("The machine has hidden state")


def test_what_has_no_cause_is_said() -> None:
    lost = replace(ANSWER, effects=(replace(ANSWER.effects[0], causes=()),))
    assert "0 of 1 difference have a cause, 1 have none." in whys.text(lost)
    assert "differences without a cause\n" in whys.text(lost)


def test_functions_are_listed_by_the_branch_behind_which_they_ran() -> None:
    code = [
        Effect(fact=f"code.f{number}", kind="code", values=("ran", ""), causes=(cause("efi_info", into=0),), root="main -> f0")
        for number in range(10)
    ]
    item = replace(ANSWER.items[0], switches=tuple(one.fact for one in code))
    text = whys.text(replace(ANSWER, effects=tuple(code), items=(item,)))
    assert "    - code.main -> f0: 10 functions: f0, f1, f2, f3, f4, f5, f6, f7 and 2 more  (when taken over" in text
    assert "f8, f9  (when" in whys.text(replace(ANSWER, effects=tuple(code), items=(item,)), verbose=True)


def test_json_is_the_answer() -> None:
    found = json.loads(whys.json(ANSWER))
    assert found["schema"] == 1
    assert found["effects"][1]["causes"][0]["items"] == ["a", "b"]


def test_the_page_links_items_and_escapes_what_a_guest_said() -> None:
    page = whys.renderers()["html"](ANSWER, False)
    assert 'href="#item0"' in page
    assert "id=item0>efi_info" in page
    assert "&lt;both&gt;" in page
    assert "<both>" not in page
    assert "<svg" in page
