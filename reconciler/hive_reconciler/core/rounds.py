"""Requests for a round, each with a token, so that whoever asks can wait for that round."""

from __future__ import annotations

import asyncio


class Rounds:
    """Tokens ascend. A round serves all that were asked for before it began."""

    def __init__(self) -> None:
        self.asked = 0
        self.served = 0
        self._moved = asyncio.Event()

    def ask(self) -> int:
        """The token of a request made now."""
        self.asked += 1
        return self.asked

    def end(self, token: int) -> None:
        """The round that began when `token` was the last one asked has ended."""
        self.served = max(self.served, token)
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, token: int) -> None:
        """Until the round of `token` has ended."""
        while self.served < token:
            await self._moved.wait()
