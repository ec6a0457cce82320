"""Much of all: more agents than one frame holds, more questions and proposals than fit a page."""

from __future__ import annotations

import html
import json
import re
import time
from urllib.parse import unquote, urlencode

from support.dashboard_world import SAME, World
from support.page_rows import agent_status, host_agent, proposal

from hive_dashboard.live.mirror import DETAILS
from hive_dashboard.live.reading import ASKED, PAGE
from hive_dashboard.pages import approvals, questions
from hive_dashboard.web import lists, views
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
    forms = re.compile(r'action="/questions/(\d+)/answer["?]')
    assert len(forms.findall(shown)) == questions.CARDS
    assert f"{count - ASKED} more questions" in await world.get("/a/hm1nd/")
    found, address = [], "/questions"
    while address:
        shown = await world.get(address)
        found += [int(n) for n in forms.findall(shown)]
        address = next(iter(re.findall(r'href="(/questions\?after=\d+)"', shown)), "")
    assert found == list(range(1, count + 1))
    data = {"choice": "always", "text": ""}
    assert (await sent(world, f"/questions/{count}/answer", data))[0] == 200
    allowed = {"agent": "scout", "rule": "Bash(ls)", "on_behalf": "damo"}
    assert world.host.called("allow") == [allowed], "one that the page has not read is no other"


async def sent(world: World, path: str, data: dict[str, str]) -> tuple[int, str, str]:
    """Of a form without scripts: the status, the address one lands on, the page."""
    async with world.http.post(world.url + path, data=data, headers=SAME) as answer:
        return answer.status, answer.url.path_qs, html.unescape(await answer.text())


async def test_who_answers_on_a_page_of_questions_stays_there(page_world: World) -> None:
    world = page_world
    for n in range(questions.CARDS + 2):
        world.broker.ask(f"Which {n}?", expires=time.time() + 900 + n)
    last, place = questions.CARDS + 2, f"/questions?after={questions.CARDS}"
    shown = await world.get(place)
    [action] = re.findall(rf'action="(/questions/{last}/answer[^"]*)"', shown)
    status, _, shown = await sent(world, action, {"text": "what was typed", "odd": "x"})
    assert status == 422
    assert "<title>Open questions · hyperhive</title>" in shown
    assert ">\nwhat was typed</textarea>" in shown
    assert f'action="{action}"' in shown, "and is sent from there again"
    [more] = re.findall(rf'action="(/questions/{last}/extend[^"]*)"', shown)
    for path, data in ((more, {}), (action, {"text": "near"})):
        status, address, shown = await sent(world, path, data)
        assert (status, address) == (200, place)
    assert "Answered." in shown
    assert f"/questions/{last}/answer" not in shown
    for odd in ("//evil.example/", "/questions?after=1&x=2", "/a/../", "/login"):
        path = f"/questions/{last - 1}/hold?{urlencode({'back': odd})}"
        assert (await sent(world, path, {}))[:2] == (200, "/")


async def test_all_dead_letters_are_counted_and_reached(page_world: World) -> None:
    world = page_world
    count = ASKED + lists.LETTERS + 10
    letter = {"sender": "hm1nd", "body": "hm"}
    world.broker.dead = [
        {"id": n, "agent": "scout", "message": letter, "attempts": 5, "cause": "no"}
        for n in range(count)
    ]
    world.broker.emit("dead", {"message": 1, "attempts": 5, "cause": "no"})
    await world.until(lambda: world.site.mirror.snapshot.dead_behind == count - ASKED)
    shown = await world.get("/")
    assert f"<title>({count}) hyperhive</title>" in shown
    assert f"{count} dead letters" in shown
    assert f"{count - ASKED} more dead letters" in shown
    found, address = [], "/dead"
    while address:
        place, shown = address, html.unescape(await world.get(address))
        found += [int(n) for n in re.findall(r'action="/dead/(\d+)/drop', shown)]
        address = next(iter(re.findall(r'href="(/dead\?after=[^"]+)"', shown)), "")
    assert found == list(range(count))
    [action] = re.findall(rf'action="(/dead/{count - 1}/drop[^"]*)"', shown)
    status, address, shown = await sent(world, action, {"agent": "scout"})
    assert (status, address) == (200, unquote(place))
    assert "The message is dropped." in shown
    assert f"/dead/{count - 1}/drop" not in shown
    found, behind = [], "?limit=100"
    while behind:
        answer = json.loads(await world.get(f"/api/v1/dead{behind}"))
        found += [row["id"] for row in answer["dead"]]
        behind = f"?after={answer['next']}" if answer["next"] else ""
    assert (found, answer["total"]) == (list(range(count - 1)), count - 1)
    async with world.http.get(f"{world.url}/dead?after=x") as answer:
        assert answer.status == 404


async def test_all_decisions_are_reached(page_world: World) -> None:
    world = page_world
    count = 2 * views.HISTORY + 103
    for n in range(1, count + 1):
        world.host.proposals[n] = proposal(n, state="merged", by="ana", ended=time.time())
    found, address = [], "/audit"
    while address:
        shown = await world.get(address)
        found += [int(n) for n in re.findall(r'href="/proposals/(\d+)"', shown)]
        address = next(iter(re.findall(r'href="(/audit\?before=\d+)"', shown)), "")
    assert found == list(range(count, 0, -1))


async def test_a_question_that_ends_soon_has_a_card(page_world: World) -> None:
    world = page_world
    for n in range(ASKED + questions.CARDS):
        world.broker.ask(f"Some day {n}?")
    last = world.broker.ask("Now?", expires=time.time() + 60)
    await world.until(lambda: any(q.id == last for q in world.site.mirror.snapshot.questions))
    shown = await world.get("/")
    assert "scout asks: Now?" in shown
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
