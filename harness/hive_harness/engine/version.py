"""Which claude CLI is installed, and whether the harness speaks its protocol."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from ..processes import Children
from .process import EngineMissing

OLDEST = (2, 1, 140)
TESTED = ((2, 1, 197), (2, 1, 330))
ANSWER_WITHIN = 120.0  # seconds; a cold disk is slow with a file of this size

Version = tuple[int, int, int]
_PRINTED = re.compile(rb"(\d{1,4})\.(\d{1,4})\.(\d{1,6}) \(Claude Code\)")


class Versions:
    """Asks each file once; another size or time is another file."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._known: tuple[tuple[str, int, int], Version] | None = None

    async def of(self, path: str, env: dict[str, str]) -> Version:
        """The version of the CLI at `path`. Raises EngineMissing when it cannot be used."""
        try:
            stat = await asyncio.to_thread(Path(path).stat)
        except OSError as error:
            raise EngineMissing(
                f"{path}: {error.strerror}; is the engine installed in the container?"
            ) from None
        mark = (path, stat.st_mtime_ns, stat.st_size)
        if self._known is None or self._known[0] != mark:
            self._known = mark, usable(path, await self._ask(path, env))
        return self._known[1]

    async def _ask(self, path: str, env: dict[str, str]) -> bytes:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        options = {"stdin": null, "stdout": pipe, "stderr": null, "env": env}
        try:
            async with (
                asyncio.timeout(ANSWER_WITHIN),
                self._children.run(path, "--version", **options) as process,
            ):
                assert process.stdout is not None
                return await process.stdout.read(1000)
        except OSError as error:
            raise EngineMissing(f"{path}: {error.strerror}") from None
        except TimeoutError:
            raise EngineMissing(f"{path} --version said nothing") from None


def usable(path: str, printed: bytes) -> Version:
    """The version that was printed. Raises EngineMissing for one that is not spoken here."""
    found = _PRINTED.match(printed)
    if found is None:
        raise EngineMissing(f"{path} is no Claude Code CLI: its --version names no version")
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version[:2] != OLDEST[:2] or version < OLDEST:
        raise EngineMissing(
            f"{path} is Claude Code {text(version)}; the harness speaks "
            f"{text(OLDEST)} and later of {OLDEST[0]}.{OLDEST[1]}"
        )
    return version


def text(version: Version) -> str:
    return ".".join(map(str, version))
