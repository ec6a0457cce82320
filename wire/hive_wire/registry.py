"""A registry on its way: whole in parts that each fit a frame, later only what changed of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .protocol import Registry, RegistryAgent, RegistryChange

PART = 500  # agents in a frame; each is some 300 bytes, and 2 KiB still fit


def parts_of(agents: Sequence[RegistryAgent]) -> Iterator[Registry]:
    """At least one."""
    starts = range(0, max(1, len(agents)), PART)
    for number, start in enumerate(starts):
        part = tuple(agents[start : start + PART])
        yield Registry(agents=part, part=number, parts=len(starts))


class Parts:
    """The receiver's end. A sender that broke off begins anew with part 0."""

    def __init__(self) -> None:
        self._parts: list[Registry] = []

    def add(self, part: Registry) -> Registry | None:
        """The whole registry, once its last part came."""
        if part.part != len(self._parts):
            self._parts.clear()
        if part.part == len(self._parts):
            self._parts.append(part)
        if len(self._parts) < part.parts:
            return None
        whole = tuple(agent for one in self._parts for agent in one.agents)
        self._parts.clear()
        return Registry(agents=whole)


def changed(agents: Iterable[RegistryAgent], change: RegistryChange) -> Registry:
    """The registry of `agents` with a change."""
    found = {agent.uid: agent for agent in agents}
    for uid in change.gone:
        found.pop(uid, None)
    found |= {agent.uid: agent for agent in change.agents}
    return Registry(agents=tuple(found.values()))
