"""Agents that were and are no more, while their state is still on the disk."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from hive_wire.names import is_uid

from .errors import Conflict, ReadFailed
from .repositories import Repositories
from .trees import EMPTY


@dataclass(frozen=True)
class Retired:
    """`commit` is the last of `applied` that had the agent; `at` is when the next one came."""

    name: str
    uid: str
    description: str
    commit: str
    at: float  # unix seconds


class RetiredAgents:
    """Used in the git thread; the history is walked once for each tip."""

    def __init__(self, all_: Repositories) -> None:
        self._all = all_
        self._tip = ""
        self._known: tuple[Retired, ...] = ()

    def kept(self, after: str | None = None) -> tuple[Retired, ...]:
        """Those whose state is kept, the latest first; behind the uid `after`, kept or not.

        Raises Conflict when nobody of that uid is retired.
        """
        tip = self._all.history.tip()
        if tip != self._tip:
            latest: dict[str, Retired] = {}
            for retired in self._walk(tip):
                latest.setdefault(retired.uid, retired)  # it may have had other names
            self._known, self._tip = tuple(latest.values()), tip
        uids = [r.uid for r in self._known]
        if after is not None and after not in uids:
            raise Conflict(f"{after} is not retired any more: list them anew")
        behind = self._known[0 if after is None else uids.index(after) + 1 :]
        return tuple(r for r in behind if self._all.keeps(r.uid))

    def let_go(self, agent: str) -> tuple[str, ...]:
        """The uids of those of that name or uid. From now on nothing is kept of them."""
        uids = tuple(r.uid for r in self.kept() if agent in (r.name, r.uid))
        self._all.going.update(uids)
        return uids

    def _walk(self, tip: str) -> list[Retired]:
        found: list[Retired] = []
        seen: set[str] = set()
        newer = 0.0
        with self._all.trees.scratch():
            for oid in self._all.history.first_parents(tip):
                commit = self._all.store.commit(oid)
                folder = self._all.trees.subtree(self._all.store.tree_of(oid), "agents")
                names = self._all.trees.entries(folder) if folder != EMPTY else {}
                gone = names.keys() - seen if oid != tip else set()
                found += filter(None, (self._one(folder, name, oid, newer) for name in gone))
                seen |= names.keys()
                newer = float(commit.commit_time)
        return found

    def _one(self, folder: str, name: str, oid: str, at: float) -> Retired | None:
        try:
            raw = tomllib.loads(
                (self._all.trees.file(folder, f"{name}/agent.toml") or b"").decode()
            )
        except (ReadFailed, ValueError, RecursionError):
            return None
        uid = str(raw.get("uid", ""))
        if not is_uid(uid):
            return None
        return Retired(name, uid, str(raw.get("description", "")), oid, at)
