"""The rehearsal engine's transcript: enough to go on with a turn that was cut."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Played:
    """One user line and how far its steps came."""

    uuid: str
    text: str
    rule: int | None = None
    found: dict[str, Any] = field(default_factory=dict)
    next_step: int = 0
    saved: dict[str, Any] = field(default_factory=dict)
    over: bool = False


class Journal:
    """Appended before and after every step, so a kill leaves at most one step in doubt."""

    def __init__(self, config: Path, session: str) -> None:
        folder = config / "projects" / "rehearsal"
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{session}.jsonl"
        self.variables: dict[str, Any] = {}
        self.turns: dict[str, Played] = {}
        for line in self._lines():
            self._replay(line)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def cut(self) -> Played | None:
        """The last turn, when it has no end."""
        last = next(reversed(self.turns.values()), None)
        return last if last is not None and not last.over else None

    def take(self, uuid: str, text: str) -> Played:
        self._write({"type": "user", "uuid": uuid, "text": text})
        return self.turns[uuid]

    def chose(self, turn: Played, rule: int, found: dict[str, Any]) -> None:
        """The rule by its place: its own steps may change what would match next time."""
        self._write({"type": "rule", "uuid": turn.uuid, "rule": rule, "found": found})

    def step_done(self, turn: Played, step: int, saved: dict[str, Any], use: str) -> None:
        """`use`: the id of the tool use that it was, whose result is kept with it."""
        content = [{"type": "tool_result", "tool_use_id": use}] if use else []
        entry = {"uuid": turn.uuid, "step": step, "saved": saved}
        self._write({"type": "step", **entry, "message": {"role": "user", "content": content}})

    def set(self, variables: dict[str, Any]) -> None:
        self._write({"type": "set", "variables": variables})

    def over(self, turn: Played) -> None:
        self._write({"type": "over", "uuid": turn.uuid})

    def _write(self, entry: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")
        self._replay(entry)

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        entries = []
        for line in self._path.read_bytes().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:  # cut by a kill
                continue
        return entries

    def _replay(self, entry: dict[str, Any]) -> None:
        match entry:
            case {"type": "user", "uuid": uuid, "text": text}:
                self.turns[uuid] = Played(uuid, text)
            case {"type": "rule", "uuid": uuid, "rule": rule, "found": found}:
                self.turns[uuid].rule, self.turns[uuid].found = rule, found
            case {"type": "step", "uuid": uuid, "step": step, "saved": saved}:
                self.turns[uuid].next_step = step + 1
                self.turns[uuid].saved |= saved
            case {"type": "set", "variables": variables}:
                self.variables |= variables
            case {"type": "over", "uuid": uuid}:
                self.turns[uuid].over = True
