import asyncio

import pytest
from support.fake_runtime import FakeRuntime
from support.host_broker import HostBroker

from hive_reconciler.app.host_api import HostApi
from hive_reconciler.app.requests_api import RequestsApi
from hive_reconciler.core.builds import BUILDS, Builds
from hive_reconciler.core.containers import Toolchain
from hive_reconciler.core.files import Owners, make_run
from hive_reconciler.core.inbox import Inbox
from hive_reconciler.core.loop import Reconciler
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.hive import Hive
from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.sockets import connect, listen

TOOLS = Toolchain("t1", ("python3", "-m", "hive_harness"), (), ())


class Swarm:
    """The reconciler with real git and sockets; runtime and broker are doubles."""

    def __init__(self, layout):
        self.layout = layout
        self.runtime = FakeRuntime()
        self.broker = HostBroker(layout)
        self.tools = TOOLS
        self.nix = "no nix in this test"
        self.hello_at_start = True

    async def open(self):
        owners = Owners.of(self.layout)
        make_run(self.layout, owners)
        self.layout.reconciler.mkdir(parents=True, exist_ok=True)
        self.hive = await Hive.open(
            self.layout, runtime_reads_nix=False, first=FirstCommit(engine="rehearsal")
        )
        self.core = Reconciler(
            self.layout,
            owners,
            self.hive,
            runtime=self.runtime,
            find_toolchain=lambda: self.tools,
            on_change=self._changed,
        )
        self.builds = Builds(
            self.hive,
            self.nix,
            self.layout.reconciler / BUILDS,
            self._moved,
        )
        self.host_api = HostApi(self.core, self.builds)
        requests = self.requests_api = RequestsApi(self.core, self.builds, self.host_api.moved)
        inbox = Inbox(self.hive, self.layout.inbox_git, self.host_api.moved)
        self._servers = [
            await listen(
                self.layout.host_sock,
                lambda: Peer(self.host_api.handlers(), on_close=self.host_api.closed),
            ),
            await listen(self.layout.requests_sock, lambda: Peer(requests.handlers())),
        ]
        self._tasks = [
            asyncio.create_task(part.run())
            for part in (self.core.broker, self.core.gateway, self.core, inbox, self.builds)
        ]
        self.host = await connect(self.layout.host_sock)
        self.requests = await connect(self.layout.requests_sock)

    async def close(self):
        self.host.close()
        self.requests.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            server.close()
        await self.hive.close()

    def _moved(self):
        self.host_api.moved()

    def _changed(self):
        self.host_api.changed("agents")
        if self.hello_at_start and self.broker.registry is not None:
            live = {o.uid for o in self.runtime.containers.values() if o.phase.value == "running"}
            for uid in live - self.broker.ready:
                self.broker.hello(uid)
            for uid in self.broker.ready - live:
                self.broker.offline(uid)

    async def until(self, condition, seconds=10):
        """Wait until `condition()` holds; it is looked at whenever something may have changed."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    def uid(self, name):
        return self.core.picture.uid_of(name)

    def condition(self, name, type):
        found = self.core.picture.conditions.get(name, ())
        return next((c for c in found if c.type.value == type), None)

    def is_ready(self, name):
        ready = self.condition(name, "Ready")
        calm = self.condition(name, "Reconciling")
        return ready is not None and ready.status == "True" and calm.status == "False"

    async def spawn(self, name, **params):
        answer = await self.host.request("spawn", {"name": name, "description": "x", **params})
        await self.approve(answer["proposal"])
        await self.until(lambda: self.is_ready(name))

    async def approve(self, n, **params):
        shown = await self.host.request("proposal", {"n": n})
        digest = shown["effect"]["digest"]
        return await self.host.request("approve", {"n": n, "effect": digest, **params})


@pytest.fixture
def layout(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))  # for commands that find it by themselves
    return Layout.of(tmp_path / "root")


@pytest.fixture
async def swarm(layout):
    found = Swarm(layout)
    layout.make_run()
    await found.broker.start()
    await found.open()
    yield found
    await found.close()
    await found.broker.stop()
