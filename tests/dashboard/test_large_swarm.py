"""1,500 agents: more than one frame holds of both processes."""

from __future__ import annotations

import json
import re

from support.dashboard_world import World
from support.page_rows import agent_status, host_agent

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
