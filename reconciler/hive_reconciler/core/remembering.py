"""What each look at the swarm says of its agents, into what is remembered of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from ..model.layered import THICK, since
from ..model.memory import AgentMemory
from ..model.past import Outcome
from . import recall
from .acting import Acting
from .agents import Agent
from .keeping import Keeper
from .outcomes import Crash, Outcomes
from .picture import Picture
from .slices import Pace


class Remembering:
    """Crashes are noticed here, and told to `outcomes`."""

    def __init__(
        self, picture: Picture, keeper: Keeper, acting: Acting, outcomes: Outcomes
    ) -> None:
        self._picture = picture
        self._keeper = keeper
        self._acting = acting
        self._outcomes = outcomes
        self._recalled: Mapping[str, Agent] = {}  # of whom is remembered what was seen
        self._skipped: frozenset[str] = frozenset()  # uids that were being changed then

    async def remember(self, unsettled: frozenset[str]) -> None:
        """What this look says of each agent that is not as the last one saw it. `unsettled`:
        whose containers were being changed meanwhile; they are left to the next."""
        picture, now, pace = self._picture, time.time(), Pace()
        agents = picture.agents
        names = since(self._recalled, agents.by_name) | agents.timely
        await pace.rest()
        names = {name for name in names if name in agents.by_name}
        uids = set(self._skipped)
        for some in _parts(names):
            fresh = [a for name in some if (a := picture.agents.by_name.get(name)) is not None]
            uids |= {agent.uid for agent in fresh}
            picture.remember(
                {
                    a.uid: a.memory
                    for a in fresh
                    if a.valid and picture.memory.get(a.uid) is not a.memory
                }
            )
            await pace.rest()
        self._keeper.forget(unsettled)
        await pace.rest()
        uids = {uid for uid in uids if uid in picture.memory} | picture.leaving
        await pace.rest()
        clock = time.monotonic()
        for some in _parts(uids - unsettled):
            self._recall([uid for uid in some if uid in picture.memory], now, clock)
            picture.catch_up()
            await pace.rest()
        self._recalled, self._skipped = agents.by_name, frozenset(uids & unsettled)

    def _recall(self, uids: Sequence[str], now: float, clock: float) -> None:
        picture = self._picture
        nameless = {one.name for one in picture.sight.lost}  # whose, is not known
        before = {
            uid: memory
            for uid in uids
            if (memory := picture.memory[uid]).container not in nameless
            or picture.seen(uid) is not None
        }
        news = {u: recall.seen(m, picture.seen(u), now, clock) for u, m in before.items()}
        picture.remember({uid: after for uid, after in news.items() if after is not before[uid]})
        for uid, after in news.items():
            if after.crash_retry_at > before[uid].crash_retry_at:
                self._crashed(uid, after, now)

    def _crashed(self, uid: str, memory: AgentMemory, now: float) -> None:
        seen = self._picture.seen(uid)
        status = seen.exit_status if seen is not None else None
        words = "" if status is None else f" with status {status}"
        self._outcomes.crashed(Crash(memory.name, uid, now, len(memory.crashes), words))
        text, revision = f"it ended by itself{words}", memory.crashed_revision or ""
        self._acting.note(uid, memory.name, Outcome("crash", revision, "Crashed", text, now, now))

    def find_again(self) -> None:
        """Nothing is concluded; but whose record was read meanwhile is not lost since before."""
        picture = self._picture
        known = {uid: recall.told(m, picture.seen(uid)) for uid, m in picture.memory.items()}
        picture.remember({uid: m for uid, m in known.items() if m is not picture.memory[uid]})


def _parts(keys: Iterable[str]) -> Iterable[Sequence[str]]:
    """All of them, sorted, few enough at a time for mappings that are made of what changed."""
    order = sorted(keys)
    return (order[start : start + THICK] for start in range(0, len(order), THICK))
