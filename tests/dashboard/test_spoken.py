"""What a screen reader is told by itself: news, and not each second of a clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from hive_dashboard.html import Element, Kept, Node
from hive_dashboard.live.mirror import Snapshot
from hive_dashboard.pages.common import View
from hive_dashboard.pages.need import away
from hive_dashboard.pages.shell import live_badge

SPOKEN = ("status", "alert", "log")


def ticking(node: Node, spoken: bool = False) -> Iterator[Element]:
    """The elements that scripts write anew each second where every change is read out."""
    if isinstance(node, (str, Kept)):
        return
    attrs = dict(node.attrs)
    if attrs.get("aria-hidden") == "true" or attrs.get("role") == "timer":
        return
    spoken = spoken or attrs.get("role") in SPOKEN
    if spoken and ("data-since" in attrs or "data-until" in attrs):
        yield node
    for child in node.children:
        yield from ticking(child, spoken)


def test_how_long_a_process_is_away_is_not_read_out_each_second() -> None:
    now = time.time()
    snapshot = replace(Snapshot(), away={"broker": now - 5, "reconciler": now - 9})
    shown = away(View(snapshot, "damo", view_only=False))
    assert dict(shown.attrs)["role"] == "alert"
    assert list(ticking(shown)) == []


def test_the_age_of_the_last_sign_of_life_is_not_read_out_each_second() -> None:
    badge = live_badge()
    assert dict(badge.attrs)["role"] == "status"
    word, seconds = badge.children
    assert isinstance(word, Element)
    assert isinstance(seconds, Element)
    assert "aria-hidden" not in dict(word.attrs)
    assert dict(seconds.attrs)["aria-hidden"] == "true"
