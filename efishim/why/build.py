"""Answers why two routes of one image end differently: brings both to the meeting point, and makes the experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from efishim.errors import UsageError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Milestone
from efishim.plugins import Registry
from efishim.why.behind import Behind
from efishim.why.causes import Way, causes, differing, is_switched
from efishim.why.forks import CRASHED
from efishim.why.items import difference
from efishim.why.laboratory import LEFT_OVER, Laboratory
from efishim.why.model import Answer, Cause, Effect, ItemAnswer, Sanity, Trial
from efishim.why.readers import Readers, readers_of
from efishim.why.roots import CODE, roots
from efishim.why.side import Side, Start, arrive, meet

NOKASLR = b"nokaslr"
BEHIND = frozenset({Milestone.START_KERNEL, Milestone.INIT, Milestone.USERSPACE, Milestone.SHUTDOWN})
"""Milestones behind the meeting point."""
Say = Callable[[str], None]


def plain_plan(plan: Plan) -> Plan:
    """The plan with KASLR off: two kernels can be set side by side only where they lie at one place."""
    if NOKASLR in plan.cmdline.split():
        return plan
    return replace(plan, cmdline=b" ".join(filter(None, (plan.cmdline, NOKASLR))))


def require_comparable(one: Plan, other: Plan) -> None:
    """Raises UsageError for plans of which something else differs than the way in, or that end before they meet."""
    if one.until not in BEHIND:
        raise UsageError(f"the routes converge at startup_64, but the runs end at {one.until.value}", hint="leave out --until")
    for what, mine, theirs in (
        ("image", one.image.sha256, other.image.sha256),
        ("platform", one.platform, other.platform),
        ("memory", one.memory, other.memory),
        ("command line", one.cmdline, other.cmdline),
        ("ramdisk", [blob.sha256 for blob in one.initrds], [blob.sha256 for blob in other.initrds]),
    ):
        if mine != theirs:
            raise UsageError(
                f"the two runs differ in {what}", hint="only the route may differ: anything else is a cause of its own"
            )


def answer(
    plans: tuple[Plan, Plan],
    registry: Registry,
    *,
    of: str | None = None,
    jobs: int = 1,
    say: Say = lambda _text: None,
    interrupt: Interrupt | None = None,
) -> Answer:
    """Why the runs of two plans end differently. `of` restricts the question to one difference; `say` hears what is done.

    Raises UsageError, RouteError, MachineError, Interrupted, and what preparing a run raises.
    """
    one, other = (plain_plan(plan) for plan in plans)
    require_comparable(one, other)
    say(f"booting to the meeting point: {one.route}, {other.route}")
    sides = arrive(one, registry, interrupt=interrupt), arrive(other, registry, interrupt=interrupt)
    return find_out(Question(sides, meet(*sides), of=of, jobs=jobs, say=say, interrupt=interrupt))


@dataclass
class Question:
    """Two machines at the meeting point, and what is asked. `truth` is what each of them did, once it is known."""

    sides: tuple[Side, Side]
    start: Start
    of: str | None = None
    jobs: int = 1
    say: Say = lambda _text: None
    interrupt: Interrupt | None = None
    truth: tuple[Behind, Behind] = (CRASHED, CRASHED)


@dataclass(frozen=True)
class Found:
    """What the experiments gave: causes and roots of differences, and who read which field of boot_params."""

    causes: dict[str, list[tuple[int, tuple[str, ...]]]]
    branches: Mapping[str, str]
    read: list[Readers]


def find_out(question: Question) -> Answer:
    """Make the experiments. Raises as `answer`."""
    sides = question.sides
    items = difference(*sides)
    laboratory = Laboratory(*sides, items, question.start, question.jobs, question.interrupt)
    made = 0

    def ran(count: int) -> None:
        nonlocal made
        made += count
        question.say(f"{len(items)} items in which the machines differ; run {made} is done")

    laboratory.on_run = ran
    question.truth = truth = laboratory.plain()
    sanity = _sanity(laboratory, truth, sides)
    laboratory.known[frozenset()], laboratory.known[laboratory.all] = truth
    every = differing(*truth)
    branches = roots(truth, laboratory.ran, every)
    facts = _asked(every, branches, question.of)
    ways = [Way(laboratory, 0, truth[0], truth[1]), Way(laboratory, 1, truth[1], truth[0])]
    sound = all(check.same for check in sanity)
    read = laboratory.readers() if items else []
    unread = [name for name, item in laboratory.items.items() if readers_of(item, read) == ()]
    found = causes(ways, facts, unread) if sound and items else {fact: [] for fact in facts}
    return _answer(question, laboratory, sanity, ways, Found(found, branches, read))


def _sanity(laboratory: Laboratory, truth: tuple[Behind, Behind], sides: tuple[Side, Side]) -> list[Sanity]:
    found = []
    for first, result in laboratory.everything():
        wanted = truth[1] if first else truth[0]
        into, of = sides if first else sides[::-1]
        defects = []
        if result.digest.startswith(LEFT_OVER):
            defects.append(result.digest)
        elif CRASHED in (result, wanted) or result.digest != wanted.digest:
            changed = [name for name in {**result.facts, **wanted.facts} if result.facts.get(name) != wanted.facts.get(name)]
            defects.append(
                f"the run ends with {result.outcome!r} after {result.insns:,} instructions, and not {wanted.insns:,}"
            )
            defects += sorted(changed)[:20]
        found.append(Sanity(into=into.route, of=of.route, same=not defects, defects=tuple(defects)))
    return found


def _asked(facts: list[str], branches: Mapping[str, str], of: str | None) -> list[str]:
    """Those that were asked for, by their own names or by that of the root of code. Raises UsageError when there are none."""
    if of is None:
        return facts
    wanted = [fact for fact in facts if of.replace(":", ".", 1) in (fact.replace(":", ".", 1), CODE + branches.get(fact, fact))]
    if not wanted:
        near = [fact for fact in facts if of.rpartition(":")[2] in fact][:5]
        raise UsageError(
            f"there is no difference {of}", hint=f"there are {len(facts)}; {'for example ' + ', '.join(near) if near else ''}"
        )
    return wanted


def _answer(
    question: Question,
    laboratory: Laboratory,
    sanity: list[Sanity],
    ways: list[Way],
    found: Found,
) -> Answer:
    sides, start, truth = question.sides, question.start, question.truth
    effects = [
        Effect(
            fact=fact,
            kind=fact.partition(" ")[0].partition(".")[0],
            values=(truth[0].facts.get(fact, ""), truth[1].facts.get(fact, "")),
            causes=tuple(Cause(items=names, into=sides[into].route, sides=(1 - into, into)) for into, names in switched),
            root=found.branches.get(fact, ""),
        )
        for fact, switched in found.causes.items()
    ]
    switches: dict[str, list[str]] = {}
    for effect in effects:
        for name in dict.fromkeys(name for cause in effect.causes if len(cause.items) == 1 for name in cause.items):
            switches.setdefault(name, []).append(effect.fact)
    items = [
        ItemAnswer(
            name=item.name,
            size=item.size,
            values=item.shown,
            idle=all(item.name in way.idle for way in ways),
            exact=all(item.name in way.exact for way in ways),
            readers=readers_of(item, found.read),
            switches=tuple(switches.get(item.name, ())),
        )
        for item in laboratory.items.values()
    ]
    items.sort(key=lambda one: (-len(one.switches), one.idle, one.name))
    image = sides[0].plan.image
    return Answer(
        image=image.label,
        sha256=image.sha256,
        version=sides[0].image.version,
        routes=(sides[0].route, sides[1].route),
        outcomes=(truth[0].outcome, truth[1].outcome),
        insns=start.insns,
        virtual_ns=start.when,
        items=tuple(items),
        effects=tuple(effects),
        sanity=tuple(sanity),
        trials=tuple(_trials(laboratory, truth, sides)),
    )


def _trials(laboratory: Laboratory, truth: tuple[Behind, Behind], sides: tuple[Side, Side]) -> list[Trial]:
    """Every experiment, told from the side of which more is left."""
    facts = differing(*truth)
    trials = []
    for key, result in laboratory.known.items():
        into = 0 if len(key) * 2 <= len(laboratory.all) else 1
        taken = key if into == 0 else laboratory.all - key
        if not taken:
            continue
        base, other = truth[into], truth[1 - into]
        switched = [fact for fact in facts if is_switched(result, base, other, fact)]
        neither = [
            name
            for name in {**result.facts, **base.facts}
            if result.facts.get(name, "") not in (base.facts.get(name, ""), other.facts.get(name, ""))
        ]
        trials.append(
            Trial(
                base=sides[into].route,
                taken=tuple(sorted(taken)),
                outcome=result.outcome,
                switched=tuple(switched),
                other=len(neither),
                exact=result.digest == base.digest,
            )
        )
    return sorted(trials, key=lambda trial: (trial.base, len(trial.taken), trial.taken))
