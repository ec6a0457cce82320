"""Much of all: more agents than one frame holds, more questions and proposals than fit a page."""

from __future__ import annotations

import json
import re
import time

from support.dashboard_world import SAME, World
from support.page_rows import agent_status, host_agent

from hive_dashboard.live.mirror import DETAILS
from hive_dashboard.live.reading import ASKED, PAGE
from hive_dashboard.pages import approvals, questions
from hive_wire.frames import MAX_FRAME

COUNT = 1500


async def test_the_page_and_the_api_show_all(page_world: World) -> None:
    world = page_world
    names = [f"a{n:05d}" for n in range(COUNT)]
    uids = {name: f"{n:012x}" for n, name in enumerate(names)}
    world.host.agents = [
        {**host_agent("scout", description="x" * 400), "name": name, "uid": uids[name]}
        for name in names
    ]
    world.broker.states = {
        name: {**agent_status("scout"), "name": name, "uid": uids[name], "detail": "y" * 400}
        for name in names
    }
    for rows in (world.host.agents, list(world.broker.states.values())):
        assert len(json.dumps(rows)) > MAX_FRAME
    world.site.mirror.stale("status", "agents")

    def holds() -> bool:
        shown = world.site.mirror.snapshot
        return len(shown.agents) == COUNT and len(getattr(shown.status, "agents", ())) == COUNT

    await world.until(holds, 60)
    assert not world.site.mirror.snapshot.unread
    assert set(re.findall(r"/a/(a\d{5})/", await world.get("/"))) == set(names)
    swarm = json.loads(await world.get("/api/v1/swarm"))
    assert [agent["name"] for agent in swarm["agents"]] == names
    world.host.retired = [
        {
            "name": f"r{n}",
            "uid": f"{n:012x}",
            "description": "z" * 300,
            "commit": "1" * 40,
            "at": 5.0,
        }
        for n in range(4000)
    ]
    kept = json.loads(await world.get("/api/v1/kept"))
    assert len(kept["agents"]) == 4000


async def test_all_questions_are_counted_and_reached(page_world: World) -> None:
    world = page_world
    count = ASKED + questions.CARDS + 10
    for n in range(count - 1):
        world.broker.ask(f"Which {n}?")
    world.broker.ask("may I?", ["once", "deny", "always"])
    asked = {"tool": "Bash", "input": {"command": "ls"}, "rule": "Bash(ls)", "turn": "1.1"}
    world.broker.questions[-1].update(kind="permission", permission=asked)
    world.broker.emit("question", world.broker.questions[-1])

    def behind() -> int:
        return world.site.mirror.snapshot.questions_behind

    await world.until(lambda: behind() == count - ASKED)
    shown = await world.get("/")
    assert f"<title>({count}) hyperhive</title>" in shown
    assert f"{count} questions" in shown
    assert f"{count - questions.CARDS} more questions" in shown
    forms = re.compile(r'action="/questions/(\d+)/answer"')
    assert len(forms.findall(shown)) == questions.CARDS
    assert f"{count - ASKED} more questions" in await world.get("/a/hm1nd/")
    found, address = [], "/questions"
    while address:
        shown = await world.get(address)
        found += [int(n) for n in forms.findall(shown)]
        address = next(iter(re.findall(r'href="(/questions\?after=\d+)"', shown)), "")
    assert found == list(range(1, count + 1))
    data = {"choice": "always", "text": ""}
    path = f"{world.url}/questions/{count}/answer"
    async with world.http.post(path, data=data, headers=SAME) as answer:
        assert answer.status == 200
    allowed = {"agent": "scout", "rule": "Bash(ls)", "on_behalf": "damo"}
    assert world.host.called("allow") == [allowed], "one that the page has not read is no other"


async def test_a_question_that_ends_soon_has_a_card(page_world: World) -> None:
    world = page_world
    for n in range(questions.CARDS):
        world.broker.ask(f"Some day {n}?")
    last = world.broker.ask("Now?", expires=time.time() + 60)
    await world.until(lambda: len(world.site.mirror.snapshot.questions) == last)
    shown = await world.get("/")
    assert f'href="#f-answer-{last}"' in shown
    assert f'id="f-answer-{last}"' in shown


async def test_all_open_proposals_are_counted_and_reached(page_world: World) -> None:
    world = page_world
    count = approvals.CARDS + PAGE + 5
    for n in range(1, count + 1):
        world.host.add(n)
    await world.until(lambda: len(world.site.mirror.snapshot.open) == count)
    await world.until(lambda: len(world.site.mirror.snapshot.details) == DETAILS)
    shown = await world.get("/")
    assert f"<title>({count}) hyperhive</title>" in shown
    assert f"{count} merges to approve" in shown
    assert f"{count - approvals.CARDS} more proposals" in shown
    assert set(re.findall(r'href="/proposals/(\d+)"', shown)) == set(map(str, range(1, count + 1)))
    assert "What it changes" in await world.get("/proposals/1")
