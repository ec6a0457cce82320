"""Requests that are wrong in themselves: what the requester is told."""

from __future__ import annotations

import pytest

from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester


@pytest.mark.parametrize("name", ["../x", "operator", "Scout", "", "a" * 10, "everyone", "x-"])
async def test_bad_names(hive: Hive, manager: Requester, name: str) -> None:
    with pytest.raises(Refused, match=r"name"):
        await hive.submit_spawn(manager, name, "x")
    assert not await hive.proposals()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"limit.memory": "1G"}, "did you mean 'limits'"),
        ({"limits.memory": "much"}, "is no size"),
        ({"role": "manager"}, "cannot be set"),
        ({"uid": "aaaaaaaaaaaa"}, "cannot be set"),
        ({"../x": 1}, "is no key"),
        ({"a.b.c": 1}, "is no key"),
        ({"budget.usd_per_day": None}, "budget.usd_per_day has no value"),
    ],
)
async def test_bad_settings(
    hive: Hive, manager: Requester, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        await hive.submit_spawn(manager, "scout", "x", settings=settings)


@pytest.mark.parametrize("file", ["agent.toml", "agent.nix"])
async def test_a_role_text_takes_the_place_of_no_other_file(
    hive: Hive, manager: Requester, file: str
) -> None:
    """In that of agent.toml it would bring a uid: that of a retired agent, with all it left."""
    text = 'uid = "aaaaaaaaaaaa"\n'
    with pytest.raises(Refused, match="names a text"):
        await hive.submit_spawn(manager, "spy", "x", prompt=text, settings={"prompt": file})
    assert not await hive.proposals()


async def test_policy_bounds_are_those_of_the_base(hive: Hive, manager: Requester) -> None:
    done = await hive.submit_spawn(
        manager, "scout", "x", settings={"limits.memory": "64G", "network.mode": "host"}
    )
    assert done.state == "rejected"
    assert "limits.memory = 64G is above 8G" in done.message
    assert "network.mode = host" in done.message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"limits.memory": "9G"}, "limits.memory = 9G is above 8G"),
        ({"budget.usd_per_day": 51.0}, "budget.usd_per_day = 51 is above 50"),
        ({"network.mode": "host"}, "network.mode = host is not among none, private"),
        ({"tools.builtin": ["Bash", "WebFetch"]}, "tools.builtin has WebFetch, which no agent"),
    ],
)
async def test_each_bound_has_its_words(
    hive: Hive, manager: Requester, settings: dict[str, object], said: str
) -> None:
    done = await hive.submit_spawn(manager, "scout", "x", settings=settings)
    assert done.state == "rejected"
    assert said in done.message
    assert done.message.startswith("agents/scout/agent.toml: ")
    assert done.message.endswith("the policy in hive.toml sets this bound")


async def test_templates_are_those_of_hive_toml(hive: Hive, manager: Requester) -> None:
    with pytest.raises(Refused, match=r"no template 'cook' in hive\.toml; there are: worker"):
        await hive.submit_spawn(manager, "scout", "x", template="cook")
    done = await hive.submit_spawn(manager, "scout", "x", template="worker")
    assert done.state == "open"


@pytest.mark.parametrize("name", ["x\nApproved-by: root", "\x1b[2J", "", "x" * 200])
async def test_names_that_would_forge_a_trailer(hive: Hive, manager: Requester, name: str) -> None:
    with pytest.raises(Refused, match="no name of a user"):
        await hive.submit_spawn(Requester.user(name), "scout", "x")
    done = await hive.submit_spawn(manager, "scout", "x")
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    for by in (name, "policy/power@0", "policy/x"):
        with pytest.raises(Refused):
            await hive.approve(done.n, effect.digest, by)
