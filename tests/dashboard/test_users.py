"""Named users: added, removed, with one role each; who may ask for links; a trusted proxy."""

from __future__ import annotations

import os
import pwd
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from support.dashboard_world import JSON, SAME, World

from hive_dashboard.auth import desk
from hive_dashboard.auth.service import Auth
from hive_dashboard.auth.store import Store
from hive_dashboard.service import serving
from hive_dashboard.settings import Settings
from hive_wire.jsonrpc import Caller
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect


async def ask(world: World, method: str, **params: Any) -> Any:
    peer = await connect(world.layout.dashboard_sock)
    try:
        return await peer.request(method, params)
    finally:
        peer.close()


async def test_users_are_added_listed_and_removed_with_their_sessions(world: World) -> None:
    await ask(world, "users.add", name="ana", view_only=False)
    link = await world.link("ana")
    await world.login("ana")
    (row,) = (await ask(world, "users.list"))["users"]
    assert (row["name"], row["view_only"], row["sessions"]) == ("ana", False, 1)
    async with world.http.get(f"{world.url}/events") as stream:
        await stream.content.readline()
        assert (await ask(world, "users.remove", name="ana"))["ended"] == 1
        while await stream.content.readline():
            pass  # her open stream ends, too
    async with world.http.get(world.url, allow_redirects=False) as answer:
        assert answer.status == 303
    code = link.partition("#")[2]
    async with world.http.post(f"{world.url}/login", data={"code": code}, headers=SAME) as answer:
        assert answer.status == 401, "links of a removed user are void"
    with pytest.raises(RpcError, match="no user 'ana'"):
        await ask(world, "users.remove", name="ana")


async def test_a_role_holds_for_every_link(world: World) -> None:
    await world.login("bob")
    await ask(world, "users.add", name="bob", view_only=True)
    async with world.http.get(f"{world.url}/api/session", headers=SAME) as answer:
        assert answer.status in (200, 401)
        assert "false" not in await answer.text(), "the session that could act is over"
    await world.login("bob", view_only=False)
    async with world.http.post(
        f"{world.url}/send", data={"to": "scout", "body": "x"}, headers=SAME
    ) as answer:
        assert answer.status == 403


@pytest.mark.parametrize("name", ["", "a b", "<b>", "../x", "x" * 40])
async def test_bad_names(world: World, name: str) -> None:
    with pytest.raises(RpcError, match="no user name"):
        await ask(world, "users.add", name=name)


async def test_users_of_an_older_file_are_those_with_sessions(layout: Layout) -> None:
    layout.dashboard.mkdir()
    db = sqlite3.connect(layout.dashboard / "sessions.sqlite")
    db.executescript(
        "CREATE TABLE session (id TEXT PRIMARY KEY, user TEXT NOT NULL, view_only INTEGER NOT NULL,"
        "created REAL NOT NULL, seen REAL NOT NULL, agent TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "INSERT INTO session VALUES ('a','ana',0,9e9,9e9,''),('b','ana',1,9e9,9e9,''),"
        "('c','bob',1,9e9,9e9,''); PRAGMA user_version = 1;"
    )
    db.close()
    for _ in range(2):
        auth = Auth(Store(layout.dashboard), lambda _id: None, lambda _n: None)
        await auth.start()
        assert [(u["name"], bool(u["view_only"]), u["sessions"]) for u in auth.users()] == [
            ("ana", False, 0),  # nobody knows any more whose browser it was: they log in again
            ("bob", True, 0),
        ]
        await auth.stop()


@dataclass
class Someone:
    caller: Caller


async def test_an_operator_logs_in_as_themselves_under_the_system_service(layout: Layout) -> None:
    nobody = pwd.getpwnam("nobody")
    if nobody.pw_uid == os.geteuid():
        pytest.skip("needs a user who is not nobody")
    peer: Any = Someone(Caller(1, nobody.pw_uid, nobody.pw_gid))
    auth = Auth(Store(layout.dashboard), lambda _id: None, lambda _n: None)
    await auth.start()
    system = desk.handlers(auth, lambda: "x", system=True)
    assert (await system["login.issue"](peer, {"user": "nobody"}))["url"].startswith("x#")
    with pytest.raises(RpcError, match="you may log in as nobody"):
        await system["login.issue"](peer, {"user": "ana"})
    for method, params in (("users.add", {"name": "x"}), ("users.remove", {"name": "nobody"})):
        with pytest.raises(RpcError, match="only root"):
            await system[method](peer, params)
    own = desk.handlers(auth, lambda: "x", system=False)
    with pytest.raises(RpcError, match="only root"):
        await own["login.issue"](peer, {"user": "nobody"})
    await auth.stop()


# -- a proxy that says who it is -----------------------------------------------------------------


@asynccontextmanager
async def proxied(layout: Layout, networks: tuple[str, ...]) -> AsyncIterator[str]:
    settings = Settings(
        layout, port=0, proxy_header="Remote-User", proxies=tuple(map(ip_network, networks))
    )
    async with serving(settings) as site:
        await site.auth.add_user("ana", False)
        await site.auth.add_user("bob", True)
        yield f"http://127.0.0.1:{site.port}"


async def who(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    async with http.get(f"{url}/api/session", headers={**JSON, **headers}) as answer:
        return answer.status, await answer.text()


async def test_a_trusted_proxy_names_the_user(layout: Layout) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        proxied(layout, ("127.0.0.1/32",)) as url,
        aiohttp.ClientSession(cookie_jar=jar) as http,
    ):
        assert (await who(http, url))[0] == 401
        assert await who(http, url, **{"Remote-User": "ana"}) == (
            200,
            '{"user":"ana","view_only":false,"no_room":null}',
        )
        assert len(jar) == 1
        assert "ana" in (await who(http, url, **{"Remote-User": "ana"}))[1]
        assert "true" in (await who(http, url, **{"Remote-User": "bob"}))[1]
        status, text = await who(http, url, **{"Remote-User": "eve"})
        assert status == 403
        assert "hive users add" in text


async def test_a_proxy_speaks_for_no_form_that_comes_from_nowhere(layout: Layout) -> None:
    """The proxy's own session is the credential then: it needs no cookie of ours."""
    async with proxied(layout, ("127.0.0.1/32",)) as url, aiohttp.ClientSession() as http:
        for headers, status in (({}, 403), ({"Origin": url}, 401)):
            sent = {"Remote-User": "ana", **headers}
            async with http.post(f"{url}/login", data={"code": "x"}, headers=sent) as answer:
                assert answer.status == status


async def test_from_elsewhere_the_header_says_nothing(layout: Layout) -> None:
    async with proxied(layout, ("192.0.2.0/24",)) as url, aiohttp.ClientSession() as http:
        assert (await who(http, url, **{"Remote-User": "ana"}))[0] == 401


async def test_without_the_setting_the_header_says_nothing(world: World) -> None:
    assert (await who(world.http, world.url, **{"Remote-User": "ana"}))[0] == 401
