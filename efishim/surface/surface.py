"""Finds and verifies, by runs, the firmware that a kernel needs to reach userspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from efishim.errors import EfishimError
from efishim.firmware.catalogue import FUNCTIONS
from efishim.firmware.profile import ABSENT, PRESENT, Item, Kind, Profile
from efishim.firmware.profile_files import write_profile
from efishim.lab.cache.records import RecordCache
from efishim.lab.observe.limits import Interrupt, Interrupted
from efishim.lab.plan.plan import Blob, Plan, shell_word
from efishim.lab.record import Record
from efishim.plugins import Registry, load_plugins
from efishim.surface.effects import effect
from efishim.surface.model import Effect, Finding, Mark, Proof, Run, Surface
from efishim.surface.offered import offered, require_shim
from efishim.surface.search import REFUSALS, combine, ladder, weaken_further
from efishim.surface.trials import NoSurfaceProgress, SurfaceProgress, Trials, trials
from efishim.surface.usage import Touched, touched

PATIENCE = 2
"""A trial may take this many times the instructions of the run with everything."""
SLACK = 50_000_000

_MARKS = list(Mark)
_KINDS = list(Kind)
_SERVICES = {name: place for place, name in enumerate(FUNCTIONS)}


class SurfaceError(EfishimError):
    """There is no surface: the kernel does not reach the goal with all that the firmware offers."""

    exit_status = 1


@dataclass
class _Known:
    """What the search has found out so far."""

    there: tuple[Item, ...] = ()
    seen: dict[Item, Touched] = field(default_factory=dict)
    effects: dict[Item, list[Effect]] = field(default_factory=dict)
    changes: dict[Item, str] = field(default_factory=dict)
    """The weakest answers that are known to suffice together."""
    proof: Proof = field(default_factory=Proof)
    minimal: bytes = b""
    complete: bool = False

    def touched(self) -> list[Item]:
        """What is there and was asked for."""
        return [one for one in self.there if one in self.seen]


def surface(
    plan: Plan,
    *,
    registry: Registry | None = None,
    jobs: int = 1,
    progress: SurfaceProgress | None = None,
    interrupt: Interrupt | None = None,
    cache: RecordCache | None = None,
) -> Surface:
    """What a kernel needs to reach the plan's goal (userspace, say) on the plan's route, weakening the plan's profile or this
    firmware as it is.

    With more than one job the runs are in processes of their own, which find their plugins themselves. Once `interrupt` is
    set what is known so far is given, with `complete` false. Otherwise deterministic.

    Raises RouteError for a route without EFI firmware, SurfaceError when the kernel does not reach the goal anyhow, and
    what a run raises.
    """
    registry = registry or load_plugins()
    progress = progress or NoSurfaceProgress()
    require_shim(registry, plan)
    known = _Known()
    progress.phase("the whole firmware", 1)
    with trials(plan, jobs=jobs, progress=progress, interrupt=interrupt, registry=registry, cache=cache) as runs:
        whole = whole_run(runs)
        runs.limit = PATIENCE * whole.outcome.insns + SLACK
        try:
            known.there = offered(plan, registry)
            known.seen = touched(whole, [one for one in known.there if one.kind is Kind.TABLE])
            _search(known, runs, whole, progress)
        except Interrupted:
            pass
        known.proof = _with_trials(known.proof, runs.count)
        return _document(plan, known, runs, whole)


def whole_run(runs: Trials) -> Record:
    """The run with everything. Raises SurfaceError when it does not reach the goal, and what a run raises."""
    try:
        (trial,) = runs.observe([{}])
    except Interrupted as error:
        raise SurfaceError("the search was interrupted before anything was known") from error
    if trial.error is not None:
        raise trial.error
    assert trial.record is not None
    if not trial.boots:
        outcome = trial.record.outcome
        last = outcome.reached.value if outcome.reached is not None else "nothing"
        raise SurfaceError(
            f"with everything that the firmware offers the kernel does not reach {outcome.goal.value}: "
            f"{outcome.reason.value} after {last}",
            hint="there is no surface to be found then; `efishim run` shows why",
        )
    return trial.record


def _search(known: _Known, runs: Trials, whole: Record, progress: SurfaceProgress) -> None:
    asked = known.touched()
    never = {one: ABSENT for one in known.there if one not in known.seen}
    progress.phase("each item alone", len(asked) + 1)
    _observe(known, runs, whole, [(one, ABSENT) for one in asked])
    firm = [one for one in asked if not _boots_without(known, one)]
    for refusal in REFUSALS:  # where one will do, the next is not worth the time
        left = [one for one in firm if refusal in ladder(one) and _weakest(known, one) is None]
        progress.phase(f"{refusal} in its place", len(left))
        _observe(known, runs, whole, [(one, refusal) for one in left])
    probed = [one for one in known.seen if one.kind is Kind.PROTOCOL and not known.seen[one].found]
    progress.phase("other answers to what is not there", len(probed))
    _observe(known, runs, whole, [(one, "EFI_UNSUPPORTED") for one in probed])
    progress.phase("all that can go together", 1)
    known.changes = combine(never, runs.boots)
    alone = {one: answer for one in asked if (answer := _weakest(known, one)) is not None}
    fixed = dict(known.changes)
    known.changes |= combine(alone, lambda many: runs.boots([{**fixed, **one} for one in many]))
    progress.phase("is it minimal", 1)
    known.changes, steps = weaken_further(known.there, known.changes, runs.boots)
    known.proof = Proof(minimal=True, removals=steps)
    known.minimal = write_profile(_profile(known, whole))
    progress.phase("is it enough", 1)
    enough = Blob.embedded("minimal.toml", known.minimal)
    (trial,) = runs.run([({}, runs.variant({}, observers=False, profile=enough))])
    known.proof = Proof(minimal=True, removals=steps, sufficient=trial.boots)
    known.complete = True


def _observe(known: _Known, runs: Trials, whole: Record, steps: Sequence[tuple[Item, str]]) -> None:
    """Single changes to the whole firmware, with what they make the kernel do."""
    results = runs.observe([{one: answer} for one, answer in steps])
    for (one, answer), trial in zip(steps, results, strict=True):
        shown = replace(runs.variant({one: answer}, observers=True), max_insns=runs.plan.max_insns)
        known.effects.setdefault(one, []).append(effect(one, answer, trial, whole, shown))


def _boots_without(known: _Known, one: Item) -> bool:
    return any(each.boots and each.answer == ABSENT for each in known.effects.get(one, ()))


def _weakest(known: _Known, one: Item) -> str | None:
    """The weakest answer that was tried alone and did no harm."""
    good = [each.answer for each in known.effects.get(one, ()) if each.boots]
    return next((answer for answer in ladder(one) if answer in good), None)


def _with_trials(proof: Proof, count: int) -> Proof:
    return Proof(sufficient=proof.sufficient, minimal=proof.minimal, removals=proof.removals, trials=count)


def _profile(known: _Known, whole: Record) -> Profile:
    """What must be there and nothing else."""
    needed = {one: known.changes.get(one, PRESENT) for one in known.there}
    return Profile(
        name="minimal",
        summary=f"the least with which {whole.image.version or whole.image.path} reaches {whole.outcome.goal.value} on "
        f"{whole.route.provider}/{whole.route.entry}"[:1024],
        defaults=tuple(sorted((kind, ABSENT) for kind in Kind)),
        answers=tuple(sorted((one, answer) for one, answer in needed.items() if answer != ABSENT)),
    )


def _document(plan: Plan, known: _Known, runs: Trials, whole: Record) -> Surface:
    return Surface(
        tool=whole.tool,
        image=whole.image,
        route=whole.route,
        options=plan.record_options(),
        base="" if plan.profile is None else plan.profile.label,
        run=Run(insns=whole.outcome.insns, calls=len(whole.firmware_calls), command=plan.reproduce()),
        insns_limit=runs.limit,
        findings=sorted(_findings(known), key=_order),
        proof=known.proof,
        complete=known.complete,
        profile=known.minimal.decode("utf-8"),
        reproduce=reproduce(plan),
    )


def reproduce(plan: Plan) -> str:
    """What reproduces the document: the arguments of `run`, except the route's name."""
    route = f"-p {shell_word(plan.provider)} -e {shell_word(plan.entry)} --platform {shell_word(plan.platform)}"
    named = f"-r {shell_word(f'{plan.route}@{plan.platform}')}"
    return plan.reproduce().replace("efishim run", "efishim surface", 1).replace(route, named, 1)


def _findings(known: _Known) -> Iterable[Finding]:
    for one in dict.fromkeys((*known.there, *known.seen)):
        seen = known.seen.get(one)
        effects = known.effects.get(one, [])
        there = one in known.there
        minimum = known.changes.get(one, PRESENT) if there else ABSENT
        if not known.complete and there:
            weakest = ABSENT if seen is None else _weakest(known, one)
            minimum = weakest or PRESENT
        needed = there and minimum != ABSENT
        if needed:
            mark = Mark.NEEDED
        elif seen is None:
            mark = Mark.UNTOUCHED
        else:
            mark = Mark.USED if there and (seen.found or one.kind is Kind.SERVICE) else Mark.PROBED
        yield Finding(
            item=one,
            mark=mark,
            minimum=minimum,
            calls=seen.times if seen is not None else 0,
            statuses=seen.statuses if seen is not None else [],
            together=needed and _boots_without(known, one),
            effects=effects,
        )


def _order(finding: Finding) -> tuple[int, int, int, str]:
    one = finding.item
    place = _SERVICES.get(one.name, len(_SERVICES)) if one.kind is Kind.SERVICE else 0
    return _MARKS.index(finding.mark), _KINDS.index(one.kind), place, one.name
