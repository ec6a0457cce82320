"""docs/protocol.md names every method that a process answers: tests of consent go by that list."""

from __future__ import annotations

import re
from pathlib import Path

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def methods_of(heading: str) -> set[str]:
    section = PROTOCOL.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([a-z._]+)`", cell)}


def test_the_page_names_the_methods_of_people_and_no_other(swarm):
    assert set(swarm.host_api.handlers()) == methods_of("host.sock")


def test_the_page_names_what_agents_may_wish_and_no_other(swarm):
    assert set(swarm.requests_api.handlers()) == methods_of("requests.sock") == {
        "submit", "power", "list",
    }  # fmt: skip
