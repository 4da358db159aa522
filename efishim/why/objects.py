"""The state of devices and firmware that is kept in Python objects: by name, comparable, and taken over from another machine.

Two machines of one plan's kind are built by the same code, so that what is reached on the same way from their buses is the same
thing. What is reached and no plain value is followed, closures included: nothing that a device remembers is left out.
"""

from __future__ import annotations

import itertools
import mmap
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, CellType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

from efishim.errors import EfishimError

Path = tuple[str, ...]
PLAIN = (int, str, bytes, float, Enum, type(None), range)
OPAQUE = (type, ModuleType, BuiltinFunctionType, GeneratorType, mmap.mmap, itertools.count)
"""What has no state that could be looked at. A generator is a call into firmware that never came back: the image's start."""
LISTS = (list, tuple, deque)
SETS = (set, frozenset)


class Untransferable(EfishimError):
    """A part of one machine that another has not."""


@dataclass
class Graph:
    """Everything that is reached from some roots, by the way to it; `ends` are objects that are followed no further."""

    ends: Mapping[str, Any]
    by_path: dict[Path, Any] = field(default_factory=dict)
    by_id: dict[int, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end_of = {id(one): name for name, one in self.ends.items()}

    def add(self, name: str, root: Any) -> None:
        """Follow a root. What was reached before keeps its way; a second root of one name gets a number."""
        number = 2
        while (name,) in self.by_path and id(root) not in self.by_id:
            name = f"{name.partition(' #')[0]} #{number}"
            number += 1
        todo: deque[tuple[Path, Any]] = deque([((name,), root)])
        while todo:
            path, one = todo.popleft()
            if plain(one) or id(one) in self.by_id or id(one) in self.end_of or _opaque(one):
                continue
            self.by_path[path] = one
            self.by_id[id(one)] = path
            todo.extend(((*path, key), value) for key, value in parts(one))

    def shown(self, value: Any) -> Any:
        """A value in which other objects are named by the way to them, so that two machines' can be compared."""
        if plain(value):
            return value
        if id(value) in self.end_of:
            return self.end_of[id(value)]
        if isinstance(value, bytearray):
            return bytes(value)
        path = self.by_id.get(id(value))
        if path is not None:
            return ("->", *path)
        return repr(value) if isinstance(value, itertools.count) else type(value).__qualname__

    def state(self, path: Path) -> dict[str, Any]:
        """The direct parts of what is there, as `shown`."""
        one = self.by_path[path]
        return {"": _kind(one), **{key: self.shown(value) for key, value in parts(one)}}


def plain(one: Any) -> bool:
    """A value, and no object with a state; a tuple of values is one."""
    return isinstance(one, PLAIN) or (isinstance(one, tuple) and all(plain(part) for part in one))


def _opaque(one: Any) -> bool:
    return isinstance(one, OPAQUE)


def _kind(one: Any) -> str:
    return one.__qualname__ if isinstance(one, FunctionType) else type(one).__qualname__


def parts(one: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of what an object consists of."""
    if isinstance(one, MethodType):
        yield "__self__", one.__self__
    elif isinstance(one, FunctionType):
        cells = one.__closure__ or ()
        yield from ((name, _content(cell)) for name, cell in zip(one.__code__.co_freevars, cells, strict=True))
        yield from ((f"default {number}", value) for number, value in enumerate(one.__defaults__ or ()))
    elif isinstance(one, partial):
        yield "func", one.func
        yield from ((f"argument {number}", value) for number, value in enumerate(one.args))
        yield from sorted(one.keywords.items())
    elif isinstance(one, dict):
        yield from ((f"[{_key(key)}]", value) for key, value in one.items())
    elif isinstance(one, LISTS):
        yield from ((f"[{number}]", value) for number, value in enumerate(one))
    elif isinstance(one, SETS):
        yield "members", tuple(sorted(one, key=repr))
    elif isinstance(one, bytearray):
        yield "bytes", bytes(one)
    else:
        for name in attributes(one):
            yield name, getattr(one, name)


def _key(key: Any) -> str:
    return str(key.value) if isinstance(key, Enum) else repr(key) if plain(key) else type(key).__qualname__


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def attributes(one: Any) -> list[str]:
    """Names of what an object has, sorted."""
    slots: set[str] = {
        name for kind in type(one).__mro__ for name in _names(getattr(kind, "__slots__", ())) if hasattr(one, name)
    }
    return sorted({*getattr(one, "__dict__", ()), *slots} - {"__dict__", "__weakref__"})


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


class Mirror:
    """Makes of parts of one graph what they are in another one of the same kind."""

    def __init__(self, source: Graph, target: Graph) -> None:
        self._source, self._target = source, target
        self._made: dict[int, Any] = {}

    def put(self, target: Any, source: Any, part: str) -> None:
        """Give `target` the part of `source`. Raises Untransferable."""
        if type(target) is not type(source):
            raise Untransferable(f"a {type(source).__qualname__} is a {type(target).__qualname__} on the other side")
        if isinstance(target, bytearray | dict | list | deque | set):
            self._fill(target, source)
        elif hasattr(source, part):
            object.__setattr__(target, part, self.of(getattr(source, part)))
        elif part and hasattr(target, part):
            object.__delattr__(target, part)

    def of(self, one: Any) -> Any:
        """The same in the other graph. Raises Untransferable."""
        if plain(one) or _opaque(one):
            return one
        if id(one) in self._source.end_of:
            return self._target.ends[self._source.end_of[id(one)]]
        if id(one) in self._made:
            return self._made[id(one)]
        path = self._source.by_id.get(id(one))
        there = self._target.by_path.get(path) if path is not None else None
        if there is not None and type(there) is type(one):
            return there
        if isinstance(one, FunctionType):
            return self._function(one) if one.__closure__ else one
        if isinstance(one, list | set | deque | dict | bytearray):
            made = self._made[id(one)] = one.copy()  # before what is in it, which may lead back to it
            self._fill(made, one)
            return made
        if isinstance(one, MethodType | partial | tuple | frozenset):
            return self._made.setdefault(id(one), self._fixed(one))
        try:
            made = object.__new__(type(one))
        except TypeError as error:
            raise Untransferable(f"a {_kind(one)} of one side cannot be made on the other one") from error
        self._made[id(one)] = made
        for name in attributes(one):
            object.__setattr__(made, name, self.of(getattr(one, name)))
        return made

    def _fixed(self, one: Any) -> Any:
        """The same of what is made at once."""
        if isinstance(one, MethodType):
            return MethodType(one.__func__, self.of(one.__self__))
        if isinstance(one, partial):
            keywords = {name: self.of(value) for name, value in one.keywords.items()}
            return partial(self.of(one.func), *(self.of(value) for value in one.args), **keywords)
        values = [self.of(value) for value in one]
        return one._make(values) if hasattr(one, "_make") else type(one)(values)

    def _fill(self, target: Any, source: Any) -> None:
        """Give a container what there is in another one."""
        if isinstance(source, bytearray):
            target[:] = source
            return
        if isinstance(source, dict):
            content: Any = {key: self.of(value) for key, value in source.items()}
        else:
            content = [self.of(value) for value in source]
        target.clear()
        if isinstance(source, list | deque):
            target.extend(content)
        else:
            target.update(content)

    def _function(self, one: FunctionType) -> FunctionType:
        """The same code over what it closes over there."""
        cells = tuple(CellType() for _ in one.__closure__ or ())
        made = FunctionType(one.__code__, one.__globals__, one.__name__, one.__defaults__, cells)
        made.__kwdefaults__, made.__qualname__ = one.__kwdefaults__, one.__qualname__
        self._made[id(one)] = made
        for cell, source in zip(cells, one.__closure__ or (), strict=True):
            cell.cell_contents = self.of(_content(source))
        return made
