"""The API: its answers are as its document says, whatever one sends; figures for a scraper."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from support.dashboard_world import SAME, World
from support.examples import examples
from support.page_broker import FakeBroker
from support.page_host import FakeHost

from hive_dashboard.acts.table import ACTIONS
from hive_dashboard.api.reads import READS
from hive_dashboard.api.spec import PREFIX, openapi
from hive_dashboard.service import serving
from hive_dashboard.settings import Settings
from hive_wire.paths import Layout

DOCUMENT = openapi("hive-session")
# Who is let in is tried in test_guard.py; here everything is sent by somebody who may.
OPEN = {**DOCUMENT, "security": [], "components": {"schemas": DOCUMENT["components"]["schemas"]}}
schema = schemathesis.openapi.from_dict(OPEN)
CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
]


@dataclass
class Served:
    """A dashboard in a thread of its own: the checks call it from outside any event loop."""

    url: str
    cookies: dict[str, str]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    root = tempfile.mkdtemp(prefix="hd-")
    layout = Layout.of(root)
    layout.make_run()
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    found: list[Served] = []

    async def serve() -> None:
        host, broker = FakeHost(layout), FakeBroker(layout)
        host.add(1)
        broker.message("hm1nd", "operator", "hello")
        broker.ask("Which?", ["a", "b"])
        broker.emit("text", {"text": "words"})
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            host,
            broker,
            serving(Settings(layout, port=0)) as site,
            aiohttp.ClientSession(cookie_jar=jar) as http,
        ):
            world = World(site, host, broker, layout, http)
            await world.settled()
            await world.login()
            found.append(Served(world.url, {cookie.key: cookie.value for cookie in jar}))
            up.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(20)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()
    shutil.rmtree(root)
    shutil.rmtree(layout.run, ignore_errors=True)


@schema.parametrize()
@settings(
    max_examples=examples(12),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_document_is_kept(case: Any, served: Served) -> None:
    case.call_and_validate(base_url=served.url, cookies=served.cookies, headers=SAME, checks=CHECKS)


def test_the_document_has_every_read_and_action() -> None:
    paths = DOCUMENT["paths"]
    assert all("post" in paths[PREFIX + action.path] for action in ACTIONS)
    assert all("get" in paths[PREFIX + read.path] for read in READS)
    names = [one["operationId"] for methods in paths.values() for one in methods.values()]
    assert len(names) == len(set(names))


async def test_acting_by_the_api(page_world: World) -> None:
    world = page_world
    url = f"{world.url}{PREFIX}"
    world.host.add(7)
    async with world.http.post(
        f"{url}/proposals/7/approve", json={"effect": "cd" * 32}, headers=SAME
    ) as answer:
        assert answer.status == 409
        assert "3G instead of 2G" in (await answer.json())["changed"][0]
    async with world.http.post(
        f"{url}/proposals/7/approve", json={"effect": "ab" * 32}, headers=SAME
    ) as answer:
        assert "#7 is approved" in (await answer.json())["ok"]
    async with world.http.post(f"{url}/send", json={"to": "scout", "body": 5}, headers=SAME) as a:
        assert a.status == 422
    async with world.http.post(f"{url}/send", data={"to": "scout"}, headers=SAME) as a:
        assert a.status == 415
    async with world.http.post(f"{url}/pause", headers=SAME) as answer:
        assert answer.status == 200
    async with world.http.get(f"{url}/nothing", headers=SAME) as answer:
        assert answer.status == 404
        assert "error" in await answer.json()
    world.http.cookie_jar.clear()
    async with world.http.get(f"{url}/swarm", headers=SAME) as answer:
        assert answer.status == 401
        assert "error" in await answer.json()


async def test_the_api_has_all_that_a_card_leaves_out(page_world: World) -> None:
    world = page_world
    url = f"{world.url}{PREFIX}/proposals/7"
    files = [f"agents/scout/notes/{n}.md" for n in range(5)]
    shown = [{"path": path, "status": "added", "cut": True} for path in files]
    world.host.add(7, files=shown)
    world.host.proposals[7]["diff_left_out"] = 3
    world.host.changed("proposals")
    await world.until(lambda: files[0] in str(world.site.mirror.snapshot.details.get(7)))
    async with world.http.get(url) as answer:
        card = await answer.json()
    assert (card["short"], card["diff_left_out"]) == (True, 3)
    approval = {"effect": card["proposal"]["effect"]["digest"]}
    async with world.http.post(f"{url}/approve", json=approval, headers=SAME) as answer:
        assert (answer.status, "look at all of it" in await answer.text()) == (422, True)
    found, after = [], 0
    while after is not None:
        async with world.http.get(f"{url}/whole?part=diff&after={after}") as answer:
            page = await answer.json()
        assert page["digest"] == approval["effect"]
        assert (page["changes"], page["actions"]) == ([], [])
        found += [file["path"] for file in page["diff"]]
        after = page["next"]
    assert found == files
    for part in ("changes", "actions"):
        async with world.http.get(f"{url}/whole?part={part}") as answer:
            rows = (await answer.json())[part]
        assert len(rows) == len(card["proposal"]["effect"][part]) > 0
    looked = {**approval, "looked": True}
    async with world.http.post(f"{url}/approve", json=looked, headers=SAME) as answer:
        assert answer.status == 200
    for query, status in (("part=nothing", 422), ("after=-1", 422), ("after=99", 200)):
        async with world.http.get(f"{url}/whole?{query}") as answer:
            assert answer.status == status


async def test_reading_by_the_api(page_world: World) -> None:
    world = page_world
    url = f"{world.url}{PREFIX}"
    world.broker.emit_many([("text", {"text": f"line {i}"}) for i in range(5)])
    async with world.http.get(f"{url}/swarm") as answer:
        swarm = await answer.json()
    assert [agent["name"] for agent in swarm["agents"]] == ["hm1nd", "scout"]
    async with world.http.get(
        f"{url}/agents/scout/events", params=[("limit", "2"), ("kinds", "text")]
    ) as answer:
        found = await answer.json()
    assert [event["data"]["text"] for event in found["events"]] == ["line 3", "line 4"]
    async with world.http.get(f"{url}/agents/scout/events?q=3") as answer:
        found = await answer.json()
    assert [event["data"]["text"] for event in found["events"]] == ["line 3"]
    searched = {"agent": "b" * 12, "query": "3", "limit": 200}  # from the newest on: no `before`
    assert world.broker.called("search_events") == [searched]
    async with world.http.get(f"{url}/agents/scout/events?limit=9&limits=1") as answer:
        assert answer.status == 422
    await world.broker.stop()
    await world.until(lambda: not world.site.broker.is_up)
    async with world.http.get(f"{url}/messages") as answer:
        assert answer.status == 503


async def test_figures_for_a_scraper(page_world: World) -> None:
    world = page_world
    text = await world.get("/metrics")
    assert 'hive_dashboard_process_up{process="broker"} 1' in text
    assert "hive_broker_messages_total 3" in text
    world.http.cookie_jar.clear()
    token = (world.layout.dashboard / "metrics-token").read_text().strip()
    assert (world.layout.dashboard / "metrics-token").stat().st_mode & 0o777 == 0o600
    bearer = {"Authorization": f"Bearer {token}"}
    for path, headers, status in (
        ("/metrics", bearer, 200),
        ("/metrics", {"Authorization": "Bearer wrong"}, 303),
        ("/", bearer, 303),
        (f"{PREFIX}/swarm", bearer, 401),
    ):
        async with world.http.get(
            world.url + path, headers=headers, allow_redirects=False
        ) as answer:
            assert answer.status == status, path
    await world.broker.stop()
    async with world.http.get(f"{world.url}/metrics", headers=bearer) as answer:
        text = await answer.text()
    assert 'hive_dashboard_process_up{process="broker"} 0' in text
    assert "hive_broker_" not in text


async def test_the_page_of_the_api(page_world: World) -> None:
    page = await page_world.get("/api")
    for path in ("/api/v1/proposals/{n}/approve", "/api/v1/agents/{name}/events"):
        assert path in page
    async with page_world.http.get(f"{page_world.url}{PREFIX}/openapi.json") as answer:
        document = await answer.json()
    name = document["components"]["securitySchemes"]["session"]["name"]
    assert name == page_world.site.settings.cookie
