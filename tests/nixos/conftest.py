from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support import fake_nixos
from support.needs import lacking, need
from support.nix_env import NixUnavailable
from support.nixos_host import image, many_watches
from support.nixos_rig import Rig


@pytest.fixture(scope="session")
def host_image() -> Path:
    need("systemd-nspawn")
    try:
        return image()
    except NixUnavailable as problem:
        lacking(str(problem))


@pytest.fixture
def watches() -> Iterator[None]:
    with many_watches():
        yield


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    monkeypatch.setenv("PATH", f"{rig.programs}:{os.environ['PATH']}")
    yield rig
    await rig.runtime.close()
    if (rig.host / "state.json").exists():
        for unit in rig.state["units"].values():
            if unit["pid"] and fake_nixos.alive(unit["pid"]):
                os.kill(unit["pid"], 9)
