"""The broker's events, once from the broker, fanned out to browsers.

Each browser resumes after the last id it saw: from the rows kept here, else from the
broker's history, without gap or duplicate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hive_wire.frames import size
from hive_wire.jsonrpc import Params, Peer

from .models import Event

log = logging.getLogger(__name__)

KEPT = 5000  # events in memory
KEPT_SIZE = 64 << 20  # bytes of what they say; an agent's row may have 64 KiB
QUEUE = 4000  # events that may wait for one browser
MAX_CLIENTS = 64
STREAM_KINDS = frozenset({"text", "thinking", "tool_use", "tool_result", "engine", "stderr"})


class Full(Exception):
    """There are MAX_CLIENTS streams already; the message is for whom there is no room."""


@dataclass(eq=False)
class Client:
    """One browser. Rows of running turns only of the agents in `wanted` (uids). `send` is there
    while its stream waits: it writes rows at once, or tells to queue them."""

    session: str
    user: str
    wanted: frozenset[str]
    send: Callable[[list[Event]], bool] | None = None
    last: int | None = None  # id of the last event sent; None until it is known where to begin
    queue: deque[Event] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 0  # of the last snapshot
    dropped: bool = False
    reset: bool = False

    def wants(self, event: Event) -> bool:
        return event.kind not in STREAM_KINDS or event.agent in self.wanted

    def sent(self, rows: list[Event]) -> bool:
        """Whether they could be written at once."""
        if self.send is None or self.queue or self.reset or self.dropped:
            return False
        return self.send(rows)

    def take(self) -> list[Event]:
        rows = list(self.queue)
        self.queue.clear()
        self.wake.clear()
        return rows

    def drop(self) -> None:
        self.dropped = True
        self.queue.clear()
        self.wake.set()


class Hub:
    def __init__(self, on_events: Callable[[list[Event]], None]) -> None:
        self._on_events = on_events
        self._kept: deque[Event] = deque()
        self._sizes: deque[int] = deque()  # of those, and their sum
        self._size = 0
        self._clients: dict[Client, None] = {}  # the oldest first
        self.last: int | None = None  # id of the newest event heard of
        self.version = 0
        self.heard_total = 0
        self.dropped_total = 0  # streams whose browser did not read

    # -- towards the broker ----------------------------------------------------

    async def greet(self, peer: Peer) -> None:
        """Subscribe from where we were; start anew when the broker has an older store by now."""
        after = self.last
        answer = await peer.request("subscribe", {"after": after, "stream": True}, timeout=10)
        cursor = int(answer["cursor"])
        if after is None:  # browsers that came before the broker may go on now
            self.last = max(cursor, self.last or 0)  # what came right behind the answer was heard
        elif cursor < after:
            self.last = cursor
            self._kept.clear()
            self._sizes.clear()
            self._size = 0
            for client in self._clients:
                client.reset = True
        for client in self._clients:
            client.wake.set()

    def heard(self, _peer: Peer, params: Params) -> None:
        """The broker's notification `events`."""
        rows = [Event.model_validate(row) for row in params["events"]]
        rows = [row for row in rows if self.last is None or row.id > self.last]
        if not rows:
            return
        self.last = rows[-1].id
        self.heard_total += len(rows)
        self._keep(rows)
        self._on_events(rows)
        late: list[Client] = []
        for client in self._clients:
            mine = [row for row in rows if client.wants(row)]
            if not mine or client.sent(mine):
                continue
            waits_too_long = client.queue and client.queue[0].id < self._kept[0].id
            if waits_too_long or len(client.queue) + len(mine) > QUEUE:
                late.append(client)
                continue
            client.queue.extend(mine)
            client.wake.set()
        for client in late:  # they do not read; they come back and resume by id
            self.dropped_total += 1
            self.leave(client)
            client.drop()

    def _keep(self, rows: list[Event]) -> None:
        sizes = [size(row.data) for row in rows]
        self._kept.extend(rows)
        self._sizes.extend(sizes)
        self._size += sum(sizes)
        while len(self._kept) > 1 and (len(self._kept) > KEPT or self._size > KEPT_SIZE):
            self._kept.popleft()
            self._size -= self._sizes.popleft()

    # -- towards browsers ------------------------------------------------------

    def join(self, session: str, user: str, wanted: frozenset[str]) -> Client:
        """From now on the client's queue fills. When all places are taken, who has most of them
        gives the oldest up to who has fewer. Raises Full."""
        if (why := self.no_room(user)) is not None:
            raise Full(why)
        if len(self._clients) >= MAX_CLIENTS:
            greatest, _ = self._greatest()
            oldest = next(client for client in self._clients if client.user == greatest)
            self.leave(oldest)
            oldest.drop()
        client = Client(session, user, wanted, version=self.version)
        self._clients[client] = None
        return client

    def no_room(self, user: str) -> str | None:
        """Why another page of this user gets no stream."""
        if len(self._clients) < MAX_CLIENTS:
            return None
        held = sum(client.user == user for client in self._clients)
        if self._greatest()[1] > held + 1:
            return None
        return (
            f"No news come to this page: {MAX_CLIENTS} are open already, {held} of them yours. "
            "Close some, or end their sessions at /sessions; then this one goes on by itself."
        )

    def _greatest(self) -> tuple[str, int]:
        """Who has most streams, and how many."""
        return Counter(client.user for client in self._clients).most_common(1)[0]

    def leave(self, client: Client) -> None:
        self._clients.pop(client, None)

    def kept_after(self, after: int) -> list[Event] | None:
        """The events after that id, or None when some of them are no longer kept."""
        if self.last is not None and after >= self.last:
            return []
        if not self._kept or self._kept[0].id > after + 1:
            return None
        return [row for row in self._kept if row.id > after]

    def changed(self, version: int) -> None:
        """There is a newer snapshot."""
        self.version = version
        for client in self._clients:
            client.wake.set()

    def end_session(self, session: str) -> None:
        for client in self._clients:
            if client.session == session:
                client.drop()

    def end_all(self) -> None:
        for client in self._clients:
            client.drop()

    @property
    def clients(self) -> int:
        return len(self._clients)
