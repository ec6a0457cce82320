"""The proposals: annotated tags that are created once and never moved or removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pygit2

from ..model.proposal import Closed, Merged, Pinned, Proposal, standing
from ..model.records import (
    BadRecord,
    closed_message,
    parse_closed,
    parse_proposal,
    proposal_message,
)
from .errors import Conflict, NotFound, ReadFailed
from .history import History
from .store import CLOSED, PROPOSALS, STATUS, Store, host_name


class Ledger:
    """Reads and writes tags. A tag is parsed once. Used in the git thread only."""

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history
        self._pinned: dict[str, Pinned] = {}  # by the OID of the tag
        self._closed: dict[str, Closed] = {}
        self._status = f"{STATUS}{host_name()}/"

    # -- reading -----------------------------------------------------------------

    def all(self) -> list[Proposal]:
        """Every proposal where it stands, the newest first. Raises ReadFailed."""
        merges = self._history.merges()
        pinned = self._numbered(PROPOSALS)
        closed = {n: self._ending(n, oid) for n, oid in self._numbered(CLOSED).items()}
        told = self._numbered(self._status)
        return [
            replace(
                standing(self._pin(n, pinned[n]), merges, closed),
                deployed=self.deployed(n) if n in told else None,
            )
            for n in sorted(pinned, reverse=True)
        ]

    def one(self, n: int) -> Proposal:
        """Raises NotFound."""
        oid = self._store.ref(f"{PROPOSALS}{n}")
        if oid is None:
            raise NotFound(f"there is no proposal {n}; `hive proposals` lists them")
        ending = self._store.ref(f"{CLOSED}{n}")
        closed = {} if ending is None else {n: self._ending(n, ending)}
        return standing(self._pin(n, oid), self._history.merges(), closed)

    def merges(self) -> Mapping[int, Merged]:
        return self._history.merges()

    def next_number(self) -> int:
        return max(self._numbered(PROPOSALS), default=0) + 1

    def deployed(self, n: int) -> str | None:
        """What was last recorded of the deployment on this host."""
        oid = self._store.ref(f"{self._status}{n}")
        return None if oid is None else self._store.repo[oid].peel(pygit2.Blob).data.decode()

    # -- writing, under the lock ---------------------------------------------------

    def record(self, pinned: Pinned) -> bytes:
        """The tag object that makes it a proposal."""
        message = proposal_message(pinned)
        return self._store.tag_text(f"proposal/{pinned.n}", pinned.commit, message, pinned.created)

    def pin(self, n: int, record: str) -> None:
        """Make the tag object `record`, which is on disk, proposal `n`. Raises Conflict when the
        number is taken."""
        self._store.create_ref(f"{PROPOSALS}{n}", record)

    def close(self, proposal: Proposal, ending: Closed) -> Proposal:
        """End an open proposal. Raises Conflict when it has ended."""
        self.must_be_open(proposal)
        message = closed_message(proposal.n, ending)
        self._store.tag(f"closed/{proposal.n}", proposal.pinned.commit, message, ending.at)
        return standing(proposal.pinned, {}, {proposal.n: ending})

    def must_be_open(self, proposal: Proposal) -> None:
        """Raises Conflict."""
        if proposal.state != "open":
            by = f" by {proposal.by}" if proposal.by else ""
            raise Conflict(f"proposal {proposal.n} is {proposal.state} already{by}")

    def set_deployed(self, n: int, text: str) -> None:
        oid = self._store.write_blob(text.encode(errors="replace"))
        self._store.put_ref(f"{self._status}{n}", oid)

    # -- tags ----------------------------------------------------------------------

    def _numbered(self, prefix: str) -> dict[int, str]:
        return {int(n): oid for n, oid in self._store.refs(prefix).items() if n.isdecimal()}

    def _pin(self, n: int, oid: str) -> Pinned:
        known = self._pinned.get(oid)
        if known is None:
            tag = self._tag(oid)
            try:
                known = parse_proposal(n, str(tag.target), tag.message or "")
            except BadRecord as error:
                raise ReadFailed(str(error)) from None
            self._pinned[oid] = known
        return known

    def _ending(self, n: int, oid: str) -> Closed:
        known = self._closed.get(oid)
        if known is None:
            try:
                known = parse_closed(n, self._tag(oid).message or "")
            except BadRecord as error:
                raise ReadFailed(str(error)) from None
            self._closed[oid] = known
        return known

    def _tag(self, oid: str) -> pygit2.Tag:
        try:
            return self._store.repo[oid].peel(pygit2.Tag)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ReadFailed(f"tag {oid} cannot be read: {error}") from None
