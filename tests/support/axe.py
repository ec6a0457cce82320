"""axe-core, fetched once from npm into the cache and checked by its hash."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Page
from support.claude_cli import cache_dir
from support.needs import lacking, need

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def axe_source() -> str:
    """The text of axe.min.js. Ends the test where it cannot be had."""
    file = cache_dir() / f"axe-core-{VERSION}.js"
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / "axe.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_bytes(_fetch())
    data = file.read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256, f"{file} is another file; remove it"
    return data.decode()


def _fetch() -> bytes:
    need("npm")
    with tempfile.TemporaryDirectory() as scratch:
        package = f"axe-core@{VERSION}"
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        tarballs = list(Path(scratch).glob("*.tgz"))
        if packed.returncode != 0 or len(tarballs) != 1:
            lacking(f"npm pack {package} failed: {packed.stderr.strip()[-500:]}")
        with tarfile.open(tarballs[0]) as archive:
            found = archive.extractfile("package/axe.min.js")
            assert found is not None
            return found.read()


async def violations(page: Page, source: str) -> list[str]:
    """What axe-core finds wrong with the page as it is: rule and first elements."""
    await page.evaluate(source)
    result: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{found['id']}: {[node['html'][:120] for node in found['nodes'][:3]]}"
        for found in result["violations"]
    ]
