"""docs/protocol.md names every method that the broker answers: tests of consent go by that list."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from unittest.mock import Mock  # only the names are asked for

from hive_broker.front.harness_api import HarnessApi
from hive_broker.front.host_api import HostApi

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def methods_of(heading: str) -> set[str]:
    section = PROTOCOL.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([a-z._]+)`", cell)}


def test_the_page_names_the_methods_of_the_host_and_no_other() -> None:
    api = HostApi(Mock(), lambda: asyncio.sleep(0))
    assert set(api.handlers()) == methods_of("broker.sock")


def test_the_page_names_all_that_a_container_may_call() -> None:
    api = HarnessApi(Mock(), "k" * 12, Mock())
    assert set(api.handlers()) <= methods_of("agents/UID/harness.sock")
