"""What waits for a person stands on top, what cannot wait first; silence and failures are told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from support.dashboard_world import SAME, World
from support.page_rows import UIDS, agent_status, host_agent

from hive_dashboard.auth.sessions import FREE_FAILURES
from hive_dashboard.html import render
from hive_dashboard.live import mirror as mirrors
from hive_dashboard.live.mirror import Snapshot
from hive_dashboard.live.models import HostAgent, HostStatus, Proposal, Question
from hive_dashboard.pages.agents import SILENT, STUCK, agent
from hive_dashboard.pages.common import View
from hive_dashboard.pages.need import need, needs, waiting
from hive_dashboard.pages.swarm import top
from hive_wire.protocol import AgentStatus

NOW = 1_000_000.0


def snapshot(**more: object) -> Snapshot:
    return replace(Snapshot(at=NOW, started=NOW - 9e4), **more)  # type: ignore[arg-type]


def thinking(since: float, heard: float | None) -> Snapshot:
    status = agent_status("scout", state="thinking", since=since)
    return snapshot(
        status=HostStatus(agents=(HostAgent.model_validate(host_agent("scout")),), at=NOW),
        agents={"scout": AgentStatus.model_validate(status)},
        heard={} if heard is None else {UIDS["scout"]: heard},
    )


@pytest.mark.parametrize(
    ("since", "heard", "state", "waits"),
    [
        (NOW - 9000, NOW - 10, "thinking", 0),
        (NOW - 9000, NOW - SILENT - 1, "silent", 0),
        (NOW - 9000, NOW - STUCK - 1, "stuck", 1),
        (NOW - 60, NOW - STUCK - 1, "thinking", 0),
        (NOW - STUCK - 60, None, "stuck", 1),
    ],
)
def test_a_turn_that_says_nothing_is_told(
    since: float, heard: float | None, state: str, waits: int
) -> None:
    found = thinking(since, heard)
    it = agent(found, "scout")
    assert it is not None
    assert it.state == state
    assert waiting(found) == waits == len(needs(found, NOW))


def test_a_dashboard_that_just_began_to_hear_calls_nobody_silent() -> None:
    it = agent(replace(thinking(NOW - 9000, None), started=NOW - 5), "scout")
    assert it is not None
    assert it.state == "thinking"


def test_what_cannot_wait_stands_first() -> None:
    failed = HostAgent.model_validate(host_agent("mallory", conditions=[
        {"type": "Stalled", "status": True, "reason": "CrashLoop", "message": "exit 1"},
        {"type": "Ready", "status": False, "reason": "Failed", "message": "exit 1"},
    ]))  # fmt: skip
    soon = Question(id=1, agent="scout", text="now?", expires=NOW + 60)
    late = Question(id=2, agent="scout", text="some day?")
    found = snapshot(
        status=HostStatus(agents=(failed,), at=NOW, stale="HistoryRewritten: look"),
        open=(Proposal(n=7, requester="agent/hm1nd", description="more"),),
        questions=(late, soon),
    )
    assert [n.title for n in needs(found, NOW)] == [
        "the loop stands still", "scout asks: now?", "mallory: stalled", "1 merge to approve",
    ]  # fmt: skip
    calm = replace(found, questions=(late,))
    assert [n.title for n in needs(calm, NOW)] == [
        "the loop stands still", "mallory: stalled", "scout asks: some day?", "1 merge to approve",
    ]  # fmt: skip
    assert waiting(found) == 5
    assert [c.type for c in agent(found, "mallory").troubles] == ["Stalled"]  # type: ignore[union-attr]


async def test_nothing_read_yet_is_no_trouble(world: World) -> None:
    status = HostStatus(stale="nothing was read yet", at=0.0)
    assert needs(snapshot(status=status), NOW) == []


@pytest.mark.parametrize(
    "blind", [{"away": {"broker": NOW - 5}}, {"unread": {"questions": "no answer within 20 s"}}]
)
def test_what_cannot_be_seen_is_not_called_calm(blind: dict[str, dict[str, object]]) -> None:
    for found, calm in ((snapshot(), True), (snapshot(**blind), False)):
        shown = render(need(View(found, "damo", view_only=False)))
        assert ("nothing needs you" in shown) is calm
        assert ("s-ok" in shown) is calm


def test_a_swarm_of_which_nothing_is_known_is_not_called_frozen() -> None:
    hosts = HostStatus(agents=(HostAgent.model_validate(host_agent("scout")),), at=NOW)
    paused = {"scout": AgentStatus.model_validate(agent_status("scout", paused=True))}
    for agents, word in (({}, "FR33ZE"), (paused, "THAW")):
        view = View(snapshot(status=hosts, agents=agents), "damo", view_only=False)
        assert word in render(top(view))


async def test_failed_logins_are_told_until_somebody_is_in(page_world: World) -> None:
    world = page_world
    for _ in range(FREE_FAILURES):
        async with world.http.post(
            f"{world.url}/login", data={"code": "wrong"}, headers=SAME
        ) as answer:
            assert answer.status == 401
    await world.until(lambda: world.site.mirror.snapshot.failed_logins is not None)
    assert f"{FREE_FAILURES} failed logins" in await world.get("/")
    world.site.auth._throttle._until = 0.0  # the minute of waiting is over
    await world.login("ana")
    await world.until(lambda: world.site.mirror.snapshot.failed_logins is None)
    assert "failed logins" not in await world.get("/")


async def test_a_page_is_drawn_anew_though_nothing_happens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last hour goes on, and silence is news."""
    monkeypatch.setattr(mirrors, "MINUTE", 0.05)
    world.broker.state("scout", "thinking", since=time.time())
    await world.until(lambda: world.site.mirror.snapshot.agents["scout"].state == "thinking")
    await asyncio.sleep(0)
    version, asked = world.site.mirror.snapshot.version, len(world.broker.calls)
    await world.until(lambda: world.site.mirror.snapshot.version > version + 3)
    assert len(world.broker.calls) == asked, "nobody is asked for it"
