"""Parts of pages that were drawn before, as long as they would look the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..html import Element, Kept

MOST = 2000  # parts


class Shelf:
    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[tuple[object, ...], Kept]] = {}

    def get(self, name: Hashable, made_of: tuple[object, ...], draw: Callable[[], Element]) -> Kept:
        """The part called `name`, drawn anew when something that it is made of is another."""
        old = self._parts.pop(name, None)
        found = old if old is not None and _same(old[0], made_of) else (made_of, Kept(draw()))
        self._parts[name] = found  # now the newest
        if len(self._parts) > MOST:
            del self._parts[next(iter(self._parts))]
        return found[1]


def _same(old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    return len(old) == len(new) and all(a is b or a == b for a, b in zip(old, new, strict=True))
