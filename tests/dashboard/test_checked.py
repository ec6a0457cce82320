"""What the checks and Nix say of a proposal, on its card."""

from __future__ import annotations

from typing import Any

import pytest
from support.dashboard_world import World

from hive_dashboard.live import mirror as mirrors

OK = {
    "state": "ok",
    "reason": "",
    "left_out": 2,
    "systems": [
        {
            "container": "h-scout",
            "changed": True,
            "packages": [
                {"name": "git", "before": "2.0", "after": "2.2"},
                {"name": "<b>jq", "before": None, "after": "1.7"},
            ],
            "units": [{"name": "a.service", "change": "removed"}],
            "to_build": 3,
            "to_fetch": 4,
        }
    ],
}


async def shown(world: World, build: dict[str, Any] | None, checks: list[str] | None = None) -> str:
    """The page, once it has this card."""
    world.host.proposals[7]["build"] = build
    world.host.proposals[7]["checks"] = checks or []
    world.host.proposals[7]["row"]["problems"] = len(checks or [])
    world.host.changed("proposals")

    def is_there() -> bool:
        found = world.site.mirror.snapshot.details.get(7)
        if found is None or list(found.detail.checks) != (checks or []):
            return False
        state = found.detail.build.state if found.detail.build else None
        return state == (build["state"] if build else None)

    await world.until(is_there)
    return await world.get("/")


async def test_what_nix_evaluates_can_be_approved_when_it_is_done(page_world: World) -> None:
    world = page_world
    world.host.add(7)
    running = await shown(world, {"state": "running", "reason": "", "left_out": 0, "systems": []})
    assert "Nix evaluates it" in running
    assert "/proposals/7/approve" not in running
    assert "/proposals/7/deny" in running
    done = await shown(world, OK)
    assert "/proposals/7/approve" in done
    for words in ("git 2.0 → 2.2", "&lt;b&gt;jq 1.7", "unit a.service", "3 to build, 4 to fetch"):
        assert words in done, words
    assert "2 more systems were not evaluated" in done


async def test_what_is_not_built_here_is_said_and_may_be_approved(page_world: World) -> None:
    world = page_world
    world.host.add(7)
    reason = "the runtime here is nspawn"
    page = await shown(
        world, {"state": "not-built", "reason": reason, "left_out": 0, "systems": []}
    )
    assert f"not built here: {reason}" in page
    assert "/proposals/7/approve" in page


async def test_what_could_not_be_read_is_said_and_read_again(
    page_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else has to happen for it."""
    monkeypatch.setattr(mirrors, "AGAIN", 0.05)
    world = page_world
    world.host.add(7)
    world.host.proposals[7]["diff_left_out"] = "some"
    await world.until(lambda: "open" in world.site.mirror.snapshot.unread)
    page = await world.get("/")
    assert "open proposals may be old: #7: the answer was not understood" in page
    assert 'action="/proposals/7/approve"' not in page
    world.host.proposals[7]["diff_left_out"] = 0
    await world.until(lambda: 7 in world.site.mirror.snapshot.details)
    assert 'action="/proposals/7/approve"' in await world.get("/")
    assert not world.site.mirror.snapshot.unread


async def test_one_part_that_breaks_holds_no_other_up(
    page_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "AGAIN", 0.05)
    world = page_world
    monkeypatch.setattr(world.broker, "dead", None)
    world.broker.emit("dead", {"message": 1})
    world.broker.message("hm1nd", "scout", "fresh news")
    await world.until(lambda: "dead" in world.site.mirror.snapshot.unread)
    page = await world.get("/")
    assert "dead letters may be old" in page
    assert "fresh news" in page


async def test_what_forbids_an_approval_takes_its_button_away(page_world: World) -> None:
    world = page_world
    world.host.add(7)
    assert "/proposals/7/approve" in await shown(world, None)
    page = await shown(world, None, ["agents/scout/agent.toml: limits.memory = 6G is above 4G"])
    assert "limits.memory = 6G is above 4G" in page
    assert "/proposals/7/approve" not in page
