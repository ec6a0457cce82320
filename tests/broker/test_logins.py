"""Logins through the broker: only to a login page, and nothing is written down."""

from __future__ import annotations

import asyncio

import pytest
from support.broker_rig import agent, rig

from hive_broker.service.logins import is_login_page
from hive_wire.rpc_errors import REFUSED, RpcError

A = "aaaaaaaaaaaa"
URL = "https://claude.ai/oauth/authorize?state=the-secret-state"
CODE = "the-secret-code"


async def test_a_login_is_passed_on_and_not_kept(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", engine="claude", network="private"))
        scout = await hive.harness(A)
        answers = {"start": {"url": URL}, "code": {"text": "logged in"}, "cancel": {}}
        scout.answers["login"] = lambda _, params: answers[params["step"]]
        assert await hive.ask("login.start", uid=A, by="ann") == {"url": URL}
        assert await hive.ask("login.code", uid=A, code=CODE, by="ann") == {"text": "logged in"}
        await hive.ask("login.cancel", uid=A, by="ann")
        answers["start"] = {"url": "https://evil.example/login"}
        with pytest.raises(RpcError, match=r"no login page: .* claude.ai, .*Look"):
            await hive.ask("login.start", uid=A, by="ann")
        found = []
        async with asyncio.timeout(10):
            while len(found) < 3:  # they are written after the answers
                found = (await hive.ask("events", kinds=["login"]))["events"]
        assert [e["data"] for e in found] == [
            {"by": "ann", "outcome": outcome} for outcome in ("started", "done", "cancelled")
        ]
        await hive.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert CODE.encode() not in kept
    assert b"secret-state" not in kept


@pytest.mark.parametrize("other", [{"network": "none"}, {"engine": "rehearsal"}])
async def test_who_cannot_log_in(tmp_path, other):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", **{"engine": "claude", "network": "host", **other}))
        with pytest.raises(RpcError, match="the gateway logs in for it") as error:
            await hive.ask("login.start", uid=A, by="ann")
        assert error.value.code == REFUSED


@pytest.mark.parametrize(
    ("url", "good"),
    [
        (URL, True),
        ("https://claude.com/cai/oauth/authorize?code=true", True),
        ("http://claude.ai/", False),
        ("https://claude.ai.evil.example/", False),
        ("https://claude.ai@evil.example/", False),
        ("https://evil.example/https://claude.ai/", False),
        ("https://claude.ai:444/", False),
        ("https://claude.ai\\@evil.example/", False),
        ("https://claude.ai/\u202e", False),
        ("javascript://claude.ai/%0aalert(1)", False),
        ("https://[::1/", False),
        ("", False),
    ],
)
def test_where_a_person_may_be_sent(url, good):
    assert is_login_page(url) == good
