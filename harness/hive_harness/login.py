"""The claude CLI's own login, for an agent with a network: a URL out, a code in."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

from hive_wire.rpc_errors import BUSY, REFUSED, RpcError

from .agentfile import Agent
from .engine.engines import ENGINES
from .engine.launch import login_environment
from .processes import Children
from .settings import Settings

URL_WITHIN = 25.0  # seconds
CHECKED_WITHIN = 45.0
GIVEN_UP_AFTER = 900.0
_URL = re.compile(r"https://[!-~]+(?=\s)")
_CODE = re.compile(r"[!-~]{1,2000}")


class Login:
    """At most one at a time. Neither URL nor code is logged or kept."""

    def __init__(self, children: Children, settings: Settings) -> None:
        self._children = children
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[int] | None = None
        self._said = ""
        self._heard = asyncio.Event()  # something was said, or it ended

    async def start(self, agent: Agent) -> str:
        """The URL at which a person logs in. Raises RpcError."""
        if agent.network == "none" or not ENGINES[agent.engine].has_model:
            raise RpcError(REFUSED, "only an agent with a network and the claude engine logs in")
        await self.cancel()
        self._said = ""
        self._task = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(URL_WITHIN):
                while (found := _URL.search(self._said)) is None:
                    if self._task.done():
                        raise RpcError(REFUSED, f"the engine gave no URL: {self._last_words('')}")
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            await self.cancel()
            raise RpcError(REFUSED, "the engine gave no URL in time") from None
        return found[0]

    async def code(self, code: str) -> str:
        """Give the code that the person was shown; what to tell them. Raises RpcError."""
        if self._task is None or self._task.done() or self._process is None:
            raise RpcError(REFUSED, "no login is under way; start one")
        if _CODE.fullmatch(code) is None:
            raise RpcError(REFUSED, "this is no code: it has no spaces and at most 2000 characters")
        assert self._process.stdin is not None
        self._said = ""
        self._process.stdin.write(code.encode() + b"\n")
        try:
            async with asyncio.timeout(CHECKED_WITHIN):
                status = await asyncio.shield(self._task)
        except TimeoutError:
            await self.cancel()
            raise RpcError(BUSY, "the engine did not finish the login in time") from None
        if status != 0:
            raise RpcError(REFUSED, f"the login failed: {self._last_words(code)}")
        return "logged in; the next turn uses this login"

    async def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = self._process = None

    # -- inside ----------------------------------------------------------------

    async def _run(self) -> int:
        pipe = asyncio.subprocess.PIPE
        options: dict[str, Any] = {
            "stdin": pipe,
            "stdout": pipe,
            "stderr": asyncio.subprocess.STDOUT,
            "cwd": self._settings.state,
            "env": login_environment(self._settings),
        }
        argv = (str(self._settings.engine_path), "auth", "login")
        try:
            async with (
                asyncio.timeout(GIVEN_UP_AFTER),
                self._children.run(*argv, **options) as process,
            ):
                self._process = process
                assert process.stdout is not None
                while chunk := await process.stdout.read(4096):
                    self._said = (self._said + chunk.decode(errors="replace"))[-8192:]
                    self._heard.set()
                return await process.wait()
        except (OSError, TimeoutError) as error:
            self._said = str(error) or "nobody gave a code in time"
            return 1
        finally:
            self._heard.set()

    def _last_words(self, code: str) -> str:
        said = self._said.replace(code, "…") if code else self._said
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return (
            lines[-1].removeprefix("Paste code here if prompted > ")[:300] if lines else "nothing"
        )
