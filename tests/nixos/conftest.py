from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import lacking, need
from support.nix_env import NixUnavailable
from support.nixos_host import image, many_watches


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
