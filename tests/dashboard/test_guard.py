"""Who may speak to the dashboard: every way in, with every kind of sender."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from support.dashboard_world import SAME, World

from hive_dashboard.settings import Settings
from hive_dashboard.web.guard import MAX_REQUEST
from hive_wire.paths import Layout

POSTS = (
    "/send",
    "/spawn",
    "/proposals/1/approve",
    "/proposals/1/deny",
    "/proposals/1/changes",
    "/proposals/1/revert",
    "/kept/old/revive",
    "/kept/old/purge",
    "/a/scout/login/start",
    "/api/v1/send",
    "/api/v1/proposals/1/approve",
    "/questions/1/extend",
    "/a/scout/pause",
    "/a/scout/retire",
    "/questions/1/answer",
    "/dead/1/drop",
    "/undamp",
    "/pause",
    "/unpause",
    "/a/scout/prompt",
    "/a/scout/power",
    "/a/scout/command",
    "/sessions/end",
    "/logout",
)
GETS = (
    "/",
    "/a/scout/",
    "/proposals/1",
    "/sessions",
    "/messages",
    "/questions",
    "/dead",
    "/audit",
    "/plan",
    "/a/scout/journal",
    "/api",
    "/api/v1/swarm",
    "/api/v1/openapi.json",
    "/metrics",
    "/events",
    "/api/swarm",
    "/api/session",
    "/api/agent/scout",
    "/api/agent/scout/history",
)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7000",
        "",
        "127.0.0.1",
        "localhost:1",
        "127.0.0.1.evil.example",
        "[::1",
    ],
)
async def test_another_name_gets_no_page(page_world: World, host: str) -> None:
    world = page_world
    async with world.http.get(world.url, headers={"Host": host}) as answer:
        assert answer.status == 421
        text = await answer.text()
    assert "--allowed-host" in text
    assert "scout" not in text


async def test_our_own_names_get_the_page(page_world: World) -> None:
    world = page_world
    for host in (f"localhost:{world.site.port}", f"127.0.0.1:{world.site.port}"):
        async with world.http.get(world.url, headers={"Host": host}) as answer:
            assert answer.status == 200


def test_allowed_hosts_hold_on_any_port(layout: Layout) -> None:
    settings = Settings(layout, allowed_hosts=("hive.example",))
    assert settings.host_allowed("hive.example", 7000)
    assert settings.host_allowed("Hive.Example:443", 7000)
    assert not settings.host_allowed("xhive.example", 7000)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
        {},
    ],
)
async def test_a_form_of_somebody_else_does_nothing(
    page_world: World, headers: dict[str, str]
) -> None:
    world = page_world
    for path in POSTS:
        async with world.http.post(
            world.url + path, data={"to": "scout", "body": "x"}, headers=headers
        ) as answer:
            assert answer.status == 403, path
    assert world.broker.called("send") == []
    assert world.broker.called("pause") == []


async def test_our_own_origin_is_enough_without_fetch_metadata(page_world: World) -> None:
    world = page_world
    async with world.http.post(
        f"{world.url}/send", data={"to": "scout", "body": "x"}, headers={"Origin": world.url}
    ) as answer:
        assert answer.status == 200
    assert len(world.broker.called("send")) == 1


async def test_nothing_is_open_without_a_session(world: World) -> None:
    for path in GETS:
        async with world.http.get(world.url + path, allow_redirects=False) as answer:
            assert answer.status in (303, 401), path
            assert "scout" not in await answer.text()
    for path in POSTS:
        async with world.http.post(world.url + path, headers=SAME) as answer:
            assert answer.status == 401, path
    assert world.broker.called("send") == []


async def test_get_never_acts(page_world: World) -> None:
    world = page_world
    for path in POSTS:
        async with world.http.get(f"{world.url}{path}?to=scout&body=x") as answer:
            assert answer.status in (404, 405), path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        async with world.http.request(method, world.url, headers=SAME) as answer:
            assert answer.status in (400, 405)
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_only_forms_and_json_are_read(page_world: World) -> None:
    world = page_world
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/xml"):
        async with world.http.post(
            f"{world.url}/send", data=b"to=scout&body=x", headers={**SAME, "Content-Type": kind}
        ) as answer:
            assert answer.status == 415
    async with world.http.post(
        f"{world.url}/send", json={"to": "scout", "body": "x"}, headers=SAME
    ) as answer:
        assert answer.status == 200
    assert len(world.broker.called("send")) == 1


async def test_a_huge_body_is_refused_in_words(page_world: World) -> None:
    world = page_world
    data = {"to": "scout", "body": "x" * (MAX_REQUEST + 1)}
    async with world.http.post(f"{world.url}/send", data=data, headers=SAME) as answer:
        assert answer.status == 413
        assert "256 KiB" in await answer.text()


async def test_every_answer_is_hardened(page_world: World) -> None:
    world = page_world
    style = world.site.assets.url("hive.css")
    for path, status in (
        ("/", 200),
        ("/nowhere", 404),
        ("/login", 200),
        ("/api/swarm", 200),
        (style, 200),
        ("/a/nobody/", 404),
    ):
        async with world.http.get(world.url + path) as answer:
            assert answer.status == status, path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            cached = "immutable" if path == style else "no-store"
            assert cached in answer.headers["Cache-Control"]


async def test_pages_name_no_other_host(page_world: World) -> None:
    world = page_world
    for name in ("hive.css", "swarm.js", "agent.js", "live.js", "dom.js"):
        text = await world.get(world.site.assets.url(name))
        assert "//" not in text.replace("http:\\/\\/", "").replace(
            "://", "<>"
        ) or "http<>" not in text.replace("://", "<>").replace("http<>www.w3.org/2000/svg", "")
    page = await world.get("/")
    assert "http" + "://" not in page
    assert "<style" not in page
    assert " style=" not in page
    assert "onclick" not in page


async def test_a_taken_port_is_said_clearly(world: World, tmp_path: Path) -> None:
    from hive_dashboard.service import CannotStart, serving

    with pytest.raises(CannotStart, match=rf"port {world.site.port} .* --port"):
        async with serving(Settings(Layout.of(tmp_path), port=world.site.port)):
            pass
    async with aiohttp.ClientSession() as http, http.get(world.url + "/login") as answer:
        assert answer.status == 200
