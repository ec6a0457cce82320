"""A runtime without containers: it does what it is told, remembers it, and fails on demand."""

import time
from dataclasses import replace

from hive_reconciler.runtime.base import Container, Finding, Observed, Phase, RuntimeFailure


class FakeRuntime:
    name = "fake"

    def __init__(self):
        self.containers: dict[str, Observed] = {}
        self.specs: dict[str, Container] = {}
        self.done: list[tuple[str, str]] = []  # (verb, container)
        self.failures: dict[str, RuntimeFailure] = {}  # by container, for start
        self.slow: dict[str, object] = {}  # by container: an asyncio.Event that start waits for
        self._on_change = lambda _name: None

    async def observe(self):
        return tuple(self.containers.values())

    async def start(self, container):
        if container.name in self.slow:
            await self.slow[container.name].wait()
        if container.name in self.failures:
            raise self.failures[container.name]
        old = self.containers.get(container.name)
        if old is not None and old.phase is Phase.RUNNING:
            assert old.uid == container.uid, "two agents in one container"
            if old.revision == container.revision:
                return
            raise RuntimeFailure("Running", f"{container.name} runs with another revision")
        self.done.append(("start", container.name))
        self._set(container, Phase.RUNNING)

    async def update(self, container):
        self.done.append(("update", container.name))
        old = self.containers[container.name]
        self.specs[container.name] = container
        self.containers[container.name] = replace(
            old, revision=container.revision, restart_key=container.restart_key
        )

    async def stop(self, name, grace):
        self.done.append(("stop", name))
        self.containers[name] = replace(self.containers[name], phase=Phase.STOPPED, tasks=0)
        self._on_change(name)

    async def destroy(self, name):
        self.done.append(("destroy", name))
        del self.containers[name]

    def adopt(self, on_change):
        self._on_change = on_change

    async def close(self):
        self._on_change = lambda _name: None

    async def logs(self, name, limit):
        return (f"{name} says hello",)[:limit]

    async def doctor(self):
        return (Finding(True, "fake", "always fine"),)

    def crash(self, name, status=1):
        """The container ends by itself."""
        self.containers[name] = replace(
            self.containers[name], phase=Phase.STOPPED, exit_status=status, tasks=0
        )
        self._on_change(name)

    def _set(self, container, phase):
        self.specs[container.name] = container
        self.containers[container.name] = Observed(
            name=container.name,
            uid=container.uid,
            phase=phase,
            revision=container.revision,
            restart_key=container.restart_key,
            started=time.time(),
            exit_status=None,
            memory=1 << 20,
            tasks=2,
        )
        self._on_change(container.name)
