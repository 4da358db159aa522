"""The rules that classify differences: reads and matches the data in rules.toml and platforms.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any

from efishim.compare.evidence import Difference, Evidence, Seen
from efishim.compare.facts import Fact
from efishim.compare.predicates import PREDICATES, Predicate, is_grave, never_explained
from efishim.errors import UsageError
from efishim.reading import parse_toml, read_file

LIMIT = 1 << 20
"""Largest file of rules, bytes."""

SHIPPED = ("rules.toml", "platforms.toml")
"""Files of rules: between routes, and between machines."""

VALUE_LIMIT = 4096
"""Longer values are not matched by expressions: they come from hostile guests."""


class Class(StrEnum):
    """What a difference is."""

    IDENTICAL = "identical"
    PLACEMENT = "placement"
    BY_DESIGN = "by design"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Traits:
    """What rules may ask of a record: words that tell kinds of routes apart (traits.py)."""

    words: frozenset[str]


@dataclass(frozen=True, slots=True)
class CounterCase:
    """A difference that a rule must not explain: the value that a fact has on each side, the first being the run with the
    word of `only`, `without` or `one`.
    """

    path: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of rules.toml, whose head says what the keys mean."""

    name: str
    kind: Class
    paths: tuple[re.Pattern[str], ...]
    reason: str
    source: str
    differs: tuple[str, ...]
    one: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    only: str = ""
    without: str = ""
    values: re.Pattern[str] | None = None
    present: bool = False
    follows: bool = False
    control: bool = False
    accepts: tuple[str, ...] = ()
    """Names of predicates, all of which must hold."""
    counter: tuple[CounterCase, ...] = ()

    @property
    def predicates(self) -> tuple[Predicate, ...]:
        """What `accepts` names."""
        return tuple(PREDICATES[name] for name in self.accepts)

    def applies(self, left: Traits, right: Traits, changed: frozenset[str]) -> bool:
        """Does the rule apply to such a pair of records?"""

        def splits(word: str) -> bool:
            return (word in left.words) != (word in right.words)

        if self.one and not any(splits(word) for word in self.one):
            return False
        if any(word not in left.words or word not in right.words for word in self.both):
            return False
        if any(word and not splits(word) for word in (self.only, self.without)):
            return False
        return bool(changed & set(self.differs))

    def speaks_of(self, fact: Fact) -> bool:
        """Is it about such a fact? Rules are the one place where facts are told by their paths."""
        return any(pattern.fullmatch(fact.path) for pattern in self.paths)

    def names(self, path: str) -> bool:
        """Do its paths cover this one?"""
        return any(pattern.fullmatch(path) for pattern in self.paths)

    @property
    def is_of_code(self) -> bool:
        """Is it about nothing but code?"""
        return all(map(_of_code, self.paths))

    @property
    def is_of_code_at_large(self) -> bool:
        """Does it cover code otherwise than by where it branches off?"""
        return any(_of_code(one) and re.escape(" -> ") not in one.pattern for one in self.paths)

    def spells_out(self, fact: Fact) -> bool:
        """Is it about this very fact, without a `*`?"""
        return any(pattern.pattern == re.escape(fact.path) for pattern in self.paths)

    @property
    def is_tied(self) -> bool:
        """Does it speak only of runs that a word tells apart?"""
        return bool(self.one or self.only or self.without)

    def matches(self, evidence: Evidence, left: Traits) -> bool:
        """Does it explain this one? Asked only when it applies."""
        if not self.speaks_of(evidence.fact) or not self._fits(evidence.difference, left):
            return False
        return all(accepts(evidence) for accepts in self.predicates)

    def _fits(self, difference: Difference, left: Traits) -> bool:
        a, b = difference.left, difference.right
        if self.present and not (a and b):
            return False
        if self.follows and difference.ground is None:
            return False
        if self.control and difference.shown is None:
            return False
        if self.only:
            has, lacks = (a, b) if self.only in left.words else (b, a)
            if lacks or not has:
                return False
        if self.without:
            lacks, has = (a, b) if self.without in left.words else (b, a)
            if lacks or not has:
                return False
        if self.values is None:
            return True
        if len(a) + len(b) > VALUE_LIMIT:
            return False
        return any(self.values.fullmatch(text) is not None for text in (f"{a}\n{b}", f"{b}\n{a}"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of a difference, and the rule that gave it."""

    kind: Class
    rule: Rule | None = None


@dataclass
class Judge:
    """Classifies the differences of one pair of records and remembers which rules were of use."""

    rules: Sequence[Rule]
    left: Traits
    right: Traits
    changed: frozenset[str]
    seen: tuple[Seen, Seen]
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rules = [rule for rule in self.rules if rule.applies(self.left, self.right, self.changed)]
        self._heads = [tuple(map(head, rule.paths)) for rule in self._rules]

    def judge(self, difference: Difference) -> Verdict:
        """The first rule that matches decides. No rule explains a failure, and a complaint only one about that very line."""
        evidence = Evidence(difference, *self.seen)
        if never_explained(evidence):
            return Verdict(Class.UNEXPLAINED)
        grave, path = is_grave(difference.fact), difference.path
        for rule, heads in zip(self._rules, self._heads, strict=True):
            # Most rules are about other facts, which is told at less cost than by their expressions.
            if path.startswith(heads) and (not grave or rule.spells_out(difference.fact)) and rule.matches(evidence, self.left):
                self.used.add(rule.name)
                return Verdict(rule.kind, rule)
        return Verdict(Class.UNEXPLAINED)

    @property
    def follows(self) -> bool:
        """Is there a rule for code that follows from something?"""
        return any(rule.follows for rule in self._rules)

    @property
    def controls(self) -> bool:
        """Is there a rule for code that a control run tells about?"""
        return any(rule.control for rule in self._rules)

    def unused(self) -> tuple[str, ...]:
        """Rules that speak about this pair and matched nothing."""
        return tuple(rule.name for rule in self._rules if rule.name not in self.used)


def parse_rules(text: str, name: str) -> tuple[Rule, ...]:
    """Rules from TOML. Raises UsageError naming the file and the rule."""
    if len(text) > LIMIT:
        raise UsageError(f"{name} is larger than {LIMIT} bytes")
    rows = parse_toml(text, name, UsageError)
    if not all(isinstance(row, dict) for row in rows.values()):
        raise UsageError(f"{name} has something outside of its rules")
    return tuple(_rule(name, key, row) for key, row in rows.items())


_TEXTS = frozenset({"class", "reason", "source", "only", "without", "values"})
_LISTS = frozenset({"paths", "one", "both", "differs", "accepts"})
_SWITCHES = frozenset({"present", "follows", "control"})
_COUNTER = "counter"
_NEEDED = frozenset({"class", "paths", "reason", "source", "differs"})

DIFFERS = frozenset(
    {
        *("provider", "entry", "route", "platform", "image", "cmdline", "initrds", "memory", "seed", "epoch", "options"),
        "until",
    }
)
"""What `differs` may name: what a user chooses, and nothing that follows from it."""


def _rule(file: str, name: str, row: Mapping[str, Any]) -> Rule:
    where = f"rule {name} of {file}"
    for words, what in ((set(row) - _TEXTS - _LISTS - _SWITCHES - {_COUNTER}, "unknown"), (_NEEDED - set(row), "missing")):
        if words:
            raise UsageError(f"{where}: {', '.join(sorted(words))} is {what}")
    texts = {key: _text(where, key, row[key]) for key in _TEXTS & set(row)}
    lists = {key: _list(where, key, row[key]) for key in _LISTS & set(row)}
    for key in _SWITCHES & set(row):
        if not isinstance(row[key], bool):
            raise UsageError(f"{where}: {key} is true or false")
    if texts["class"] not in (Class.PLACEMENT, Class.BY_DESIGN):
        raise UsageError(f"{where}: a class is `placement` or `by design`, not {texts['class']!r}")
    if strange := set(lists.get("differs", ())) - DIFFERS:
        raise UsageError(f"{where}: nothing called {', '.join(sorted(strange))} can differ")
    if strange := set(lists.get("accepts", ())) - set(PREDICATES):
        raise UsageError(f"{where}: there is no predicate {', '.join(sorted(strange))}")
    try:
        values = re.compile(texts["values"]) if "values" in texts else None
    except re.error as error:
        raise UsageError(f"{where}: {error}") from error
    return Rule(
        name,
        Class(texts["class"]),
        tuple(pattern(path) for path in lists["paths"]),
        texts["reason"],
        texts["source"],
        lists["differs"],
        one=lists.get("one", ()),
        both=lists.get("both", ()),
        only=texts.get("only", ""),
        without=texts.get("without", ""),
        values=values,
        present=row.get("present", False) is True,
        follows=row.get("follows", False) is True,
        control=row.get("control", False) is True,
        accepts=lists.get("accepts", ()),
        counter=_counter(where, row.get(_COUNTER, [])),
    )


def _counter(where: str, rows: object) -> tuple[CounterCase, ...]:
    keys = {"path", "left", "right"}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) <= keys and "path" in row for row in rows):
        raise UsageError(f"{where}: {_COUNTER} must be a list of tables with path, left and right")
    texts = [{key: _text(where, key, row.get(key, "")) for key in keys} for row in rows]
    return tuple(CounterCase(row["path"], row["left"], row["right"]) for row in texts)


def pattern(path: str) -> re.Pattern[str]:
    """A path in which `*` stands for any text, and nothing else is special."""
    return re.compile(".*".join(re.escape(piece) for piece in path.split("*")), re.DOTALL)


_HEAD = re.compile(r"(?:[^\\.]|\\.)*", re.DOTALL)


def head(pattern: re.Pattern[str]) -> str:
    """What paths begin with that a pattern names: its text up to the first `*`."""
    found = _HEAD.match(pattern.pattern)
    return re.sub(r"\\(.)", r"\1", found[0], flags=re.DOTALL) if found is not None else ""


def _of_code(one: re.Pattern[str]) -> bool:
    return one.pattern.startswith("code")


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where}: {key} must be a string")
    return value


def _list(where: str, key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(f"{where}: {key} must be a string or a list of strings")
    return tuple(value)


@lru_cache(maxsize=1)
def shipped_rules() -> tuple[Rule, ...]:
    """The rules that come with efishim."""
    files = ((name, resources.files("efishim.compare") / name) for name in SHIPPED)
    return tuple(rule for name, file in files for rule in parse_rules(file.read_text(encoding="utf-8"), name))


def read_rules(path: str) -> tuple[Rule, ...]:
    """Rules from a file of the user's. Raises UsageError."""
    data = read_file(path, LIMIT, "file of rules", UsageError)
    try:
        return parse_rules(data.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} cannot be read as rules: {error}") from error
