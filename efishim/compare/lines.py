"""The difference between two sequences of lines, with bounded work.

difflib looks for the longest common block, then on both sides of it again: lines that repeat, or many small changes, make
that quadratic and worse. Where it could take long, lines that stand once on each side are found first, as in patience
diff, and difflib is asked about what lies between them, as far as its budget goes; the rest is shown as replaced.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

BUDGET = 4_000_000
"""Steps of difflib's inner loop in the worst case; a second or two."""

Opcode = tuple[str, int, int, int, int]
"""As difflib has them: equal, replace, delete or insert; the range on one side and that on the other."""

Block = tuple[int, int, int]


def opcodes(one: Sequence[str], other: Sequence[str]) -> list[Opcode]:
    """What to do to the one to get the other."""
    found: list[Opcode] = []
    i = j = 0
    for a, b, size in (*_blocks(one, other), (len(one), len(other), 0)):
        if i < a and j < b:
            found.append(("replace", i, a, j, b))
        elif i < a:
            found.append(("delete", i, a, j, b))
        elif j < b:
            found.append(("insert", i, a, j, b))
        if size:
            found.append(("equal", a, a + size, b, b + size))
        i, j = a + size, b + size
    return found


def unified(one: Sequence[str], other: Sequence[str], context: int) -> Iterator[str]:
    """The lines of a unified diff, without the two that name the files; none when there is no difference."""
    for group in _groups(opcodes(one, other), context):
        a, b, c, d = group[0][1], group[-1][2], group[0][3], group[-1][4]
        yield f"@@ -{_range(a, b)} +{_range(c, d)} @@"
        for kind, i, k, j, m in group:
            if kind == "equal":
                yield from (f" {line}" for line in one[i:k])
                continue
            yield from (f"-{line}" for line in one[i:k])
            yield from (f"+{line}" for line in other[j:m])


def _range(start: int, stop: int) -> str:
    """As GNU diff writes it: lines count from 1, and an empty range is named by the line before it."""
    size = stop - start
    if size == 1:
        return str(start + 1)
    return f"{start + (1 if size else 0)},{size}"


def _groups(codes: list[Opcode], context: int) -> Iterator[list[Opcode]]:
    """Changes with the equal lines around them, apart where more than twice that lies between."""
    group: list[Opcode] = []
    for index, (kind, i, k, j, m) in enumerate(codes):
        if kind != "equal":
            group.append((kind, i, k, j, m))
            continue
        before, after = index == 0, index + 1 == len(codes)
        if not before:
            if not after and k - i <= 2 * context:
                group.append((kind, i, k, j, m))
                continue
            group.append((kind, i, min(k, i + context), j, min(m, j + context)))
            yield group
        group = [] if after else [(kind, max(i, k - context), k, max(j, m - context), m)]
    if group and any(one[0] != "equal" for one in group):
        yield group


def _blocks(one: Sequence[str], other: Sequence[str]) -> Iterator[Block]:
    """Common blocks in ascending order, none next to another."""
    start = end = 0
    least = min(len(one), len(other))
    while start < least and one[start] == other[start]:
        start += 1
    while end < least - start and one[-1 - end] == other[-1 - end]:
        end += 1
    middle = _middle(one, other, start, len(one) - end, len(other) - end)
    a = b = size = 0
    for i, j, count in ((0, 0, start), *middle, (len(one) - end, len(other) - end, end)):
        if (i, j) == (a + size, b + size):
            size += count
        elif count:
            if size:
                yield a, b, size
            a, b, size = i, j, count
    if size:
        yield a, b, size


def _middle(one: Sequence[str], other: Sequence[str], start: int, stop: int, other_stop: int) -> Iterator[Block]:
    budget = BUDGET
    spent = _cost(one[start:stop], other[start:other_stop])
    if spent <= budget:
        yield from _difflib(one, other, (start, stop, start, other_stop))
        return
    i = j = start
    for a, b in (*_anchors(one, other, start, stop, other_stop), (stop, other_stop)):
        spent = _cost(one[i:a], other[j:b])
        if spent <= budget:
            budget -= spent
            yield from _difflib(one, other, (i, a, j, b))
        if (a, b) != (stop, other_stop):
            yield a, b, 1
        i, j = a + 1, b + 1


def _cost(one: Sequence[str], other: Sequence[str]) -> int:
    """Steps that difflib takes at most: all pairs of equal lines, once for each block that it may find."""
    if not one or not other:
        return 0
    there = Counter(other)
    return (len(one) + sum(there[line] for line in one)) * min(len(one), len(other))


def _difflib(one: Sequence[str], other: Sequence[str], where: tuple[int, int, int, int]) -> Iterator[Block]:
    i, k, j, m = where
    if i == k or j == m:
        return
    matcher = SequenceMatcher(None, one[i:k], other[j:m], autojunk=False)
    yield from ((a + i, b + j, size) for a, b, size in matcher.get_matching_blocks() if size)


def _anchors(one: Sequence[str], other: Sequence[str], start: int, stop: int, other_stop: int) -> list[tuple[int, int]]:
    """Places of lines that stand once on each side: the longest sequence of them in the order of both."""
    ours, theirs = Counter(one[start:stop]), Counter(other[start:other_stop])
    places = {line: j for j, line in enumerate(other[start:other_stop], start) if theirs[line] == 1}
    pairs = [(i, places[line]) for i, line in enumerate(one[start:stop], start) if ours[line] == 1 and line in places]
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_, j) in enumerate(pairs):
        at = bisect_left(ends, j)
        before.append(last[at - 1] if at else -1)
        ends[at : at + 1] = [j]
        last[at : at + 1] = [index]
    chain = []
    index = last[-1] if last else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]
