"""10,000 agents, or letters full of control characters: every answer of the broker is one frame."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock  # what these answers are not made of

import pytest

from hive_broker.front import params as p
from hive_broker.front.history_api import HistoryApi
from hive_broker.front.host_api import HostApi
from hive_broker.service.dead import DeadLetters
from hive_broker.store.reader import Grave
from hive_wire.frames import MAX_FRAME, encode
from hive_wire.pages import AGENTS, DEAD, METRICS, ask_whole

UIDS = [f"{n:012x}" for n in range(10_000)]


class Small:
    """An app in which only what is asked for is made up; the answers are measured."""

    def __init__(self) -> None:
        agents = {uid: SimpleNamespace(uid=uid) for uid in reversed(UIDS)}
        self.app: Any = Mock()
        self.app.broker.agents = agents
        self.app.presence.status = lambda agent: {"uid": agent.uid, "detail": "x" * 400}
        self.app.metrics.lines = lambda: [f'hive_broker_x{{agent="{uid}"}} 1' for uid in UIDS * 4]
        self.host = HostApi(self.app, lambda: asyncio.sleep(0))
        self.history = HistoryApi(self.app)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        peer: Any = None
        if method == "agents":
            answer = await self.host._agents(peer, p.Agents.model_validate(params))
        else:
            answer = await self.history._metrics(peer, p.Figures.model_validate(params))
        assert len(encode(answer)) < MAX_FRAME
        return answer


async def test_all_agents_come_in_pages() -> None:
    found = await ask_whole(Small().ask, AGENTS)
    assert [agent["uid"] for agent in found["agents"]] == UIDS
    some = await ask_whole(Small().ask, AGENTS, uids=[UIDS[7], UIDS[3], "f" * 12])
    assert [agent["uid"] for agent in some["agents"]] == [UIDS[3], UIDS[7]]


async def test_all_figures_come_in_pages() -> None:
    small = Small()
    found = await ask_whole(small.ask, METRICS)
    assert found["text"].splitlines() == small.app.metrics.lines()


@pytest.mark.parametrize("body", ["\x01" * 2000, "字" * 2000, "x"])
async def test_dead_letters_fit_whatever_stands_in_them(body: str) -> None:
    broker: Any = Mock()
    broker.name_of = {}

    graves = [Grave(UIDS[n], 1.5, 5, "loop", {"id": n, "body": body}) for n in range(500)]

    async def dead(limit: int, after: str | None) -> list[Grave]:
        start = 0 if after is None else int(after.split(":")[1]) + 1
        return graves[start : start + limit]

    broker.reader.dead, broker.agents = dead, {}
    letters = DeadLetters(broker, Mock())

    async def ask(_method: str, after: str | None = None) -> dict[str, Any]:
        answer = await letters.listed(200, after)
        assert len(encode(answer)) < MAX_FRAME
        assert len(answer["dead"]) > 50 or answer["next"] is None
        return answer

    found = await ask_whole(ask, DEAD)
    assert [letter["id"] for letter in found["dead"]] == list(range(500))
