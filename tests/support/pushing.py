"""A person's push to inbox.git while the reconciler runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.git_work import Clone, git

from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout


async def pushed(
    layout: Layout, host: Peer, path: Path, topic: str, edit: Callable[[Clone], Any]
) -> int:
    """The number of the proposal that the branch `proposed/TOPIC` with `edit` became."""
    clone = await asyncio.to_thread(Clone, layout.hive_git, path / topic)
    edit(clone)
    await asyncio.to_thread(clone.commit)
    refspec = f"HEAD:refs/heads/proposed/{topic}"
    known = {p["n"] for p in (await host.request("proposals", {}))["proposals"]}
    await asyncio.to_thread(git, clone.path, "push", "-q", str(layout.inbox_git), refspec)
    async with asyncio.timeout(20):
        while True:
            for found in (await host.request("proposals", {}))["proposals"]:
                if found["n"] not in known:
                    return int(found["n"])
            await asyncio.sleep(0.02)
