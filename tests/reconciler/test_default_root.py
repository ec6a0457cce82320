"""`hive up` by root without --root: the system's paths, and none of the system's users."""

from dataclasses import replace

import pytest


@pytest.fixture
def layout(layout, monkeypatch):
    def nobody(name):
        raise KeyError(name)

    monkeypatch.setattr("pwd.getpwnam", nobody)
    monkeypatch.setattr("grp.getgrnam", nobody)
    return replace(layout, tag="")


async def test_its_own_user_may_ask_and_the_broker_is_that_user(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    assert (await swarm.host.request("status"))["agents"]
    assert await swarm.requests.request("list", {"uid": swarm.uid("hm1nd")}) is not None
