"""Wakes whoever waits for something new; costs nothing while nobody does."""

from __future__ import annotations

import asyncio


class News:
    def __init__(self) -> None:
        self._next: asyncio.Event | None = None

    @property
    def next(self) -> asyncio.Event:
        """Set by the next `ring`. Take it before looking, wait for it after."""
        if self._next is None:
            self._next = asyncio.Event()
        return self._next

    def ring(self) -> None:
        if self._next is not None:
            self._next.set()
            self._next = None
