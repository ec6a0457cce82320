"""A harness on the real claude CLI, a scripted Messages API, and a broker double."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .claude_cli import OLDEST, VERSION
from .fake_broker import FakeBroker
from .fake_messages_api import FakeApi
from .harness_process import HarnessProcess

both_versions = pytest.mark.parametrize("cli", [VERSION, OLDEST], indirect=True)


@dataclass(frozen=True)
class Rig:
    harness: HarnessProcess
    broker: FakeBroker
    api: FakeApi


@asynccontextmanager
async def claude_rig(root: Path, cli: Path, *flags: str, **agent: object) -> AsyncIterator[Rig]:
    """All but the harness run; the harness is killed in the end if it does."""
    harness = HarnessProcess(root, *flags, engine_path=cli)
    harness.agent(**{"engine": "claude", "prompt": "You are the tester.", **agent})
    async with FakeApi() as api, FakeBroker(harness.run) as broker:
        await api.serve_unix(harness.run / "model" / "model.sock")
        broker.regrant = False
        try:
            yield Rig(harness, broker, api)
        finally:
            if harness.process is not None:
                await harness.kill()
