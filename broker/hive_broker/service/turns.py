"""Turns begin and end: hellos, terminal events, and what goes dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hive_wire.jsonrpc import Peer
from hive_wire.protocol import Hello, TurnEnd
from hive_wire.rpc_errors import CONFLICT, RpcError

from ..core.delivery import Delivery, Ending, Turn, Verdict
from ..store import changes
from ..store.checksum import Damaged
from ..store.rows import Change, NewMessage, Unit
from .agent import Agent
from .bodies import Bodies
from .broker import Broker
from .deliveries import Deliveries, grant
from .health import Health
from .presence import Presence
from .questions import Questions

# After these the session may lack the end of what was done: a repeated call is no new one. After
# any other end that goes for the calls that it names as unseen.
UNCERTAIN = frozenset({"restarted", "engine_crash", "stalled"})
MAX_WHY = 400  # characters


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a hello; `again`: a turn was granted that the harness never heard of."""

    answer: dict[str, Any]
    again: Turn | None


class Turns:
    """Every step holds the agent's lock, commits, and applies in the commit's callback."""

    def __init__(
        self,
        broker: Broker,
        presence: Presence,
        bodies: Bodies,
        deliveries: Deliveries,
        *,
        questions: Questions,
        health: Health,
    ) -> None:
        self._broker = broker
        self._presence = presence
        self._bodies = bodies
        self._deliveries = deliveries
        self._questions = questions
        self._health = health

    async def hello(self, agent: Agent, peer: Peer, hello: Hello) -> Welcome:
        """Settle what ended, see what runs, and let `peer` take the place of any other."""
        async with agent.lock:
            old, agent.peer, agent.ready = agent.peer, None, False
            agent.away_since = self._broker.clock.steady()  # should this hello fail
            agent.rows_refused = False
            if old is not None:
                old.close()
            for end in hello.ended:
                await self._close(agent, end)
            new_boot = hello.boot != agent.boot
            claimed = None if hello.running is None else Turn.parse(hello.running.turn)
            fenced = agent.gate.fenced and not new_boot
            # It was to be stopped, and nothing may run in it: what did is as good as lost.
            refused = claimed is not None and (fenced or not _granted(agent, claimed))
            greeting = agent.mailbox.greet(
                None if refused else claimed, new_boot=new_boot or fenced
            )
            if greeting.lost is not None:
                await self._close(agent, _lost(agent, greeting.lost, hello))
            await self._welcome(agent, hello, new_boot=new_boot)
            if new_boot:  # who asked is gone
                await self._questions.withdraw_permissions(agent.uid)
            resume = None
            drop = greeting.drop or refused
            if greeting.resume is not None and hello.running is not None:
                resume = await self._resume(agent, greeting.resume, hello.running.handed)
                drop = drop or resume is None
            if not peer.closed:
                agent.peer = peer
        answer = {
            "name": agent.name,
            "uid": agent.uid,
            "acked": agent.acked,
            "resume": resume,
            "confirmed": [end.turn for end in hello.ended],
            "drop": drop,
        }
        return Welcome(answer, greeting.again)

    def open_for(self, agent: Agent, peer: Peer, welcome: Welcome) -> None:
        """The hello was answered: from now on `peer` gets what is to be delivered."""
        if agent.peer is not peer or self._broker.agents.get(agent.uid) is not agent:
            return
        agent.ready = agent.known = True
        agent.refused = ""
        agent.last_seen = self._broker.clock.wall()
        self._presence.refresh(agent)
        if welcome.again is not None and not agent.gate.fenced:
            self._deliveries.push(agent, welcome.again)
        self._deliveries.pump(agent)

    def refused(self, agent: Agent, why: str) -> None:
        """A hello was not understood. People see why nobody speaks for the agent."""
        if not agent.ready:
            agent.refused = f"its harness is refused, see hive logs {agent.name}: {why[:MAX_WHY]}"
            self._presence.refresh(agent)

    def lost(self, agent: Agent, peer: Peer) -> None:
        """The connection ended. Its turn stays leased: the same harness may come back."""
        if agent.peer is not peer:
            return
        agent.peer, agent.ready = None, False
        agent.away_since = self._broker.clock.steady()
        self._broker.record(self._broker.event(agent.uid, "offline", {}))
        self._presence.refresh(agent)

    async def _welcome(self, agent: Agent, hello: Hello, *, new_boot: bool) -> None:
        def then(_: object) -> None:
            if new_boot:
                agent.boot, agent.acked = hello.boot, 0
                agent.gate.new_boot()
                self._broker.fenced.discard(agent.uid)

        ready = self._broker.event(agent.uid, "ready", {"boot": hello.boot})
        boot = (changes.set_boot(agent.uid, hello.boot),) if new_boot else ()
        unit = Unit(events=(ready,), changes=boot, vital=True)
        await self._broker.writer.submit(unit, then)

    async def _resume(
        self, agent: Agent, turn: Turn, handed: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """Go on with `turn`; the engine has the results of the calls `handed` only. None
        when its message is damaged: then it is dead."""
        try:
            message = await self._bodies.get(turn.message)
        except Damaged:
            await self._health.condemn(agent, turn.message)
            self._broker.on_damaged(agent.uid, turn.message)
            return None
        seen = frozenset(handed)
        unseen = agent.mailbox.unseen(turn, seen)
        rows = [changes.start_turn(agent.uid, turn, self._broker.clock.wall())]
        rows += [changes.owe(agent.uid, message) for message in unseen]

        def then(_: object) -> None:
            agent.mailbox.resume(turn)
            agent.mailbox.owe(unseen)
            agent.calls.handed(turn, seen)

        await self._broker.writer.submit(Unit(changes=tuple(rows), vital=True), then)
        return grant(agent, turn, message)

    # -- terminal events -------------------------------------------------------

    async def turn_end(self, agent: Agent, peer: Peer, end: TurnEnd) -> dict[str, Any]:
        """Store the end of a turn and close its messages, at once and once. `{}`."""
        async with agent.lock:
            if agent.peer is not peer:
                raise RpcError(CONFLICT, "another connection of this agent took over; say hello")
            await self._close(agent, end)
        return {}

    async def _close(self, agent: Agent, end: TurnEnd) -> None:
        broker, turn = self._broker, Turn.parse(end.turn)
        retry_at = end.retry_at
        if end.cause == "rate_limit" and retry_at is None and agent.limited_until:
            retry_at, agent.limited_until = agent.limited_until, 0.0
        retry_in = None if retry_at is None else retry_at - broker.clock.wall()
        repeats = end.discarded or end.cause in UNCERTAIN
        ending = Ending(
            turn, end.outcome, end.counted, retry_in, end.discarded, frozenset(end.unseen)
        )
        verdict = agent.mailbox.judge(ending, broker.clock.steady())
        if not verdict.stands or not _granted(agent, turn):
            return
        notice = await self._dead_notice(agent, verdict.dead, end)

        def then(_: object) -> None:
            agent.mailbox.apply(verdict)
            agent.spending.claimed.add(broker.clock.steady(), end.cost_usd)
            if verdict.returned is None:
                agent.calls.forget(turn.message)
            elif repeats:
                agent.calls.repeat_all(turn.message)
            else:
                agent.calls.repeat(ending.unseen)
            agent.dead += verdict.dead is not None
            for message in verdict.settled:
                self._bodies.forget(message)
            for letter in notice:
                self._deliveries.arrived(letter)
            broker.spawn_until_stored(
                lambda: self._questions.withdraw_permissions(agent.uid, turn=turn.id)
            )
            self._presence.refresh(agent)
            self._deliveries.pump(agent)

        said = end.model_dump(exclude={"unseen"})
        events = [broker.event(agent.uid, "turn.ended", said, end.turn)]
        if verdict.dead is not None:
            events.append(
                broker.event(agent.uid, "dead", _dead_event_data(verdict.dead, end), end.turn)
            )
        unit = Unit(
            messages=notice,
            events=tuple(events),
            changes=self._closing(agent, verdict, end, repeats=repeats),
            vital=True,
        )
        await broker.writer.submit(unit, then)

    def _closing(
        self, agent: Agent, verdict: Verdict, end: TurnEnd, *, repeats: bool
    ) -> tuple[Change, ...]:
        uid, wall, clock = agent.uid, self._broker.clock.wall(), self._broker.clock
        waking = verdict.turn.message
        rows = [changes.end_turn(uid, verdict.turn, end, wall)]
        rows += [changes.settle(uid, message, wall) for message in verdict.settled]
        rows += [changes.detach(uid, message) for message in verdict.detached]
        rows += [changes.owe(uid, message) for message in verdict.owed]
        if verdict.dead is not None:
            rows.append(changes.bury(uid, verdict.dead, end.cause, wall))
        if verdict.returned is not None:
            not_before = wall + verdict.returned.not_before - clock.steady()
            rows.append(changes.give_back(uid, verdict.returned, not_before))
            if repeats:
                rows.append(changes.repeat_calls(uid, waking))
            else:
                done = {*agent.calls.names, *agent.in_flight}.intersection(end.unseen)
                rows += [changes.repeat_call(uid, waking, name) for name in done]
        else:
            rows.append(changes.forget_calls(uid, waking))
        return tuple(rows)

    async def _dead_notice(
        self, agent: Agent, dead: Delivery | None, end: TurnEnd
    ) -> tuple[NewMessage, ...]:
        """Tells the agent that sent a message that it went dead."""
        if dead is None:
            return ()
        sender = await self._broker.reader.sender(dead.message)
        if sender not in self._broker.agents or sender == agent.uid:
            return ()
        body = (
            f"Your message {dead.message} to {agent.name} failed {dead.counted} times "
            f"({end.cause}) and will not be tried again unless the operator says so."
        )
        data = {"message": dead.message, "to": agent.name, "cause": end.cause}
        return (self._broker.system_message(sender, "dead_letter", body, data),)


def _granted(agent: Agent, turn: Turn) -> bool:
    """Whether the harness may have this turn. Only one that was granted before the broker
    started may be unknown here; or else a harness could take up and end, without end and beyond
    its budget, what merely waits for it."""
    return turn == agent.mailbox.running or not agent.known


def _lost(agent: Agent, turn: Turn, hello: Hello) -> TurnEnd:
    """The end of a turn that a new boot knows nothing of. So nobody knows what of the answers
    of its calls the engine got."""
    return TurnEnd(
        turn=turn.id,
        outcome="failed",
        cause="restarted",
        discarded=hello.session is None,
        unseen=agent.mailbox.given_in(turn),  # the ends of others told it
    )


def _dead_event_data(dead: Delivery, end: TurnEnd) -> dict[str, Any]:
    return {"message": dead.message, "attempts": dead.counted, "cause": end.cause}
