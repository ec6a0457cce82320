"""Agents that answer each other for ever are slowed down, turn by turn. Pure; seconds.

Every message knows how many agents' turns it is away from a person, a timer or the
system: its hops. Far ones wait, each longer than the one before. Nothing is refused and
nothing is lost: honest work goes on, and two that thank each other for ever cost little.
"""

from __future__ import annotations

from collections.abc import Iterable

FREE_HOPS = 20
FIRST_WAIT = 2.0
LONGEST_WAIT = 300.0


def hops_after(handed: Iterable[int]) -> int:
    """Hops of what a turn sends that was handed messages of these hops, in their order.

    A message from a person begins anew, and so does all behind it.
    """
    far = 0
    for hops in handed:
        far = 0 if hops == 0 else max(far, hops)
    return far + 1


def wait(hops: int) -> float:
    """How long a message of so many hops waits on its way."""
    if hops <= FREE_HOPS:
        return 0.0
    return min(FIRST_WAIT * 2.0 ** min(hops - FREE_HOPS - 1, 16), LONGEST_WAIT)
