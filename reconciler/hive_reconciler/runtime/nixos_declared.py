"""Systems that the host's own configuration built: nixos-rebuild is the only builder there.

`services.hive-c0re.swarm` names the applied repository, and a file says which system was made of
which files. It is taken when these are the approved commit's; otherwise the host is to be rebuilt.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hive_wire.hivetoml import HiveToml
from hive_wire.parse import SpecError, parse_agent, parse_hive
from hive_wire.spec import AgentSpec

from .base import RuntimeFailure
from .nixos_conf import SYSTEM
from .nixos_host import must

CURE = "update the input that services.hive-c0re.swarm names, and nixos-rebuild switch"


class System(BaseModel):
    """One container's. `files` are SHA-256 digests by path in the repository."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    engine: str
    role: str
    files: dict[str, str]


_SYSTEMS = TypeAdapter(dict[str, System])


class Declared:
    """See Builder. `file` is read once: another one comes with another process."""

    def __init__(self, repository: Path, file: Path) -> None:
        self._repository = repository
        try:
            self._systems = _SYSTEMS.validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise RuntimeFailure("BadSystems", f"{file} cannot be used: {error}") from None

    def current(self, container: str) -> str | None:
        found = self._systems.get(container)
        return None if found is None else found.system

    async def build(self, commit: str, container: str, keep: Callable[[str], None]) -> str:
        """The declared system, if it is the commit's. Raises RuntimeFailure."""
        found = self._systems.get(container)
        if found is None or not SYSTEM.fullmatch(found.system):
            raise RuntimeFailure("NotBuilt", f"the host has no system for {container}; {CURE}")
        wrong = await self._difference(commit, container.removeprefix("h-"), found)
        if wrong:
            raise RuntimeFailure(
                "HostNotRebuilt",
                f"the host's system for {container} was not made from {commit[:12]}: {wrong}; {CURE}",
            )
        await asyncio.to_thread(keep, found.system)
        return found.system

    async def _difference(self, commit: str, name: str, found: System) -> str:
        """The first thing in which the commit differs, in words; "" when nothing does."""
        folder = f"agents/{name}"
        try:
            hive = parse_hive(await self._read(commit, "hive.toml"))
            spec = await self._spec(commit, folder, hive)
        except SpecError as error:
            raise RuntimeFailure("ReadFailed", str(error)) from None
        for what, here, there in (
            ("role", found.role, spec.role),
            ("engine", found.engine, spec.engine),
        ):
            if here != there:
                return f"{what} is {here} there and {there} here"
        ignored = {f"{folder}/agent.toml", f"{folder}/{spec.prompt}"}
        paths = set(await self._list(commit, folder, "modules")) - ignored
        for path in sorted(paths | found.files.keys()):
            if path not in paths:
                return f"{path} is there and not here"
            digest = hashlib.sha256(await self._read(commit, path)).hexdigest()
            if found.files.get(path) != digest:
                return f"{path} is another"
        return ""

    async def _spec(self, commit: str, folder: str, hive: HiveToml) -> AgentSpec:
        path = f"{folder}/agent.toml"
        return parse_agent(await self._read(commit, path), path, hive.defaults)

    async def _read(self, commit: str, path: str) -> bytes:
        """A file of a merged commit: UTF-8, as the checks of proposals want it."""
        return (await self._git("show", f"{commit}:{path}")).encode()

    async def _list(self, commit: str, *folders: str) -> list[str]:
        listed = await self._git("ls-tree", "-r", "-z", "--name-only", commit, "--", *folders)
        return [path for path in listed.split("\0") if path]

    async def _git(self, *argv: str) -> str:
        command = ("git", "--git-dir", str(self._repository), *argv)
        return (await must(*command, reason="ReadFailed")).out
