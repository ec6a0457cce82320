"""CSS and scripts of the package, served under a name made from their content."""

from __future__ import annotations

import hashlib
from importlib import resources

from aiohttp import web

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class Assets:
    """All files in memory (some 120 KB); the address changes when any of them does."""

    def __init__(self) -> None:
        folder = resources.files("hive_dashboard") / "static"
        self._files = {
            item.name: item.read_bytes()
            for item in sorted(folder.iterdir(), key=lambda item: item.name)
            if item.name.endswith(tuple(_TYPES))
        }
        for count in range(1, 10):
            self._files[f"icon-{count}.svg"] = _with_count(self._files["icon.svg"], count)
        whole = hashlib.sha256()
        for name, data in self._files.items():
            whole.update(name.encode() + b"\0" + data + b"\0")
        self.version = whole.hexdigest()[:12]

    def url(self, name: str) -> str:
        return f"/s/{self.version}/{name}"

    async def serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        data = self._files.get(name)
        if data is None or request.match_info["version"] != self.version:
            raise web.HTTPNotFound
        kind = _TYPES[name[name.rindex(".") :]]
        is_font = kind.startswith("font/")
        response = web.Response(body=data, content_type=kind, charset=None if is_font else "utf-8")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        if len(data) > 1024 and not is_font:
            response.enable_compression()
        return response


def _with_count(icon: bytes, count: int) -> bytes:
    """The icon with how many things wait; 9 stands for more, too."""
    text = f"{count}+" if count == 9 else str(count)
    mark = (
        '<circle cx="23" cy="23" r="9" fill="#ff79d6"/><text x="23" y="27.5" font-size="13" '
        f'font-family="monospace" font-weight="700" text-anchor="middle" fill="#05110b">{text}</text>'
    )
    return icon.replace(b"</svg>", mark.encode() + b"</svg>")
