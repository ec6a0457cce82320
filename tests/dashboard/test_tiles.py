"""Tiles say at a glance what a proposal touches."""

from __future__ import annotations

import pytest

from hive_dashboard.html import render
from hive_dashboard.live.models import Change, Effect, Risk
from hive_dashboard.pages.tiles import tiles


@pytest.mark.parametrize(
    ("field", "risk", "said"),
    [
        ("agents/scout/agent.nix", "high", True),
        ("agents/scout/packages.json", "high", True),
        ("modules/default.nix", "high", True),
        ("agent.nix", "high", True),  # as version 1 of effects has it
        ("agents/scout/prompt.md", "medium", False),
        ("limits.memory", "medium", False),
    ],
)
def test_the_system_tile_tells_of_all_that_nix_reads(field: str, risk: Risk, said: bool) -> None:
    change = Change(agent="scout", field=field, before="a", after="b", risk=risk)
    shown = render(tiles(Effect(digest="ab" * 32, changes=(change,)), None))
    assert ("files for Nix change" in shown) == said
