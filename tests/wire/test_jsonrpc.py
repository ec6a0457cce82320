import asyncio
import os
import stat

import pytest
import uvloop

from hive_wire.frames import MAX_FRAME
from hive_wire.jsonrpc import MAX_IN_FLIGHT, Peer
from hive_wire.link import Link
from hive_wire.rpc_errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REFUSED,
    PeerGone,
    RpcError,
)
from hive_wire.sockets import connect, listen


@pytest.fixture
async def serve(tmp_path):
    servers = []

    async def start(handlers, name="s.sock", **options):
        path = tmp_path / name
        servers.append(await listen(path, lambda: Peer(handlers, **options)))
        return path

    yield start
    for server in servers:
        server.close()


async def raw(path, data):
    """What the server answers to raw bytes until it closes or is silent for good."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_both_ends_call(serve):
    async def ask_back(peer, params):
        return {"sum": await peer.request("add", params)}

    path = await serve({"ask": ask_back})
    peer = await connect(path, {"add": lambda _, p: p["a"] + p["b"]})
    assert await peer.request("ask", {"a": 1, "b": 2}) == {"sum": 3}
    peer.close()


def test_it_runs_on_uvloop(tmp_path):
    async def main():
        server = await listen(tmp_path / "s.sock", lambda: Peer({"ping": lambda *_: "pong"}))
        peer = await connect(tmp_path / "s.sock")
        assert await peer.request("ping") == "pong"
        peer.close()
        await peer.gone()
        server.close()
        await server.wait_closed()

    uvloop.run(main())


async def test_the_kernel_says_who_calls(serve):
    path = await serve({"who": lambda peer, _: [peer.caller.pid, peer.caller.uid]})
    peer = await connect(path)
    assert await peer.request("who") == [os.getpid(), os.getuid()]
    peer.close()


async def test_errors_reach_the_caller_and_inner_faults_stay_inside(serve):
    def refuse(_peer, _params):
        raise RpcError(REFUSED, "not today", {"until": 1})

    def broken(_peer, _params):
        raise KeyError("/secret/path")

    path = await serve({"refuse": refuse, "broken": broken})
    peer = await connect(path)
    with pytest.raises(RpcError) as refused:
        await peer.request("refuse")
    assert (refused.value.code, refused.value.message, refused.value.data) == (
        REFUSED,
        "not today",
        {"until": 1},
    )
    with pytest.raises(RpcError) as inside:
        await peer.request("broken")
    assert "secret" not in inside.value.message
    with pytest.raises(RpcError) as unknown:
        await peer.request("nothing")
    assert unknown.value.code == METHOD_NOT_FOUND
    peer.close()


@pytest.mark.parametrize("bad", [b"{nonsense\n", b"[]\n", b"\xff\xfe\n", b"x" * (MAX_FRAME + 1)])
async def test_a_malformed_frame_closes_that_connection_only(serve, bad):
    path = await serve({"ping": lambda *_: "pong"})
    other = await connect(path)
    answer = await raw(path, bad)
    assert f'"code":{PARSE_ERROR}'.encode() in answer
    assert await other.request("ping") == "pong"
    other.close()


async def test_wrong_shapes_get_an_error(serve):
    path = await serve({"ping": lambda *_: "pong"})
    answer = await raw(path, b'{"id":1,"method":"ping","params":[1]}\n')
    assert f'"code":{INVALID_REQUEST}'.encode() in answer


async def test_requests_of_one_connection_start_in_order(serve):
    started = []

    async def note(_peer, params):
        started.append(params["n"])
        await asyncio.sleep(0)

    path = await serve({"note": note})
    peer = await connect(path)
    await asyncio.gather(*(peer.request("note", {"n": n}) for n in range(1000)))
    assert started == list(range(1000))
    peer.close()


async def test_a_reader_that_does_not_read_is_dropped(serve):
    dropped = asyncio.Event()

    def flood(peer, _params):
        for _ in range(400):
            peer.notify("noise", {"data": "x" * 50_000})

    path = await serve({"flood": flood}, max_unsent=1 << 20, on_close=lambda _: dropped.set())
    _reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"method":"flood"}\n')
    async with asyncio.timeout(10):
        await dropped.wait()
    writer.close()


async def test_a_lost_connection_ends_what_waits(serve):
    async def never(peer, _params):
        peer.close()
        await asyncio.Event().wait()

    path = await serve({"never": never})
    peer = await connect(path)
    with pytest.raises(PeerGone):
        await peer.request("never")
    with pytest.raises(PeerGone):
        await peer.request("never")


async def test_a_future_goes_on_when_its_connection_ends_and_a_coroutine_does_not(serve):
    events, futures, ended = asyncio.Event(), [], asyncio.Event()

    async def coroutine(_peer, _params):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def future(_peer, params):
        futures.append(asyncio.get_running_loop().create_future())
        events.set()
        return futures[-1]

    path = await serve({"coroutine": coroutine, "future": future})
    peer = await connect(path)
    asked = [asyncio.ensure_future(peer.request(method)) for method in ("coroutine", "future")]
    async with asyncio.timeout(5):
        await events.wait()
        peer.close()
        await ended.wait()
    assert not futures[0].cancelled()
    futures[0].set_result({})  # nobody is there to hear it
    await asyncio.gather(*asked, return_exceptions=True)


async def test_futures_answer_with_result_error_or_what_went_wrong_inside(serve):
    def answered(how, value):
        future = asyncio.get_running_loop().create_future()
        getattr(future, how)(*value)
        return future

    path = await serve(
        {
            "good": lambda *_: answered("set_result", [{"a": 1}]),
            "refused": lambda *_: answered("set_exception", [RpcError(3, "look again")]),
            "broken": lambda *_: answered("set_exception", [ValueError("secret")]),
            "given up": lambda *_: answered("cancel", []),
        }
    )
    peer = await connect(path)
    assert await peer.request("good") == {"a": 1}
    with pytest.raises(RpcError, match="look again"):
        await peer.request("refused")
    for method in ("broken", "given up"):
        with pytest.raises(RpcError, match="failed inside"):
            await peer.request(method)
    peer.close()


async def test_more_than_may_run_at_once_waits_its_turn(serve):
    waiting = []

    def slow(_peer, _params):
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    path = await serve({"slow": slow})
    peer = await connect(path)
    count = 3 * MAX_IN_FLIGHT
    body = "x" * 2000  # so that they do not all arrive with one read
    asked = [asyncio.ensure_future(peer.request("slow", {"body": body})) for _ in range(count)]
    async with asyncio.timeout(10):
        done = 0
        while done < count:
            await asyncio.sleep(0)
            for future in waiting[done:]:
                future.set_result(None)
                done += 1
        await asyncio.gather(*asked)
    peer.close()


async def test_all_that_wait_for_the_end_of_a_connection_hear_of_it(serve):
    path = await serve({"who": lambda *_: "me"})
    peer = await connect(path)
    waiting = [asyncio.ensure_future(peer.gone()) for _ in range(2)]
    assert await peer.request("who") == "me"
    assert not peer.closed
    assert not any(one.done() for one in waiting)
    peer.close()
    await asyncio.wait_for(asyncio.gather(*waiting, peer.gone()), 5)
    assert peer.closed


async def test_a_buffer_that_is_just_full_holds_up_nobody():
    class Full(asyncio.Transport):
        def get_write_buffer_size(self):
            return 1 << 16

    peer = Peer({})
    peer.connection_made(Full())  # a transport pauses its protocol beyond this size only
    await asyncio.wait_for(peer.drained(), 5)
    peer.pause_writing()
    waiting = [asyncio.ensure_future(peer.drained()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    peer.resume_writing()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_listening_takes_the_place_of_a_stale_socket(tmp_path):
    path = tmp_path / "s.sock"
    old = await listen(path, lambda: Peer({"who": lambda *_: "old"}))
    new = await listen(path, lambda: Peer({"who": lambda *_: "new"}), mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    peer = await connect(path)
    assert await peer.request("who") == "new"
    peer.close()
    old.close()
    new.close()


async def test_a_link_comes_back_and_says_hello_each_time(serve, tmp_path):
    hellos = []

    async def greet(peer):
        hellos.append(await peer.request("hello"))

    link = Link(tmp_path / "s.sock", on_connect=greet)
    running = asyncio.create_task(link.run())
    with pytest.raises(RpcError, match="is not connected"):
        await link.request("hello")
    for round_ in (1, 2):
        path = await serve({"hello": lambda _p, _q, r=round_: r, "bye": lambda p, _: p.close()})
        async with asyncio.timeout(10):
            peer = await link.up()
            assert await link.request("hello") == round_
            path.unlink()
            link.notify("bye")
            await peer.gone()
            while link.is_up:
                await asyncio.sleep(0)
    assert hellos == [1, 2]
    running.cancel()


def test_the_same_on_uvloop(tmp_path):

    async def talk():
        server = await listen(
            tmp_path / "s.sock", lambda: Peer({"who": lambda peer, _params: peer.caller.pid})
        )
        peer = await connect(tmp_path / "s.sock")
        try:
            return await peer.request("who", timeout=5)
        finally:
            peer.close()
            server.close()

    assert uvloop.run(talk()) == os.getpid()
