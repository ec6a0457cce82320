from __future__ import annotations

import asyncio
import os
import socket
import sqlite3

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dashboard_world import SAME, World

from hive_dashboard.auth.service import Auth
from hive_dashboard.auth.sessions import (
    ABSOLUTE,
    FREE_FAILURES,
    IDLE,
    LINK_TTL,
    LONGEST_DELAY,
    Browser,
    Links,
    Sessions,
    Throttle,
)
from hive_dashboard.auth.store import Store, StoreError
from hive_dashboard.web import peers
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

HERE = Browser("a browser", 1000)


async def test_a_link_logs_in_once(world: World) -> None:
    link = await world.link("ana")
    address, _, code = link.partition("#")
    assert address == f"{world.url}/login"
    await _post(world, code, 303)
    assert "ana" in await world.get("/")
    async with (
        aiohttp.ClientSession() as other,
        other.post(f"{world.url}/login", data={"code": code}, headers=SAME) as answer,
    ):
        assert answer.status == 401
        assert "hive login" in await answer.text()


async def test_the_cookie_is_for_us_alone(world: World) -> None:
    code = (await world.link()).partition("#")[2]
    cookie = await _post(world, code, 303)
    assert world.layout.tag in cookie
    for word in ("HttpOnly", "SameSite=Strict", "Path=/"):
        assert word in cookie
    assert code not in cookie


async def test_a_login_gives_a_new_id_and_ends_the_old_one(world: World) -> None:
    await world.login()
    first = {s.id for s in world.site.auth.live()}
    await world.login()
    assert {s.id for s in world.site.auth.live()}.isdisjoint(first)
    # A cookie that somebody planted before the login is worth nothing.
    planted = {world.site.settings.cookie: "planted"}
    async with (
        aiohttp.ClientSession(cookies=planted) as http,
        http.get(world.url, allow_redirects=False) as answer,
    ):
        assert answer.status == 303


async def status_for(world: World, uid: int, family: int, address: str) -> int:
    """Of a request with our cookie from a process of that user."""
    os.seteuid(uid)
    try:
        sock = socket.socket(family)
    finally:
        os.seteuid(0)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address, world.site.port))
    reader, writer = await asyncio.open_connection(sock=sock)
    [cookie] = [c for c in world.http.cookie_jar if c.key == world.site.settings.cookie]
    host = f"Host: 127.0.0.1:{world.site.port}\r\nCookie: {cookie.key}={cookie.value}\r\n"
    writer.write(f"GET /api/session HTTP/1.1\r\n{host}Connection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
async def test_a_cookie_is_worth_nothing_to_another_user_of_this_machine(
    page_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser sends it to every port of our name: to an agent's with this machine's network."""
    world = page_world
    for family, address in (
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
    ):
        assert await status_for(world, 0, family, address) == 200
        assert await status_for(world, 65534, family, address) == 401
    assert caplog.text.count("came from user 65534 of this machine, not from user 0") == 1
    assert "damo" in await world.get("/"), "who has it rightly goes on"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_whose_connection_it_is_is_known_by_both_kinds_of_address(address: str) -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), address, 0)
    async with server:
        here = server.sockets[0].getsockname()[:2]
        _, writer = await asyncio.open_connection(*here)
        there = writer.get_extra_info("sockname")[:2]
        assert await asyncio.to_thread(peers.owner, there, here) == os.geteuid()
        other = (here[0], 1)
        assert await asyncio.to_thread(peers.owner, there, other) is None
        writer.close()
        await writer.wait_closed()


async def test_who_is_asked_to_log_in_comes_back_to_the_whole_address(world: World) -> None:
    async with world.http.get(f"{world.url}/a/scout/?q=a+b&at=7") as answer:
        assert 'name="next" value="/a/scout/?q=a+b&amp;at=7"' in await answer.text()


async def test_the_way_back_stays_here(world: World) -> None:
    for after, wanted in (
        ("/a/scout/", "/a/scout/"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\n/evil.example", "/"),
    ):
        code = (await world.link()).partition("#")[2]
        async with world.http.post(
            f"{world.url}/login",
            data={"code": code, "next": after},
            headers=SAME,
            allow_redirects=False,
        ) as answer:
            assert answer.headers["Location"] == wanted


async def test_who_may_only_look_cannot_act(world: World) -> None:
    await world.login("guest", view_only=True)
    world.host.add(1)
    await world.until(lambda: bool(world.site.mirror.snapshot.details))
    page = await world.get("/")
    assert "view only" in page
    assert 'action="/sessions/end"' not in await world.get("/sessions")
    assert 'action="/send"' not in page
    assert "/approve" not in page
    async with world.http.post(
        f"{world.url}/send", data={"to": "scout", "body": "x"}, headers=SAME
    ) as answer:
        assert answer.status == 403
    assert world.broker.called("send") == []


async def test_logout_and_revocation_end_streams(page_world: World) -> None:
    world = page_world
    (mine,) = world.site.auth.live()
    async with world.http.get(f"{world.url}/events") as stream:
        await stream.content.readline()
        async with world.http.post(
            f"{world.url}/sessions/end",
            data={"session": mine.label},
            headers=SAME,
            allow_redirects=False,
        ) as answer:
            assert answer.status == 303
        while await stream.content.readline():
            pass
    async with world.http.get(world.url, allow_redirects=False) as answer:
        assert answer.status == 303


async def test_the_list_shows_every_session_and_no_secret(page_world: World) -> None:
    world = page_world
    page = await world.get("/sessions")
    (mine,) = world.site.auth.live()
    assert mine.label in page
    assert mine.id not in page


async def test_sessions_outlive_the_process_and_are_stored_hashed(layout: Layout) -> None:
    auth = Auth(Store(layout.dashboard), lambda _id: None, lambda _n: None)
    await auth.start()
    done = await auth.login(await auth.issue("ana", False), HERE)
    assert done is not None
    await auth.stop()
    assert done[0].encode() not in (layout.dashboard / "sessions.sqlite").read_bytes()
    again = Auth(Store(layout.dashboard), lambda _id: None, lambda _n: None)
    await again.start()
    found = await again.session(done[0], HERE.uid)
    assert found is not None
    assert found.user == "ana"
    await again.end(found.label)
    assert await again.session(done[0], HERE.uid) is None
    await again.stop()


async def test_a_file_of_another_version_is_named(layout: Layout) -> None:
    layout.dashboard.mkdir()
    db = sqlite3.connect(layout.dashboard / "sessions.sqlite")
    db.execute("PRAGMA user_version = 9")
    db.close()
    store = Store(layout.dashboard)
    with pytest.raises(StoreError, match="another version"):
        await store.open(0)
    await store.close()


async def test_bad_wishes_for_links(world: World) -> None:
    peer = await connect(world.layout.dashboard_sock)
    for params in (
        {},
        {"user": ""},
        {"user": "a b"},
        {"user": "<b>"},
        {"user": "x" * 40},
        {"user": "a", "more": 1},
        {"user": 1},
    ):
        with pytest.raises(RpcError):
            await peer.request("login.issue", params)
    peer.close()
    assert (world.layout.dashboard_sock.stat().st_mode & 0o777) == 0o600


async def test_many_failures_make_who_fails_wait(world: World) -> None:
    for _ in range(FREE_FAILURES):
        await _post(world, "wrong", 401)
    async with world.http.post(
        f"{world.url}/login", data={"code": "wrong"}, headers=SAME
    ) as answer:
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1


async def test_who_has_a_link_waits_for_nobody(world: World) -> None:
    """Whoever can reach the port could keep everybody out otherwise; no code can be guessed."""
    code = (await world.link()).partition("#")[2]
    for _ in range(FREE_FAILURES):
        await _post(world, "wrong", 401)
    await _post(world, "wrong", 429)
    await _post(world, code, 303)


# -- the rules -----------------------------------------------------------------------------------


def test_sessions_end_by_idleness_and_by_age() -> None:
    sessions = Sessions()
    cookie, row = sessions.open("ana", False, HERE, 0)
    assert sessions.find(cookie, IDLE - 1) == row
    assert sessions.find(cookie, IDLE + 1) is None
    now = 0.0
    while now < ABSOLUTE - IDLE:
        now += IDLE / 2
        row = sessions.touch(row, now)
    assert sessions.find(cookie, ABSOLUTE + 1) is None
    assert sessions.find(None, 0) is None
    assert sessions.find("", 0) is None


def test_links_end_after_two_minutes() -> None:
    links = Links()
    old, fresh = links.issue("a", False, 0), links.issue("b", True, 1)
    assert links.redeem(old, LINK_TTL + 0.5) is None
    found = links.redeem(fresh, LINK_TTL + 0.5)
    assert found is not None
    assert (found.user, found.view_only) == ("b", True)
    assert links.redeem(fresh, 2) is None


@given(st.lists(st.floats(0, 100), max_size=30))
def test_the_wait_grows_and_is_bounded(gaps: list[float]) -> None:
    throttle, now = Throttle(), 0.0
    for i, gap in enumerate(gaps):
        now += gap
        throttle.failed(now)
        wait = throttle.wait(now)
        assert (wait > 0) == (i + 1 >= FREE_FAILURES)
        assert wait <= LONGEST_DELAY + 1e-6
    throttle.passed()
    assert throttle.wait(now) == 0


async def _post(world: World, code: str, status: int) -> str:
    async with world.http.post(
        f"{world.url}/login", data={"code": code}, headers=SAME, allow_redirects=False
    ) as answer:
        assert answer.status == status
        return answer.headers.get("Set-Cookie", "")
