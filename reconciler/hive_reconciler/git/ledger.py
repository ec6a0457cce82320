"""The proposals: annotated tags that are created once and never moved or removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from ..model.proposal import Closed, Merged, Pinned, Proposal, standing
from ..model.records import (
    BadRecord,
    closed_message,
    parse_closed,
    parse_proposal,
    proposal_message,
)
from .durable import ANY, RefChange
from .errors import Conflict, NotFound, ReadFailed
from .history import History
from .numbered import NumberedRefs, PackedRefs
from .objects import Raw, object_id
from .store import CLOSED, PROPOSALS, STATUS, Store, host_name


class Ledger:
    """Reads and writes tags. A tag is parsed once. Used in the git thread only."""

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history
        self._pinned: dict[str, Pinned] = {}  # by the OID of the tag
        self._closed: dict[str, Closed] = {}
        self._told: dict[str, str] = {}
        self._status = f"{STATUS}{host_name()}/"
        folder = Path(store.repo.path)
        packed = PackedRefs(folder)
        self._proposals, self._endings, self._deployed = (
            NumberedRefs(folder, packed, prefix.rstrip("/"))
            for prefix in (PROPOSALS, CLOSED, self._status)
        )
        self._all: tuple[Proposal, ...] = ()
        self._of: tuple[object, ...] = ()  # what `_all` was made of

    # -- reading -----------------------------------------------------------------

    def all(self) -> Sequence[Proposal]:
        """Every proposal where it stands, the newest first. Raises ReadFailed."""
        pinned, endings = self._proposals.read(), self._endings.read()
        told, merges = self._deployed.read(), self._history.merges()
        of = (pinned, endings, told, merges)
        if len(self._of) != len(of) or any(a is not b for a, b in zip(of, self._of, strict=True)):
            closed = {n: self._ending(n, oid) for n, oid in endings.items()}
            said = {n: self._text(oid) for n, oid in told.items()}
            self._told = {oid: said[n] for n, oid in told.items()}  # not what they said before
            self._all = tuple(
                standing(self._pin(n, pinned[n]), merges, closed, said.get(n))
                for n in sorted(pinned, reverse=True)
            )
            self._of = of
        return self._all

    def one(self, n: int) -> Proposal:
        """Raises NotFound."""
        oid = self._store.ref(f"{PROPOSALS}{n}")
        if oid is None:
            raise NotFound(f"there is no proposal {n}; `hive proposals` lists them")
        ending = self._store.ref(f"{CLOSED}{n}")
        closed = {} if ending is None else {n: self._ending(n, ending)}
        return standing(self._pin(n, oid), self._history.merges(), closed, self.deployed(n))

    def merges(self) -> Mapping[int, Merged]:
        return self._history.merges()

    def ended(self) -> int:
        """How many are open no more."""
        return sum(proposal.state != "open" for proposal in self.all())

    def next_number(self) -> int:
        """Of no proposal, and of no ending that is left of a `pin_ended` which was cut short."""
        return max((*self._proposals.read(), *self._endings.read()), default=0) + 1

    def deployed(self, n: int) -> str | None:
        """What was last recorded of the deployment on this host."""
        oid = self._store.ref(f"{self._status}{n}")
        return None if oid is None else self._text(oid)

    # -- writing, under the lock ---------------------------------------------------

    def record(self, pinned: Pinned) -> bytes:
        """The tag object that makes it a proposal."""
        message = proposal_message(pinned)
        return self._store.tag_text(f"proposal/{pinned.n}", pinned.commit, message, pinned.created)

    def pin(self, n: int, record: str, objects: Sequence[tuple[str, Raw]]) -> None:
        """Make the tag object `record` proposal `n`, once `objects`, itself among them, are on
        disk. Raises Conflict when the number is taken."""
        self._store.land(objects, RefChange(f"{PROPOSALS}{n}", record, None))

    def pin_ended(
        self, n: int, record: str, objects: Sequence[tuple[str, Raw]], commit: str, ending: Closed
    ) -> None:
        """The same for one that has ended already: its end comes first, so that it is never open."""
        text = self._store.tag_text(f"closed/{n}", commit, closed_message(n, ending), ending.at)
        end = object_id(ObjectType.TAG, text)
        self._store.land(
            [*objects, (end, (ObjectType.TAG, text))],
            RefChange(f"{CLOSED}{n}", end, None),
            RefChange(f"{PROPOSALS}{n}", record, None),
        )

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
        data = text.encode(errors="replace")
        oid = object_id(ObjectType.BLOB, data)
        change = RefChange(f"{self._status}{n}", oid, ANY)
        self._store.land([(oid, (ObjectType.BLOB, data))], change)

    # -- tags ----------------------------------------------------------------------

    def _text(self, oid: str) -> str:
        known = self._told.get(oid)
        if known is None:
            try:
                known = self._store.repo[oid].peel(pygit2.Blob).data.decode()
            except (KeyError, ValueError, pygit2.GitError) as error:
                raise ReadFailed(f"blob {oid} cannot be read: {error}") from None
            self._told[oid] = known
        return known

    def _pin(self, n: int, oid: str) -> Pinned:
        known = self._pinned.get(oid)
        if known is None:
            target, message = self._tag(oid)
            try:
                known = parse_proposal(n, target, message)
            except BadRecord as error:
                raise ReadFailed(str(error)) from None
            self._pinned[oid] = known
        return known

    def _ending(self, n: int, oid: str) -> Closed:
        known = self._closed.get(oid)
        if known is None:
            try:
                known = parse_closed(n, self._tag(oid)[1])
            except BadRecord as error:
                raise ReadFailed(str(error)) from None
            self._closed[oid] = known
        return known

    def _tag(self, oid: str) -> tuple[str, str]:
        """What it names, and its message. Not by the object store's own reading, which also looks
        for a file of each packed object."""
        try:
            tag = self._store.repo[oid]
            if not isinstance(tag, pygit2.Tag):
                raise ValueError("it is no tag")
            return str(tag.target), tag.raw_message.decode()
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ReadFailed(f"tag {oid} cannot be read: {error}") from None
