"""hive.git as one object: the only door to desired state, proposals and their merges.

All git work runs in one thread; every method here may be awaited from the event loop.
Errors are those of `git.errors`: Refused, NotFound, Conflict, Busy for requests; ReadFailed
(with HistoryRewritten and UnrecordedCommit) where nothing may be concluded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pygit2

from hive_wire.paths import Layout

from ..model.desired import Desired
from ..model.proposal import Proposal, Requester
from .acceptance import accept
from .decide import Decisions
from .diffs import diff_json
from .errors import NotFound, ReadFailed
from .first import FirstCommit
from .importing import Fetch, Quarantine, collect
from .intake import Submitted
from .previews import Conflicts
from .repositories import Repositories, open_repositories
from .submit import NewAgent, PowerAction, Submissions
from .thread import GitThread
from .watch import Watch

Filter = Literal["open", "closed", "merged"]


class Hive:
    """Use `await Hive.open(...)`; `close` ends the thread."""

    def __init__(self, thread: GitThread, repositories: Repositories) -> None:
        self._thread = thread
        self._all = repositories
        self._decisions = Decisions(repositories)
        self._submissions = Submissions(repositories, self._decisions)
        self._watch: Watch | None = None

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
            await asyncio.to_thread(thread.close)
            raise
        return cls(thread, found)

    async def close(self) -> None:
        """Stop watching, finish what runs."""
        if self._watch is not None:
            await asyncio.to_thread(self._watch.stop)
        await asyncio.to_thread(self._thread.close)

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
        await self._thread.run(accept, self._all, oid, who, why)

    # -- proposals ---------------------------------------------------------------

    async def proposals(
        self, state: Filter | None = None, limit: int = 100
    ) -> tuple[Proposal, ...]:
        """The newest first. Ended ones come without effect."""
        return await self._thread.run(self._list, state, limit)

    async def proposal(self, n: int) -> Proposal:
        """With its effect: on the present tip while open, else as it was. Raises NotFound."""
        return await self._thread.run(self._one, n)

    async def diff(self, n: int) -> list[dict[str, Any]]:
        """Per file as docs/protocol.md has it, made from blobs alone. Raises NotFound."""
        return await self._thread.run(self._diff, n)

    async def preview(self, n: int) -> Desired | None:
        """The desired state after merging `n`, for the live plan; None when it needs a rebase."""
        return await self._thread.run(self._preview, n)

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
        new = NewAgent(name, description, prompt, template, settings or {})
        return await self._thread.run(self._submissions.spawn, requester, new)

    async def submit_commit(
        self, requester: Requester, agent: str, commit: str, description: str, fetch: Fetch
    ) -> Submitted:
        """Ask to merge a commit that changes `agent` only. `commit` is what the requester
        named; `fetch` brings it. What fails the checks is recorded as rejected.
        Raises Refused, Busy, and what `fetch` raises."""
        tip = await self._thread.run(self._submissions.may_submit, requester, agent)
        async with Quarantine(self._all.layout.reconciler, self._all.layout.hive_git) as quarantine:
            oid = await quarantine.receive(commit, (tip,), fetch)
            imported = await self._thread.run(
                collect, quarantine.path, self._all.store.repo, oid, tip
            )
        return await self._thread.run(
            self._submissions.commit, requester, agent, imported, description
        )

    async def submit_power(
        self, requester: Requester, agent: str, action: PowerAction, reason: str = ""
    ) -> Submitted:
        """Ask for state or restarts to change; the policy may merge it at once.
        A user's own request is merged with that user as approver. Raises Refused, NotFound."""
        return await self._thread.run(self._submissions.power, requester, agent, action, reason)

    async def submit_retire(self, requester: Requester, agent: str, reason: str = "") -> Submitted:
        """Ask to remove an agent. Raises Refused, NotFound."""
        return await self._thread.run(self._submissions.retire, requester, agent, reason)

    # -- decisions ---------------------------------------------------------------

    async def approve(self, n: int, effect_digest: str, by: str, allow_prune: int = 0) -> str:
        """Merge `n` if its effect is still `effect_digest`; the OID of the merge.

        Raises Conflict with data {effect, digest, changed} when it is another effect, with
        data {conflicts} when it does not merge, without data when it has ended; Refused when
        a check or the policy forbids it; NotFound.
        """
        return await self._thread.run(self._decisions.approve, n, effect_digest, by, allow_prune)

    async def deny(self, n: int, reason: str, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound."""
        return await self._thread.run(self._decisions.end, n, "denied", reason, by)

    async def withdraw(self, n: int, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound."""
        return await self._thread.run(self._decisions.end, n, "withdrawn", "", by)

    async def sweep(self) -> tuple[Proposal, ...]:
        """End what is older than `[policy] expire_days`; what was ended now."""
        return await self._thread.run(self._decisions.sweep, time.time())

    async def set_deployed(self, n: int, text: str) -> None:
        """Record as an observation how the merge of `n` went on this host."""
        await self._thread.run(self._all.ledger.set_deployed, n, text)

    # -- hints -------------------------------------------------------------------

    async def watch(self, on_hint: Callable[[], None]) -> None:
        """Call `on_hint` in this loop some 50 ms after refs moved. A hint may be missed or
        be about nothing: compare `tip()`, also without one. Call it again at each resync."""
        if self._watch is None:
            self._watch = Watch((self._all.layout.hive_git, self._all.layout.inbox_git), on_hint)
        await asyncio.to_thread(self._watch.start)

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

    def _list(self, state: Filter | None, limit: int) -> tuple[Proposal, ...]:
        found = [p for p in self._all.ledger.all() if _matches(p, state)][:limit]
        with self._all.trees.scratch():
            return tuple(self._decisions.with_effect(p) if p.state == "open" else p for p in found)

    def _one(self, n: int) -> Proposal:
        with self._all.trees.scratch():
            return self._decisions.with_effect(self._all.ledger.one(n))

    def _diff(self, n: int) -> list[dict[str, Any]]:
        with self._all.trees.scratch():
            proposal = self._all.ledger.one(n)
            step = self._decisions.seen(proposal)
            if isinstance(step, Conflicts):
                step = self._decisions.as_proposed(proposal)
            return [] if step is None else diff_json(step.changes)

    def _preview(self, n: int) -> Desired | None:
        with self._all.trees.scratch():
            return self._decisions.desired_after(self._all.ledger.one(n))


def _matches(proposal: Proposal, wanted: Filter | None) -> bool:
    if wanted == "closed":
        return proposal.state not in ("open", "merged")
    return wanted is None or proposal.state == wanted
