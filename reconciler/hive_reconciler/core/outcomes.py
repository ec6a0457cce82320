"""What requesters and the manager are told. Every message has a key, so twice told is once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from ..git.errors import HiveError
from ..git.hive import Hive
from ..model.proposal import Proposal
from .broker import Broker
from .files import write_atomically

log = logging.getLogger(__name__)

LOOK_BACK = 200  # proposals
WORDS_MAX = 2000  # characters
PULL = "git -C /hive pull --no-rebase --no-edit applied applied"
LEAVE = (
    "Your commit stays in your clone. Begin the next one without it, on a branch of its own from "
    "what is applied:\ngit -C /hive fetch applied\ngit -C /hive switch -c TOPIC applied/applied"
)
STUCK = (
    "If it stops at a conflict with what is not applied, `git -C /hive merge --abort` and begin "
    "on a branch of its own: git -C /hive switch -c TOPIC applied/applied"
)


@dataclass(frozen=True)
class Stand:
    """How one agent stands after a round."""

    present: bool = True  # in the applied commit
    stopped: bool = False  # it is to be stopped, and is
    ready: bool = False  # it runs what is applied, and said hello
    failed: str | None = None  # why what is applied does not come up


@dataclass(frozen=True)
class Standing:
    """How the swarm stands after a round."""

    commit: str
    manager: str | None  # its name
    name_of: Callable[[str], str | None]  # by uid
    stand: Callable[[str], Stand]  # by name


@dataclass(frozen=True)
class Crash:
    """A container ended by itself: the `count`th time in 10 minutes, at `at` (unix seconds)."""

    name: str
    uid: str
    at: float
    count: int
    status: str  # "", or words that follow "ended by itself"


@dataclass(frozen=True)
class _Message:
    to: str
    kind: str
    body: str
    data: dict[str, Any]
    key: str


@dataclass
class _Told:
    """What was said already. Losable: the broker drops what comes under a known key."""

    applied: str | None = None
    proposals: set[int] = field(default_factory=set)


class Outcomes:
    def __init__(self, hive: Hive, broker: Broker, file: Path) -> None:
        self._hive = hive
        self._broker = broker
        self._file = file
        self._told = _Told()
        self._loaded = False
        self._is_saved = True
        self._look = True
        self._undeployed: list[Proposal] = []
        self._crashes: list[Crash] = []

    def look(self) -> None:
        """Proposals may have changed: read them at the next round."""
        self._look = True

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be said that the present standing could bring about."""
        due = self._look or self._undeployed or self._crashes
        return self._loaded and self._is_saved and not due

    def crashed(self, crash: Crash) -> None:
        self._crashes.append(crash)

    async def tell(self, standing: Standing) -> None:
        """Say what is due. What the broker cannot take now is said in a later round."""
        if not self._broker.link.is_up:
            return
        if not self._loaded:
            self._told = await asyncio.to_thread(_load, self._file)
            self._loaded = True
        before = (self._told.applied, len(self._told.proposals))
        try:
            await self._tell_resolved(standing)
            await self._tell_applied(standing)
            await self._tell_deployed(standing)
            await self._tell_crashes(standing)
        except (HiveError, RpcError, TimeoutError) as error:
            log.warning("a message to an agent waits: %s", error)
        if before != (self._told.applied, len(self._told.proposals)):
            self._is_saved = False
        if not self._is_saved:
            self._is_saved = await asyncio.to_thread(_save, self._file, self._told)

    # -- kinds -----------------------------------------------------------------------

    async def _tell_resolved(self, standing: Standing) -> None:
        if not self._look:
            return
        self._look = False  # before reading: what changes meanwhile is looked at again
        try:
            merged = await self._hive.proposals("merged", LOOK_BACK)
            closed = await self._hive.proposals("closed", LOOK_BACK)
            # A merge that this round has not read must not be judged by what it has read.
            self._look = await self._hive.tip() != standing.commit
        except HiveError:
            self._look = True
            raise
        if self._look:
            return
        self._undeployed = [p for p in merged if p.deployed is None]
        for proposal in sorted((*merged, *closed), key=lambda p: p.ended or 0.0):
            if proposal.n in self._told.proposals:
                continue
            try:
                await self._send(_resolved(proposal, standing.name_of))
            except RpcError:
                self._look = True
                raise
            self._told.proposals.add(proposal.n)

    async def _tell_applied(self, standing: Standing) -> None:
        if self._told.applied == standing.commit:
            return
        if self._told.applied is not None and standing.manager is not None:
            body = f"The applied branch moved to {standing.commit[:12]}. Take it over with:\n{PULL}\n{STUCK}"
            data = {"commit": standing.commit, "command": PULL}
            key = f"applied:{standing.commit}"
            await self._send(_Message(standing.manager, "applied_moved", body, data, key))
        self._told.applied = standing.commit

    async def _tell_deployed(self, standing: Standing) -> None:
        by_agent = {p.pinned.agent: p for p in sorted(self._undeployed, key=lambda p: p.ended or 0)}
        newest = list(by_agent.values())  # what is there now is the doing of the last merge
        for proposal in tuple(self._undeployed):
            word = deployed(proposal.pinned.kind, proposal.pinned.agent, standing)
            if word is None and proposal in newest:
                why = standing.stand(proposal.pinned.agent).failed
                if why is not None:
                    await self._tell_failed(proposal, why, standing)
                    self._undeployed.remove(proposal)
            if word is None:
                continue
            await self._send(_deployment(proposal, word, standing))
            await self._hive.set_deployed(proposal.n, word)
            self._undeployed.remove(proposal)

    async def _tell_failed(self, proposal: Proposal, why: str, standing: Standing) -> None:
        """Record it, and answer it with a revert where the policy says so."""
        n, agent = proposal.n, proposal.pinned.agent
        await self._hive.set_deployed(n, f"failed: {why}"[:WORDS_MAX])
        body = f"{agent} does not come up with what proposal {n} merged: {why}."[:WORDS_MAX]
        data: dict[str, Any] = {"agent": agent, "proposal": n, "failed": why[:WORDS_MAX]}
        try:
            reverted = await self._hive.auto_revert(n, why)
        except HiveError as error:
            reverted = None
            log.warning("proposal %d failed and cannot be reverted: %s", n, error.message)
            body += f" It cannot be reverted by itself: {error.message}"
        if reverted is not None:
            log.warning("proposal %d failed and is reverted by proposal %d", n, reverted.n)
            body += f" It is reverted by proposal {reverted.n}."
            data["reverted_by"] = reverted.n
            self._look = True
        to = _requester(proposal, standing.name_of) or standing.manager
        if to is not None:
            await self._send(_Message(to, "rebuilt", body, data, f"failed:{n}"))

    async def _tell_crashes(self, standing: Standing) -> None:
        while self._crashes:
            crash = self._crashes[0]
            if standing.manager is not None and standing.manager != crash.name:
                body = f"The container of {crash.name} ended by itself{crash.status}."
                data = {"agent": crash.name, "times": crash.count}
                key = f"crash:{crash.uid}:{crash.at:.3f}"
                await self._send(_Message(standing.manager, "container_crash", body, data, key))
            self._crashes.pop(0)

    async def _send(self, message: _Message | None) -> None:
        if message is None:
            return
        try:
            await self._broker.system(
                message.to, message.kind, message.body, message.data, message.key
            )
        except RpcError as error:
            if error.code == UNAVAILABLE:
                raise
            log.warning("%s to %s: %s", message.kind, message.to, error)


def deployed(kind: str, agent: str, standing: Standing) -> str | None:
    """What became of a merge, in one word; None while it is not there yet."""
    stand = standing.stand(agent)
    if not stand.present:
        return "retired" if kind == "retire" else "applied"
    if stand.stopped:
        return "killed"
    if stand.ready:
        return "spawned" if kind == "spawn" else "rebuilt"
    return None


def _resolved(proposal: Proposal, name_of: Callable[[str], str | None]) -> _Message | None:
    """To the agent that asked. What a policy merged was answered when it was asked."""
    to = _requester(proposal, name_of)
    if to is None or proposal.by.startswith("policy/"):
        return None
    pinned = proposal.pinned
    what = f"Your proposal {pinned.n} ({pinned.kind} {pinned.agent}) was {proposal.state}"
    body = f"{what}: {proposal.reason}" if proposal.reason else f"{what}."
    if pinned.kind == "apply" and proposal.state != "merged":
        body += f"\n{LEAVE}"
    data = {
        "proposal": pinned.n,
        "outcome": proposal.state,
        "reason": proposal.reason,
        "kind": pinned.kind,
        "agent": pinned.agent,
        "commit": pinned.submitted,
    }
    return _Message(to, "approval_resolved", body, data, f"approval:{pinned.n}")


def _deployment(proposal: Proposal, word: str, standing: Standing) -> _Message | None:
    """To the agent that asked; of a spawn that a person asked for, to the manager."""
    pinned = proposal.pinned
    to = _requester(proposal, standing.name_of)
    if to is None and word == "spawned":
        to = standing.manager
    bodies = {
        "spawned": f"{pinned.agent} is up and ready. You can write to it.",
        "rebuilt": f"{pinned.agent} runs what proposal {pinned.n} merged.",
        "killed": f"{pinned.agent} is stopped; its state is kept.",
    }
    if to is None or word not in bodies:
        return None
    data = {"agent": pinned.agent, "proposal": pinned.n}
    return _Message(to, word, bodies[word], data, f"deployed:{pinned.n}")


def _requester(proposal: Proposal, name_of: Callable[[str], str | None]) -> str | None:
    """The present name of the agent that asked; None for people and retired agents."""
    requester = proposal.pinned.requester
    return name_of(requester.uid or "") if requester.kind == "agent" else None


def _load(file: Path) -> _Told:
    try:
        content = json.loads(file.read_text())
        return _Told(content["applied"], set(content["proposals"]))
    except FileNotFoundError:
        return _Told()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be used (%s): what was told is told again", file, error)
        return _Told()


def _save(file: Path, told: _Told) -> bool:
    content = {"applied": told.applied, "proposals": sorted(told.proposals)}
    try:
        write_atomically(file, json.dumps(content).encode())
    except OSError as error:
        log.warning("what agents were told is not stored yet: %s", error)
        return False
    return True
