"""hive.git as one object: the only door to desired state, proposals and their merges.

All git work runs in one thread; every method here may be awaited from the event loop.
Errors are those of `git.errors`: Refused, NotFound, Conflict, Busy for requests; ReadFailed
(with HistoryRewritten and UnrecordedCommit) where nothing may be concluded.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hive_wire.paths import Layout
from hive_wire.terms import NetworkMode

from ..model.desired import Desired
from ..model.proposal import Proposal, Requester
from ..model.swarm import ALL_NETWORKS, HostAbilities
from .acceptance import accept
from .candidates import Candidate, candidate
from .decide import Decisions
from .errors import Busy, HiveError, Refused
from .first import FirstCommit
from .importing import Fetch, Imported, collect, receive
from .inbox import Head, fetch_from, new_heads
from .intake import CHECKS, Submitted
from .jailer import Jail
from .repositories import Repositories, open_repositories
from .retired import Retired, RetiredAgents
from .submit import NewAgent, PowerAction, Submissions
from .thread import GitThread
from .undo import Undo
from .views import Filter, Part, Views
from .watch import Watch

log = logging.getLogger(__name__)

IMPORTS = 2  # packs at once


class Hive:
    """Use `await Hive.open(...)`; `close` ends the thread."""

    def __init__(self, thread: GitThread, repositories: Repositories) -> None:
        self._thread = thread
        self._all = repositories
        self._decisions = Decisions(repositories)
        self._submissions = Submissions(repositories, self._decisions)
        self._undo = Undo(repositories, self._decisions)
        self._views = Views(repositories, self._decisions)
        self._retired = RetiredAgents(repositories)
        self._imports = asyncio.Semaphore(IMPORTS)
        self._jail = Jail()
        self._inbox = asyncio.Lock()
        self._no_room: set[tuple[str, str]] = set()  # heads of inbox.git, until a proposal ends
        self._ended = 0
        self._watch: Watch | None = None

    @classmethod
    async def open(
        cls,
        layout: Layout,
        *,
        runtime_reads_nix: bool,
        networks: frozenset[NetworkMode] = ALL_NETWORKS,
        first: FirstCommit | None = None,
    ) -> Hive:
        """Open the repositories of `layout`, making them with `first` where there are none.

        A proposal that wants a network outside of `networks` is refused: no start would succeed.
        `created` then tells whether they are new. Raises ReadFailed, Refused.
        """
        thread = GitThread()
        try:
            found = await thread.run(
                open_repositories,
                layout,
                first or FirstCommit(),
                HostAbilities(runtime_reads_nix, networks),
            )
        except BaseException:
            await asyncio.to_thread(thread.close)
            raise
        return cls(thread, found)

    async def close(self) -> None:
        """Stop watching, finish what runs."""
        if self._watch is not None:
            await asyncio.to_thread(self._watch.stop)
        await self._jail.close()
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
        return await self._thread.run(self._views.read, rev)

    async def accept(self, oid: str, who: str, why: str) -> None:
        """Take over the present tip although its history is not recorded or was rewritten.

        Raises Refused when `oid` is not the tip or one of its first-parent ancestors, or when
        its tree cannot be used.
        """
        await self._thread.run(accept, self._all, oid, who, why)

    async def retired(self, after: str | None = None) -> tuple[Retired, ...]:
        """Retired agents whose state is kept, the latest first; those behind the uid `after`."""
        return await self._thread.run(self._retired.kept, after)

    @asynccontextmanager
    async def purging(self, agent: str) -> AsyncIterator[tuple[str, ...]]:
        """The uids of retired agents of that name or uid. As long as it lasts no merge brings
        one of them back."""
        uids = await self._thread.run(self._retired.let_go, agent)
        try:
            yield uids
        finally:
            await self._thread.run(self._all.going.difference_update, uids)

    # -- proposals ---------------------------------------------------------------

    async def proposals(
        self, state: Filter | None = None, limit: int = 100, before: int | None = None
    ) -> tuple[Proposal, ...]:
        """The newest first, of those with numbers less than `before`. Ended ones come without
        effect."""
        return await self._thread.run(self._views.newest, state, limit, before)

    async def proposal(self, n: int) -> Proposal:
        """With its effect: on the present tip while open, else as it was. Raises NotFound."""
        return await self._thread.run(self._views.one, n)

    async def diff(self, n: int) -> list[dict[str, Any]]:
        """Per file as docs/protocol.md has it, made from blobs alone. Raises NotFound."""
        return await self._thread.run(self._views.diff, n)

    async def part(self, n: int, part: Part, after: int) -> dict[str, Any]:
        """A page of one part of what there is to see, whole. Raises NotFound."""
        return await self._thread.run(self._views.part, n, part, after)

    async def preview(self, n: int) -> Desired | None:
        """The desired state after merging `n`, for the live plan; None when it needs a rebase."""
        return await self._thread.run(self._views.preview, n)

    async def candidate(self, n: int) -> Candidate | None:
        """What Nix is to evaluate for `n`; None when it touches no Nix, or is not open."""
        return await self._thread.run(candidate, self._all, self._decisions, n)

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
        key: str = "",
    ) -> Submitted:
        """Ask for a new agent. `settings` are dotted keys of agent.toml. The same requester and
        `key` again is the same wish, here and below. Raises Refused, Busy."""
        new = NewAgent(name, description, prompt, template, settings or {}, key)
        return await self._thread.run(self._submissions.spawn, requester, new)

    async def submit_commit(
        self,
        requester: Requester,
        agent: str,
        commit: str,
        description: str,
        fetch: Fetch,
        *,
        key: str = "",
    ) -> Submitted:
        """Ask to merge a commit that changes `agent` only. `commit` is what the requester
        named; `fetch` brings it. What fails the checks is recorded as rejected.
        Raises Refused, Busy, and what `fetch` raises."""
        tip = await self._thread.run(self._submissions.may_submit, requester, agent, key)
        if isinstance(tip, Submitted):
            return tip
        ask = functools.partial(self._submissions.commit, requester, agent, description, key)
        try:
            return await self._import(commit, tip, fetch, ask)
        finally:
            self._jail.make_ready()

    async def submit_revert(
        self, requester: Requester, what: int | str, reason: str = ""
    ) -> Submitted:
        """Ask to undo a merge: the number of its proposal, or its commit (7-40 hex digits).
        Raises Refused when later merges touched the same, NotFound."""
        return await self._thread.run(self._undo.revert, requester, what, reason)

    async def submit_rollback(
        self, requester: Requester, agent: str, commit: str, reason: str = ""
    ) -> Submitted:
        """Ask to bring one agent to what it was at an earlier commit of `applied`."""
        return await self._thread.run(self._undo.rollback, requester, agent, commit, reason)

    async def submit_revive(self, requester: Requester, agent: str) -> Submitted:
        """Ask for a retired agent to come back, with its uid. Raises Refused, NotFound."""
        return await self._thread.run(self._undo.revive, requester, agent)

    async def auto_revert(self, n: int, why: str) -> Submitted | None:
        """Revert `n`, whose deploy failed, if `[policy] auto_revert` says so; else None.
        Raises Refused or Conflict when it cannot be reverted by itself."""
        return await self._thread.run(self._undo.auto_revert, n, why)

    async def import_inbox(self) -> tuple[Submitted, ...]:
        """Bring in heads of inbox.git that no proposal knows. Refusals are recorded, too."""
        done = []
        async with self._inbox:  # a head that is on its way in is no new one
            if self._ended != (ended := await self._thread.run(self._all.ledger.ended)):
                self._no_room.clear()
            seen = frozenset(self._no_room)
            for head in await self._thread.run(new_heads, self._all, seen):
                try:
                    done.append(await self._import_head(head))
                    self._jail.make_ready()
                except HiveError as error:
                    log.warning("inbox.git: proposed/%s: %s", head.topic, error.message)
                    if isinstance(error, Busy):  # others pass: it is tried at the next look
                        self._no_room.add((head.topic, head.commit))
            self._ended = ended + sum(one.state == "rejected" for one in done)
        return tuple(done)

    async def submit_power(
        self,
        requester: Requester,
        agent: str,
        action: PowerAction,
        reason: str = "",
        *,
        key: str = "",
    ) -> Submitted:
        """Ask for state or restarts to change; the policy may merge it at once.
        A user's own request is merged with that user as approver. Raises Refused, NotFound."""
        return await self._thread.run(
            self._submissions.power, requester, agent, action, reason, key
        )

    async def submit_allow(self, requester: Requester, agent: str, rule: str) -> Submitted:
        """Ask for one more rule in the agent's `tools.allow`. Raises Refused, NotFound."""
        return await self._thread.run(self._submissions.allow, requester, agent, rule)

    async def submit_retire(self, requester: Requester, agent: str, reason: str = "") -> Submitted:
        """Ask to remove an agent. Raises Refused, NotFound."""
        return await self._thread.run(self._submissions.retire, requester, agent, reason)

    # -- decisions ---------------------------------------------------------------

    async def approve(
        self, n: int, effect_digest: str, by: str, allow_prune: int = 0, signature: str = ""
    ) -> str:
        """Merge `n` if its effect is still `effect_digest`; the OID of the merge. A signature
        is one of `approval.sign`.

        Raises Conflict with data {effect, digest, changed} when it is another effect, with
        data {conflicts} when it does not merge, without data when it has ended; Refused when
        a check or the policy forbids it; NotFound.
        """
        return await self._thread.run(
            self._decisions.approve, n, effect_digest, by, allow_prune, signature
        )

    async def deny(self, n: int, reason: str, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound."""
        return await self._thread.run(self._decisions.end, n, "denied", reason, by)

    async def reject(self, n: int, reason: str) -> Proposal:
        """A check that takes its time found something. Raises Conflict, NotFound."""
        return await self._thread.run(self._decisions.end, n, "rejected", reason, CHECKS)

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

    # -- inside --------------------------------------------------------------------

    async def _import(
        self, commit: str, tip: str, fetch: Fetch, ask: Callable[[Imported], Submitted]
    ) -> Submitted:
        """What becomes of a commit that `fetch` brings; `ask` proposes it, in the git thread."""
        async with self._imports:
            oid, brought = await receive(self._jail, commit, (tip,), fetch)

            def taken() -> Submitted:
                return ask(collect(self._all.trees, self._all.store.repo, brought, oid, tip))

            return await self._thread.run(taken)

    async def _import_head(self, head: Head) -> Submitted:
        tip = await self._thread.run(self._all.history.verified_tip)
        layout = self._all.layout
        fetch = fetch_from(
            self._jail, layout.inbox_git, head.gid, layout.hive_git / "objects", head.commit
        )
        ask = functools.partial(self._submissions.head, head)
        try:
            return await self._import(head.commit, tip, fetch, ask)
        except Refused as error:
            return await self._thread.run(self._submissions.refuse_head, head, error.message)
