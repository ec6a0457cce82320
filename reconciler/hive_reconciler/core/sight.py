"""The containers of one observation, by what one asks for."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from copy import copy

from ..runtime.base import Observed
from .slices import Work


class Sight:
    """Immutable. Who sees the same in another order sees the same."""

    def __init__(self, observed: Iterable[Observed] = ()) -> None:
        self.all = tuple(sorted(observed, key=operator.attrgetter("name")))
        self.live = {one.name: one for one in self.all if one.lives}
        self.lost = [one for one in self.live.values() if not one.uid]  # nothing tells whose
        self.stranger = self.lost[0].name if self.lost else ""
        self.by_uid: dict[str, Observed] = {one.uid: one for one in self.all}
        self._behind: list[Observed] = []
        if len(self.by_uid) < len(self.all):
            self._choose()

    def _choose(self) -> None:
        """The live one, where a rename left another behind."""
        self.by_uid = {}
        for one in self.all:
            other = self.by_uid.get(one.uid)
            if other is None or one.lives or not other.lives:
                self.by_uid[one.uid] = one
            if other is not None:
                self._behind.append(other if self.by_uid[one.uid] is one else one)

    @property
    def is_plain(self) -> bool:
        """Whether every uid has one container at most."""
        return not self._behind

    @property
    def is_simple(self) -> bool:
        """Whether, beside, it is known of each whose it is."""
        return self.is_plain and "" not in self.by_uid

    def of(self, uids: Iterable[str]) -> list[Observed]:
        """All containers of these uids, by name."""
        wanted = set(uids)
        found = [self.by_uid[uid] for uid in wanted if uid in self.by_uid]
        found += [one for one in self._behind if one.uid in wanted]
        return sorted(found, key=operator.attrgetter("name"))

    def following(self, now: Sight) -> Work[Sight]:
        """`now`, with the objects that are here where nothing but what they use is another;
        this very object when that is all."""
        if len(self.all) == len(now.all) and self.is_simple and now.is_simple:
            moved: list[Observed] = []
            for old, one in zip(self.all, now.all, strict=True):
                yield
                if old is one or old.stands_as(one):
                    continue
                if (old.name, old.uid) != (one.name, one.uid):
                    break
                moved.append(one)
            else:
                return self._with(moved)
        known = {one.name: one for one in self.all}
        found: list[Observed] = []
        for one in now.all:
            yield
            before = known.get(one.name)
            found.append(one if before is None or not before.stands_as(one) else before)
        return Sight(found)

    def _with(self, news: list[Observed]) -> Sight:
        """The same containers, of which these are as told now."""
        if not news:
            return self
        made = copy(self)
        named = {one.name: one for one in news}
        made.all = tuple(named.get(one.name, one) for one in self.all)
        made.by_uid = {**self.by_uid, **{one.uid: one for one in news}}
        made.live = {**self.live, **named}
        for one in news:
            if not one.lives:
                del made.live[one.name]
        return made
