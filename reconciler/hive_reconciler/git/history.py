"""The first-parent history of `applied`: the audit log, and what it says about proposals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pygit2

from ..model.proposal import Merged
from ..model.records import BadRecord, Merge, merged, parse_merge
from .durable import ANY, RefChange
from .errors import HistoryRewritten, ReadFailed, UnrecordedCommit
from .signing import HostKey
from .store import ACCEPTED, APPLIED, PROPOSALS, STATUS, Store, host_name


class History:
    """Follows `applied`; each commit is looked at once. Used in the git thread only."""

    def __init__(self, store: Store, key: HostKey) -> None:
        self._store = store
        self._key = key
        self._applied_ref = f"{STATUS}{host_name()}/applied"
        self._verified: str | None = None
        self._merges: dict[int, Merged] = {}
        self._scanned: str | None = None

    def tip(self) -> str:
        """What `applied` points to. Raises ReadFailed."""
        oid = self._store.ref(APPLIED)
        if oid is None:
            raise ReadFailed(
                f"{self._store.repo.path} has no branch applied; restore it from a backup"
            )
        return oid

    def last_applied(self) -> str | None:
        """The last tip that was taken over on this host."""
        return self._store.ref(self._applied_ref)

    def verified_tip(self) -> str:
        """The tip, if it may be applied. Raises HistoryRewritten, UnrecordedCommit, ReadFailed."""
        tip = self.tip()
        last = self.last_applied()
        if tip == last == self._verified:
            return tip
        if last is not None and tip != last and not self._descends(tip, last):
            raise HistoryRewritten(tip, last)
        self._check_recorded(tip, last)
        self._verified = tip
        if tip != last:
            self.take_over(tip)
        return tip

    def made(self, merge: str) -> None:
        """The new tip is ours, on top of a verified one: it needs no check."""
        self._verified = merge

    def take_over(self, tip: str) -> None:
        """Remember `tip` as the last applied one of this host."""
        self._store.land((), self.taking_over(tip))

    def taking_over(self, tip: str) -> RefChange:
        """What remembers it."""
        return RefChange(self._applied_ref, tip, ANY)

    def merges(self) -> Mapping[int, Merged]:
        """{proposal: its merge} for the whole first-parent history."""
        tip = self.tip()
        if tip != self._scanned:
            found = self._scan(tip, self._scanned)
            self._merges = found if self._scanned is None else {**self._merges, **found}
            self._scanned = tip
        return self._merges

    def merge_of(self, commit: str) -> Merge | None:
        """The trailers of a recorded merge, None for any other commit."""
        found = self._store.commit(commit)
        try:
            return parse_merge(found.message) if len(found.parent_ids) == 2 else None
        except BadRecord:
            return None

    def first_parents(self, tip: str) -> Iterator[str]:
        """The first-parent history of `tip`, newest first, as far as it is asked for."""
        yield tip
        while parents := self._store.commit(tip).parent_ids:
            tip = str(parents[0])
            yield tip

    def recorded(self, commit: pygit2.Commit) -> Merge:
        """The record of a merge that some proposal's tag backs. Raises BadRecord, ReadFailed."""
        if len(commit.parent_ids) != 2:
            raise BadRecord("it is no merge")
        merge = parse_merge(commit.message)
        tag = self._store.ref(f"{PROPOSALS}{merge.proposal}")
        if tag is None:
            raise BadRecord(f"there is no proposal {merge.proposal}")
        if self._store.commit(tag).id != commit.parent_ids[1]:
            raise BadRecord(f"it merges another commit than proposal {merge.proposal}")
        return merge

    def _check_recorded(self, tip: str, last: str | None) -> None:
        """Every first-parent commit down to `last`; without that, down to an accepted one."""
        oid = tip
        while oid != last:
            commit = self._store.commit(oid)
            if self._store.ref(f"{ACCEPTED}{oid}") is not None:
                if last is None:
                    return
            else:
                try:
                    self.recorded(commit)
                    wrong = self._key.verify(commit)
                    if wrong:
                        raise BadRecord(wrong)
                except BadRecord as error:
                    raise UnrecordedCommit(oid, str(error)) from None
            if not commit.parent_ids:
                raise HistoryRewritten(tip, last or "")
            oid = str(commit.parent_ids[0])

    def _scan(self, tip: str, stop: str | None) -> dict[int, Merged]:
        found: dict[int, Merged] = {}
        oid: str | None = tip
        while oid is not None and oid != stop:
            commit = self._store.commit(oid)
            try:
                record = self.recorded(commit)
                found[record.proposal] = merged(record, oid, float(commit.commit_time))
            except BadRecord:
                pass  # an accepted commit: it ended no proposal
            oid = str(commit.parent_ids[0]) if commit.parent_ids else None
        if oid is None and stop is not None:
            self._merges = {}  # history was rewritten: what was merged is what is there now
        return found

    def _descends(self, tip: str, last: str) -> bool:
        try:
            return bool(self._store.repo.descendant_of(pygit2.Oid(hex=tip), pygit2.Oid(hex=last)))
        except (KeyError, pygit2.GitError):
            return False
