"""Mappings that never change and of which another one, with a few values more, is made cheaply.

A swarm of ten thousand is held in several of them, and each commit changes one agent: a copy, or
a comparison key by key, would cost more than all the rest of a round.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Set, ValuesView
from typing import Any, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

THICK = 128  # changes above the base, before it is laid anew
_GONE: Any = object()


class Layered(Mapping[K, V]):
    """A base that many share, and the changes since. To read it costs little more than a dict."""

    __slots__ = ("base", "below", "changes", "moved", "size")

    def __init__(self, values: Mapping[K, V] | None = None) -> None:
        self.base = dict(values or {})
        self.changes: dict[K, V] = {}
        self.size = len(self.base)
        self.below: dict[K, V] | None = None  # the base before this one
        self.moved: Set[K] = frozenset()  # what differs in it

    @classmethod
    def of(cls, values: Mapping[K, V]) -> Layered[K, V]:
        return values if isinstance(values, Layered) else cls(values)

    def changed(self, news: Mapping[K, V], gone: Iterable[K] = ()) -> Layered[K, V]:
        """With `news`, and without `gone`; this very object when that is nothing."""
        left = {key for key in gone if key in self or key in news}
        if not news and not left:
            return self
        made: Layered[K, V] = Layered()
        made.base, made.below, made.moved = self.base, self.below, self.moved
        made.changes = {**self.changes, **news, **dict.fromkeys(left, _GONE)}
        come = sum(key not in self and key not in left for key in news)
        made.size = self.size + come - sum(key in self for key in left)
        if len(made.changes) > THICK:
            made._lay()
        return made

    def _lay(self) -> None:
        few = len(self.changes) <= 2 * THICK
        self.below, self.moved = (self.base, self.changes.keys()) if few else (None, frozenset())
        self.base, self.changes = self.flat(), {}

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        if key not in self.changes:
            return self.base.get(key, default)
        found = self.changes[key]
        return default if found is _GONE else found

    def __getitem__(self, key: K) -> V:
        found: V = self.get(key, _GONE)
        if found is _GONE:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        if key in self.changes:
            return self.changes[key] is not _GONE
        return key in self.base

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[K]:
        return iter(self.flat())

    def items(self) -> ItemsView[K, V]:
        return self.flat().items()

    def values(self) -> ValuesView[V]:
        return self.flat().values()

    def flat(self) -> dict[K, V]:
        """All of it as one dict, which is not to be changed."""
        if not self.changes:
            return self.base
        flat = {**self.base, **self.changes}
        for key in [key for key, value in self.changes.items() if value is _GONE]:
            del flat[key]
        return flat


def since(former: Mapping[K, V], now: Mapping[K, V]) -> Set[K]:
    """The keys that have another object in the other mapping, or none."""
    if former is now:
        return frozenset()
    if isinstance(former, Layered) and isinstance(now, Layered):
        keys = _suspects(former, now)
        if keys is not None:
            return {k for k in keys if now.get(k, _GONE) is not former.get(k, _GONE)}
    old, new = _plain(former), _plain(now)
    found = {key for key, value in new.items() if old.get(key, _GONE) is not value}
    return found | (old.keys() - new.keys())


def _plain(values: Mapping[K, V]) -> Mapping[K, V]:
    """What is read without a word of Python, where it is read whole."""
    return values.flat() if isinstance(values, Layered) else values


def _suspects(former: Layered[K, V], now: Layered[K, V]) -> Set[K] | None:
    """All keys that may differ, where both have a base in common."""
    upper = former.changes.keys() | now.changes.keys()
    if now.base is former.base:
        return upper
    return upper | now.moved if now.below is former.base else None
