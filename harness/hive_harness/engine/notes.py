"""The agent's notes: written before its conversation is shortened, read when it begins anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_NOTES = 32 << 10  # bytes that a new session is given

ASK = """\
[hive] Your conversation is shortened now. Answer with the notes that you need to go on: who wants
what from you, what is done, what is open, which files matter, what you promised. The answer takes
the place of /state/notes.md, so keep what still counts of it. Use no tools.
"""
_GIVEN = '[hive] This is a new session. The lines behind "| " are your notes, /state/notes.md.'


def with_notes(prompt: str, notes: str) -> str:
    """The first prompt of a session that begins with notes."""
    lines = "\n".join(f"| {line}" for line in notes.splitlines())
    return f"{_GIVEN}\n{lines}\n\n{prompt}" if lines else prompt


class Notes:
    """The file. Both methods are meant for a thread."""

    def __init__(self, state: Path) -> None:
        self._path = state / "notes.md"

    def read(self) -> str:
        """Nothing when there are none, or when what lies there is no file."""
        try:
            # The agent may have put a pipe there: opening it must not wait.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            regular = stat.S_ISREG(os.fstat(file).st_mode)
            return os.read(file, MAX_NOTES).decode(errors="replace") if regular else ""
        finally:
            os.close(file)

    def write(self, text: str) -> None:
        """Raises OSError."""
        beside = self._path.with_name(".notes.md.new")
        beside.unlink(missing_ok=True)
        beside.write_text(text.rstrip() + "\n", encoding="utf-8", errors="replace")
        os.rename(beside, self._path)
