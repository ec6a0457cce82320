"""What the gateway relays to right now: read again for every request, so edits just work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hive_wire.parse import SpecError, SpecProblem

from .credentials import Credential, CredentialProblem, find
from .settings import DEFAULT_URL, FILE, Settings, environment_url, parse

MAX_FILE = 256 << 10  # bytes


@dataclass(frozen=True)
class Upstream:
    """`problem` is for the operator; without a credential nothing is relayed."""

    url: str
    credential: Credential | None
    problem: str | None


class Config:
    """The files are tiny and a model's answer takes seconds: reading them costs nothing that
    matters, and there is no watch to miss a change. A broken gateway.toml leaves the last
    good one in force, and shows."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._environ = environ
        self._good: Settings | None = None

    async def current(self) -> Upstream:
        """What holds now."""
        return await asyncio.to_thread(self.read)

    def read(self) -> Upstream:
        """What holds now. Reads files: not for an event loop."""
        problem: str | None = None
        try:
            self._good = self._settings()
        except SpecError as error:
            problem = str(error)
        settings = self._good
        if settings is None:
            return Upstream(DEFAULT_URL, None, problem)
        try:
            url = settings.url or self._default_url()
        except SpecError as error:
            return Upstream(DEFAULT_URL, None, str(error))
        try:
            return Upstream(url, find(self._root, settings, self._environ), problem)
        except CredentialProblem as error:
            return Upstream(url, None, problem or str(error))

    def _settings(self) -> Settings:
        try:
            with (self._root / FILE).open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            problem = SpecProblem(FILE, 0, "", f"cannot be read: {error.strerror}")
            raise SpecError([problem]) from None
        return parse(data)

    def _default_url(self) -> str:
        value = self._environ.get("ANTHROPIC_BASE_URL")
        return environment_url(value) if value else DEFAULT_URL
