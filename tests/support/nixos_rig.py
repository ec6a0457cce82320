"""The nixos runtime on a host of stand-in programs."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from support import fake_nixos

from hive_reconciler.runtime.base import Bind, Container, Observed
from hive_reconciler.runtime.nixos import NixosRuntime
from hive_reconciler.runtime.nixos_build import Builder
from hive_reconciler.runtime.nixos_host import Places
from hive_wire.paths import Layout


class Rig:
    def __init__(self, path: Path) -> None:
        self.host = path / "host"
        self.programs = fake_nixos.install(self.host)
        self.layout = Layout(path / "hive", path / "run", "-1")
        self.repository = self.layout.hive_git
        self.work = path / "clone"
        subprocess.run(["git", "init", "-q", "-b", "applied", str(self.work)], check=True)
        (self.host / "controllers").write_text("cpu memory pids\n")
        self.places = Places(
            confs=self.host / "confs",
            roots=self.host / "roots",
            nix=self.host / "nix",
            exports=self.host / "exports",
            controllers=self.host / "controllers",
        )
        self.runtime = self.open()

    def open(self) -> NixosRuntime:
        builder = Builder(self.repository, self.layout.root / "builds", "path:/hyperhive")
        return NixosRuntime(self.layout, builder, self.places)

    def commit(self, agent: str, nix: str) -> str:
        directory = self.work / "agents" / agent
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "agent.nix").write_text(nix)
        self._git("add", ".")
        self._git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x")
        if not self.repository.exists():
            self._git("clone", "-q", "--bare", ".", str(self.repository))
        self._git("push", "-q", str(self.repository), "applied")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *argv: str) -> str:
        done = subprocess.run(
            ["git", *argv], cwd=self.work, check=True, capture_output=True, text=True
        )
        return done.stdout

    def container(self, agent: str, revision: str, commit: str | None, **more: Any) -> Container:
        uid = (agent * 12)[:12]
        state = self.layout.agent(uid) / "state"
        state.mkdir(parents=True, exist_ok=True)
        return replace(
            Container(
                name=f"h-{agent}",
                uid=uid,
                agent=agent,
                role="agent",
                revision=revision,
                restart_key="k",
                memory=1 << 30,
                cpus=0.5,
                tasks=64,
                limits_required=False,
                network="none",
                binds=(Bind(state, Path("/state"), read_only=False, idmap=True),),
                environment=(),
                argv=("/bin/true",),
                commit=commit,
            ),
            **more,
        )

    def fault(self, name: str, *, on: bool = True) -> None:
        file = self.host / "faults" / name
        file.touch() if on else file.unlink()

    @property
    def state(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.host / "state.json").read_text())
        return loaded

    def unit(self, agent: str) -> dict[str, Any]:
        found: dict[str, Any] = self.state["units"][f"container@h-{agent}-1.service"]
        return found

    async def seen(self, agent: str) -> Observed:
        (found,) = [o for o in await self.runtime.observe() if o.name == f"h-{agent}"]
        return found
