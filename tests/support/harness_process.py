"""A harness as a real process, in a directory of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

CHECKOUT = Path(__file__).resolve().parents[2]

ANSWER = """
[[rule]]
[[rule.step]]
say = "on it"
[[rule.step]]
tool = "send"
args = { to = "{sender}", body = "re: {body}" }
[[rule.step]]
say = "done"
"""


class HarnessProcess:
    """`python -m hive_harness` with every path under `root`; started and stopped as wished."""

    def __init__(self, root: Path, *flags: str, engine_path: Path | None = None) -> None:
        self.root = root
        self.run, self.state, self.config = root / "run", root / "state", root / "claude"
        self.applied, self.hive = root / "applied.git", root / "state" / "hive"
        self.rehearsal = root / "rehearsal"
        self._flags = flags
        self._engine_path = engine_path or root / "no-engine"
        self.process: asyncio.subprocess.Process | None = None
        for path in (self.run, self.state, self.config, self.rehearsal, root / "home"):
            path.mkdir(parents=True, exist_ok=True)

    def agent(self, **fields: Any) -> None:
        """Write agent.json as the reconciler does, in one rename."""
        whole = {
            "uid": "aaaaaaaaaaaa",
            "name": "tester",
            "role": "agent",
            "engine": "rehearsal",
            "model": "claude-sonnet-5",
            "description": "tests things",
            "prompt": "You test.",
            "tools": ["Bash", "Read", "Edit", "Write"],
            "network": "none",
            "revision": "r1",
            **fields,
        }
        beside = self.run / "agent.json.new"
        beside.write_text(json.dumps(whole))
        beside.rename(self.run / "agent.json")

    def script(self, text: str) -> None:
        """The rehearsal script of this agent, and of others with its role."""
        (self.rehearsal / "agent.toml").write_text(text)

    async def start(self) -> None:
        flags = {
            "--run": self.run,
            "--state": self.state,
            "--claude-config": self.config,
            "--applied": self.applied,
            "--hive": self.hive,
            "--rehearsal": self.rehearsal,
            "--engine-path": self._engine_path,
        }
        argv = [part for flag, path in flags.items() for part in (flag, str(path))]
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{self._nothing_else()}:{CHECKOUT / 'wire'}:{CHECKOUT / 'harness'}",
        }
        with (self.root / "harness.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hive_harness", *argv, *self._flags),
                env=env,
                stderr=log,
                stdout=log,
                start_new_session=True,
            )

    def _nothing_else(self) -> Path:
        """A container has the standard library only."""
        folder = self.root / "not-there"
        folder.mkdir(exist_ok=True)
        (folder / "orjson.py").write_text("raise ImportError\n")
        return folder

    @property
    def log(self) -> str:
        return (self.root / "harness.log").read_text()

    def lost_the_end_of(self, turn: str) -> None:
        """As if it had died between the engine's result and its own fsync. It must be down."""
        (self.state / ".hive" / "running.json").write_text(json.dumps({"turn": turn}))

    async def kill(self) -> None:
        """kill -9, if it still lives."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, error: object, *_: object) -> None:
        if error is not None:
            print(self.log[-10_000:], file=sys.stderr)
        if self.process is not None and self.process.returncode is None:
            try:
                await self.stop()
            except TimeoutError:
                await self.kill()
                raise
