"""Which conversation the engine continues."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Iterator, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..spool import Session, Spool

log = logging.getLogger(__name__)


class Sessions:
    """The agent's session, kept in the spool. Methods that write are meant for threads."""

    def __init__(self, spool: Spool, claude_config: Path) -> None:
        self.spool = spool
        self._projects = claude_config / "projects"
        self.current = spool.session()
        self._lock = threading.Lock()  # a change begins from what the one before it left

    def of(self, engine: str) -> Session:
        """The session to use with `engine`: the current one, or a new one."""
        if self.current is None or self.current.engine != engine:
            return self.renew(engine)
        return self.current

    def renew(self, engine: str, *, notes: bool = False) -> Session:
        """A new session: what was said before is left behind, but for the agent's notes."""
        with self._lock:
            return self._store(Session(str(uuid.uuid4()), engine, notes=notes))

    def begins(self, engine: str, message: str) -> bool:
        """A turn of this message; whether the last one in the session was of it, too."""
        session = self.of(engine)
        if session.message == message:
            return True
        self._change(message=message)
        return False

    def turn_ended(self, *, ok: bool, context: int, window: int, at: float) -> None:
        """`context` and `window` in tokens, 0 when they are unknown; `at` in unix seconds."""
        with self._lock:
            was = self.current
            if was is not None:
                context, window = context or was.context, window or was.window
                turns = was.turns + ok
                now = replace(was, turns=turns, context=context, window=window, at=at, noted=False)
                self._note(now)

    def noted(self) -> None:
        """The notes say what was said so far."""
        self._change(noted=True)

    def shortened(self, context: int) -> None:
        """The conversation has `context` tokens now."""
        self._change(context=context, base=context)

    def moved(self, ident: str) -> None:
        """The engine itself went on under another id."""
        self._change(id=ident)

    def exists(self, session: Session) -> bool:
        """Whether the engine has written anything of it: else it cannot be resumed."""
        return next(self._projects.glob(f"*/{session.id}.jsonl"), None) is not None

    def holds(self, session: Session, user_uuid: str) -> bool:
        """Whether the engine wrote down the user line with that uuid. May read megabytes."""
        needle = user_uuid.encode()
        return any(needle in line for line in self._transcript(session))

    def results(self, uses: Set[str]) -> frozenset[str]:
        """Those of the uses of tools whose results the current session has on disk: all that
        an engine which resumes it knows. May read megabytes.

        The CLI writes its transcript up to 100 ms late (FLUSH_INTERVAL_MS in 2.1.330), and asks
        the model meanwhile: what it was heard to go on with may be lost with it.
        """
        session = self.current
        if session is None or not uses:
            return frozenset()
        lines = (line for line in self._transcript(session) if b'"tool_result"' in line)
        return frozenset(use for line in lines for use in _results(line) if use in uses)

    def _transcript(self, session: Session) -> Iterator[bytes]:
        for path in self._projects.glob(f"*/{session.id}.jsonl"):
            with contextlib.suppress(OSError), path.open("rb") as lines:  # the agent's, too
                yield from lines

    def _change(self, **fields: Any) -> None:
        with self._lock:
            if self.current is not None:
                self._note(replace(self.current, **fields))

    def _note(self, session: Session) -> None:
        """The same conversation, of which more is known; the next note says it again."""
        self.current = session
        try:
            self.spool.save_session(session)
        except OSError as error:
            log.warning("what is known of the session could not be stored: %s", error)

    def _store(self, session: Session) -> Session:
        self.spool.save_session(session)
        self.current = session
        return session


def _results(line: bytes) -> list[str]:
    """The uses of tools whose results this row of a transcript has. An error is none: an engine
    that is stopped writes one for each call that it still waits for."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # a kill cut it, or the agent wrote it
        return []
    match row:
        case {"message": {"content": [*blocks]}}:
            return [
                use
                for block in blocks
                if isinstance(block, dict) and block.get("type") == "tool_result"
                if not block.get("is_error") and isinstance(use := block.get("tool_use_id"), str)
            ]
    return []
