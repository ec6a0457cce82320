"""What the dashboard is measured against: a static page, and a bare page of server-sent events.

python bench/dashboard_bare.py ROOT FOLDER    prints its port; FOLDER/page.html is the static page
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from hive_wire.jsonrpc import Params, Peer
from hive_wire.paths import Layout
from hive_wire.sockets import connect

LIVE = """<!doctype html><meta charset=utf-8><title>bare</title><div id=tail></div><script>
new EventSource("/events").onmessage = ({data}) => {
  for (const [id, text] of JSON.parse(data)) {
    const row = document.createElement("div");
    row.dataset.id = id;
    row.textContent = text;
    document.getElementById("tail").append(row);
  }
};
</script>"""


async def serve(layout: Layout, folder: Path) -> None:
    readers: set[asyncio.Queue[bytes]] = set()

    def heard(_peer: Peer, params: Params) -> None:
        rows = [[row["id"], row["data"].get("text")] for row in params["events"]]
        for reader in readers:
            reader.put_nowait(b"data: %s\n\n" % json.dumps(rows).encode())

    async def static(request: web.Request) -> web.Response:
        """The bytes of the page, made ready before; nothing is asked and nothing is drawn."""
        response = web.Response(body=pages[request.path], content_type=kinds[request.path])
        if request.path.startswith("/page"):
            response.enable_compression()
        return response

    async def live(_request: web.Request) -> web.Response:
        return web.Response(text=LIVE, content_type="text/html")

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        readers.add(queue)
        try:
            while True:
                await response.write(await queue.get())
        finally:
            readers.discard(queue)

    kinds = {"/page": "text/html"}
    pages = {"/page": (folder / "page.html").read_bytes()}
    for file in folder.rglob("s/*/*"):
        path = f"/{file.relative_to(folder)}"
        pages[path] = file.read_bytes()
        kinds[path] = {
            ".css": "text/css",
            ".js": "text/javascript",
            ".woff2": "font/woff2",
            ".txt": "text/plain",
        }.get(file.suffix, "image/svg+xml")
    app = web.Application()
    for path in pages:
        app.router.add_get(path, static)
    app.router.add_get("/live", live)
    app.router.add_get("/events", events)
    peer = await connect(layout.broker_sock, {"events": heard})
    await peer.request("subscribe", {"after": None, "stream": True})
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Layout.of(sys.argv[1]), Path(sys.argv[2])))
