"""Short lists of runs by their letters."""

from __future__ import annotations

from collections.abc import Sequence


def spans(keys: Sequence[str], chosen: Sequence[int]) -> str:
    """Letters of the chosen runs: A, C-F."""
    if len(chosen) == len(keys) > 1:
        return f"all ({keys[0]}-{keys[-1]})"
    found: list[list[int]] = []
    for index in sorted(chosen):
        if found and found[-1][-1] == index - 1:
            found[-1].append(index)
        else:
            found.append([index])
    return ", ".join(
        keys[group[0]] if len(group) == 1 else f"{keys[group[0]]}{', ' if len(group) == 2 else '-'}{keys[group[-1]]}"
        for group in found
    )
