"""agent.json: what the reconciler says this agent is. Read anew before every turn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINES = ("claude", "rehearsal")


class BadAgentFile(ValueError):
    """The file is missing or cannot be used; the message says why."""


@dataclass(frozen=True)
class Agent:
    """The fields of `hive_wire.protocol.AgentFile` that the harness uses."""

    uid: str
    name: str
    role: str
    engine: str
    model: str
    description: str
    prompt: str
    tools: tuple[str, ...]
    network: str = "none"
    ask: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    compact_at: float = 0.7
    when_cold: str = "resume"

    @property
    def is_manager(self) -> bool:
        return self.role == "manager"


def read(path: Path) -> Agent:
    """The agent that `path` describes. Raises BadAgentFile."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise BadAgentFile(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadAgentFile(f"{path} is not JSON: {error}") from None
    return _agent(path, raw)


def _agent(path: Path, raw: Any) -> Agent:
    if not isinstance(raw, dict):
        raise BadAgentFile(f"{path} is no JSON object")
    texts = {}
    for key in ("uid", "name", "role", "engine", "model", "description", "prompt"):
        if not isinstance(raw.get(key), str):
            raise BadAgentFile(f"{path}: {key} is missing or no text")
        texts[key] = raw[key]
    if texts["engine"] not in ENGINES:
        raise BadAgentFile(f"{path}: engine {texts['engine']!r} is none of {', '.join(ENGINES)}")
    compact_at = raw.get("compact_at", 0.7)
    if not isinstance(compact_at, int | float) or not 0 < compact_at <= 1:
        raise BadAgentFile(f"{path}: compact_at is no share over 0, at most 1")
    return Agent(
        **texts,
        tools=_names(path, raw, "tools"),
        network=str(raw.get("network", "none")),
        ask=_names(path, raw, "ask", ()),
        allow=_names(path, raw, "allow", ()),
        compact_at=compact_at,
        when_cold=str(raw.get("when_cold", "resume")),
    )


def _names(path: Path, raw: dict[str, Any], key: str, default: Any = None) -> tuple[str, ...]:
    names = raw.get(key, default)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise BadAgentFile(f"{path}: {key} is missing or no list of names")
    return tuple(names)


class AgentFile:
    """The file with a memory: while it is missing or broken, the last good one counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Agent | None = None
        self.problem = ""

    def current(self) -> Agent:
        """The agent as of now. `problem` says what is wrong with the file, "" when nothing.

        Raises BadAgentFile when there never was a good one.
        """
        try:
            self._last = read(self._path)
            self.problem = ""
        except BadAgentFile as error:
            self.problem = str(error)
            if self._last is None:
                raise
        return self._last
