"""hive.git as one object: the only door to desired state, proposals and their merges.

All git work runs in one thread; every method here may be awaited from the event loop.
Errors are those of `git.errors`: Refused, NotFound, Conflict, Busy for requests; ReadFailed
(with HistoryRewritten and UnrecordedCommit) where nothing may be concluded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pygit2

from hive_wire.paths import Layout

from ..model.desired import Desired
from ..model.proposal import Proposal, Requester, State
from .errors import NotFound, ReadFailed
from .first import FirstCommit
from .open import Repositories, open_repositories
from .thread import GitThread

PowerAction = Literal["start", "stop", "restart"]
Filter = Literal["open", "closed", "merged"]


class Fetch(Protocol):
    """Brings a commit: writes the bytes of a pack that lacks what `have` lists.

    Returns the full OID of the commit. Whatever it raises reaches the caller of
    `submit_commit`, and nothing of the pack is kept.
    """

    async def __call__(
        self, have: tuple[str, ...], write: Callable[[bytes], Awaitable[None]]
    ) -> str: ...


@dataclass(frozen=True)
class Submitted:
    """What became of a request. `message` is for the requester."""

    n: int
    state: State  # open, merged or rejected
    message: str
    commit: str | None = None  # the merge, if state is merged


class Hive:
    """Use `await Hive.open(...)`; `close` ends the thread."""

    def __init__(self, thread: GitThread, repositories: Repositories) -> None:
        self._thread = thread
        self._all = repositories

    @classmethod
    async def open(
        cls, layout: Layout, *, runtime_reads_nix: bool, first: FirstCommit | None = None
    ) -> Hive:
        """Open the repositories of `layout`, making them with `first` where there are none.

        `created` then tells whether they are new. Raises ReadFailed, Refused.
        """
        thread = GitThread()
        try:
            found = await thread.run(
                open_repositories, layout, first or FirstCommit(), runtime_reads_nix
            )
        except BaseException:
            thread.close()
            raise
        return cls(thread, found)

    async def close(self) -> None:
        """Stop watching, finish what runs."""
        self._thread.close()

    @property
    def created(self) -> bool:
        """Whether `open` made hive.git anew."""
        return self._all.created

    # -- desired state -----------------------------------------------------------

    async def tip(self) -> str:
        """What `applied` points to, unverified. Cheap. Raises ReadFailed."""
        return await self._thread.run(self._all.history.tip)

    async def read(self, rev: str | None = None) -> Desired:
        """The desired state of `applied`, or of `rev` (OID, ref or `applied~2`) for a dry run.

        Raises ReadFailed when anything but a single agent cannot be read; HistoryRewritten,
        UnrecordedCommit when `applied` is not to be followed. NotFound for an unknown `rev`.
        """
        return await self._thread.run(self._read, rev)

    async def accept(self, oid: str, who: str, why: str) -> None:
        """Take over the present tip although its history is not recorded or was rewritten.

        Raises Refused when `oid` is not the tip or one of its first-parent ancestors, or when
        its tree cannot be used.
        """
        raise NotImplementedError

    # -- proposals ---------------------------------------------------------------

    async def proposals(
        self, state: Filter | None = None, limit: int = 100
    ) -> tuple[Proposal, ...]:
        """The newest first. Ended ones come without effect."""
        raise NotImplementedError

    async def proposal(self, n: int) -> Proposal:
        """With its effect: on the present tip while open, else as it was. Raises NotFound."""
        raise NotImplementedError

    async def diff(self, n: int) -> list[dict[str, Any]]:
        """Per file as docs/protocol.md has it, made from blobs alone. Raises NotFound."""
        raise NotImplementedError

    async def preview(self, n: int) -> Desired | None:
        """The desired state after merging `n`, for the live plan; None when it needs a rebase."""
        raise NotImplementedError

    # -- requests ----------------------------------------------------------------

    async def submit_spawn(
        self,
        requester: Requester,
        name: str,
        description: str,
        *,
        prompt: str | None = None,
        template: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Submitted:
        """Ask for a new agent. `settings` are dotted keys of agent.toml. Raises Refused, Busy."""
        raise NotImplementedError

    async def submit_commit(
        self, requester: Requester, agent: str, commit: str, description: str, fetch: Fetch
    ) -> Submitted:
        """Ask to merge a commit that changes `agent` only. `commit` is what the requester
        named; `fetch` brings it. What fails the checks is recorded as rejected.
        Raises Refused, Busy, and what `fetch` raises."""
        raise NotImplementedError

    async def submit_power(
        self, requester: Requester, agent: str, action: PowerAction, reason: str = ""
    ) -> Submitted:
        """Ask for state or restarts to change; the policy may merge it at once.
        A user's own request is merged with that user as approver. Raises Refused, NotFound."""
        raise NotImplementedError

    async def submit_retire(self, requester: Requester, agent: str, reason: str = "") -> Submitted:
        """Ask to remove an agent. Raises Refused, NotFound."""
        raise NotImplementedError

    # -- decisions ---------------------------------------------------------------

    async def approve(self, n: int, effect_digest: str, by: str, allow_prune: int = 0) -> str:
        """Merge `n` if its effect is still `effect_digest`; the OID of the merge.

        Raises Conflict with data {effect, digest, changed} when it is another effect, with
        data {conflicts} when it does not merge, without data when it has ended; Refused when
        a check or the policy forbids it; NotFound.
        """
        raise NotImplementedError

    async def deny(self, n: int, reason: str, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound."""
        raise NotImplementedError

    async def withdraw(self, n: int, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound."""
        raise NotImplementedError

    async def sweep(self) -> tuple[Proposal, ...]:
        """End what is older than `[policy] expire_days`; what was ended now."""
        raise NotImplementedError

    async def set_deployed(self, n: int, text: str) -> None:
        """Record as an observation how the merge of `n` went on this host."""
        raise NotImplementedError

    # -- hints -------------------------------------------------------------------

    async def watch(self, on_hint: Callable[[], None]) -> None:
        """Call `on_hint` in this loop some 50 ms after refs moved. A hint may be missed or
        be about nothing: compare `tip()`, also without one. Call it again at each resync."""
        raise NotImplementedError

    # -- in the git thread -------------------------------------------------------

    def _read(self, rev: str | None) -> Desired:
        all_ = self._all
        if rev is None:
            oid = all_.history.verified_tip()
        else:
            oid = self._resolve(rev)
        commit = all_.store.commit(oid)
        merge = all_.history.merge_of(oid)
        return all_.reader.desired(oid, str(commit.tree_id), merge.allow_prune if merge else 0)

    def _resolve(self, rev: str) -> str:
        try:
            found = self._all.store.repo.revparse_single(rev)
            return str(found.peel(pygit2.Commit).id)
        except (KeyError, ValueError, TypeError) as error:
            raise NotFound(f"{rev[:80]!r} names no commit in hive.git: {error}") from None
        except OSError as error:
            raise ReadFailed(f"{rev[:80]!r} cannot be read: {error}") from None
