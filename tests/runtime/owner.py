"""A process that starts a container and then waits to be killed. argv: root, uid."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.containers import WAITS, Site


async def main() -> None:
    site = Site(Path(sys.argv[1]))
    site.runtime.adopt(lambda name: None)
    script = "while [ ! -e /state/speak ]; do sleep 0.05; done; echo spoken; " + WAITS
    await site.runtime.start(site.container(script))
    print("started", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
