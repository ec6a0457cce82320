"""What must outlive the harness, in /state/.hive: the session, the running turn, ended turns.

`ended/<turn>.json` is on disk before the broker hears of it, and stays until the broker
confirmed it. The agent can write here too: whatever cannot be read counts as absent, and an end
that the broker would not take is set aside as `<turn>.json.bad`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hive_wire.pages import fitting

from .shapes import is_call, is_end, is_session, is_turn
from .verdict import Usage

log = logging.getLogger(__name__)

MAX_ENDED = 100  # as many as a hello carries
ROOM = 500 << 10  # bytes of them: half of what it can be
AGAIN = 1.0  # seconds until a write is tried again


class SpoolBusy(Exception):
    """Another harness owns this state: a session must never have two."""


@dataclass(frozen=True)
class Session:
    """The engine's conversation. `engine` says whose it is: they are not exchangeable."""

    id: str
    engine: str
    turns: int = 0  # that ended well in it
    context: int = 0  # tokens that the model last read and wrote
    window: int = 0  # tokens that the model can take; 0 is unknown
    base: int = 0  # tokens when it was last shortened
    at: float = 0.0  # unix seconds of its last turn's end
    notes: bool = False  # its first prompt carries the agent's notes
    noted: bool = False  # the notes say what was said in it
    message: str = ""  # whose turn began last in it


@dataclass(frozen=True)
class Call:
    """A hive tool call: what was asked, and in which use of a tool the engine last asked it."""

    name: str
    digest: str
    use: str


@dataclass(frozen=True)
class Calls:
    """The hive tool calls of the running turn, in their order."""

    made: tuple[Call, ...] = ()

    @property
    def last(self) -> int:
        """The highest number given."""
        return max((_number(call.name) for call in self.made), default=0)


class Spool:
    """All methods are quick or meant for a thread: `begin`, `end`, `confirm`, `save_session`."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._ended = directory / "ended"
        self._running = directory / "running.json"
        self._calls = directory / "calls.jsonl"
        self._session = directory / "session.json"
        self._owed = directory / "owed.json"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the directory and own it. Raises SpoolBusy."""
        self._ended.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SpoolBusy(
                f"another harness holds {self._dir}/lock; one session has one harness"
            ) from None
        if self._running.exists() and self.running() is None:
            self._forget()  # a kill cut `end`

    # -- the session -----------------------------------------------------------

    def session(self) -> Session | None:
        raw = _load(self._session)
        try:
            return Session(**raw) if _is_session(raw) else None
        except TypeError:
            return None

    def save_session(self, session: Session) -> None:
        _replace(self._session, asdict(session))

    # -- what upkeep cost --------------------------------------------------------

    def owe(self, cost: float, usage: Usage) -> None:
        """Add what was used outside of turns; the next turn's end claims it."""
        owed, used = self.owed()
        total = {key: value + getattr(used, key) for key, value in asdict(usage).items()}
        _replace(self._owed, {"cost_usd": owed + cost, "usage": total})

    def owed(self) -> tuple[float, Usage]:
        """USD and tokens."""
        match _load(self._owed):
            case {"cost_usd": int() | float() as cost, "usage": dict(usage)} if cost >= 0:
                counts = {k: v for k, v in usage.items() if isinstance(v, int) and v >= 0}
                known = {k: counts.get(k, 0) for k in Usage.__dataclass_fields__}
                return float(cost), Usage(**known)
        return 0.0, Usage()

    # -- the running turn ------------------------------------------------------

    def running(self) -> str | None:
        """The turn that had begun and has no terminal event."""
        raw = _load(self._running)
        turn = raw.get("turn")
        return turn if is_turn(turn) and not (self._ended / f"{turn}.json").exists() else None

    def begin(self, turn: str) -> None:
        """A turn starts. Its calls are kept when it is the one that ran before."""
        if _load(self._running).get("turn") != turn:
            self._calls.unlink(missing_ok=True)
            _replace(self._running, {"turn": turn})

    def drop_running(self) -> None:
        self._running.unlink(missing_ok=True)

    def note_call(self, call: Call) -> None:
        _append(self._calls, {"call": call.name, "digest": call.digest, "use": call.use})

    def calls(self) -> Calls:
        """What was called in the running turn; of a call that was repeated its last use."""
        made: dict[str, Call] = {}
        for row in _rows(self._calls):
            match row:
                case {"call": name, "digest": str(digest)} if is_call(name):
                    made[name] = Call(name, digest, str(row.get("use", "")))
        return Calls(tuple(made.values()))

    # -- ended turns -----------------------------------------------------------

    def end(self, event: dict[str, Any]) -> None:
        """The terminal event of a turn, on disk when this returns."""
        _replace(self._ended / f"{event['turn']}.json", event, durable=True)
        self._forget()

    def _forget(self) -> None:
        """The turn that ran, and what its end claims."""
        self._owed.unlink(missing_ok=True)
        self._running.unlink(missing_ok=True)

    def ended(self) -> list[dict[str, Any]]:
        """What the broker has not confirmed, oldest first; of too much the newest."""
        files = sorted(self._ended.glob("*.json"), key=_written, reverse=True)
        events = (event for path in files if (event := _end(path)) is not None)
        return fitting(islice(events, MAX_ENDED), ROOM)[0][::-1]

    def confirm(self, turn: str) -> None:
        (self._ended / f"{turn}.json").unlink(missing_ok=True)


async def insist(write: Callable[[], None], told: Callable[[str], None]) -> None:
    """Write what must be on disk before anything goes on, however long the disk is full."""
    while True:
        try:
            return await asyncio.to_thread(write)
        except OSError as error:
            log.warning("it is tried again: %s", error)
            told(f"the harness cannot write to /state: {error.strerror}")
            await asyncio.sleep(AGAIN)


def _end(path: Path) -> dict[str, Any] | None:
    """The end of a turn; a file that is none is set aside. One that cannot be read stays."""
    try:
        event = json.loads(path.read_bytes())
    except OSError as error:
        log.warning("ended/%r cannot be read: %s", path.name, error.strerror)
        return None
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict) and event.get("turn") == path.stem and is_end(event):
        return event
    with suppress(OSError):  # it is gone, or the agent does not let us
        path.rename(path.with_name(f"{path.name}.bad"))
        log.warning("ended/%r is no end of a turn and was set aside", path.name)
    return None


def _is_session(raw: dict[str, Any]) -> bool:
    """Whether each known key has the type that it must have. The agent can write here."""
    wanted: dict[str, Any] = {
        "id": str,
        "engine": str,
        "message": str,
        "notes": bool,
        "noted": bool,
        "at": (int, float),
    }
    typed = all(isinstance(value, wanted.get(key, int)) for key, value in raw.items())
    return {"id", "engine"} <= raw.keys() and typed and is_session(raw["id"])


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _number(call: str) -> int:
    number = call.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _load(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read and is taken as absent: %s", path, error)
        return {}
    return raw if isinstance(raw, dict) else {}


def _rows(path: Path) -> list[Any]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):  # the line that a kill cut
            continue
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    _make_room(path)
    with path.open("ab") as file:
        file.write(json.dumps(row).encode() + b"\n")


def _replace(path: Path, value: dict[str, Any], *, durable: bool = False) -> None:
    _make_room(path)
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(json.dumps(value).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(beside, path)
    if durable:
        _sync_directory(path.parent)


def _make_room(path: Path) -> None:
    """The folder of a file; an agent that tidied up may have removed it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
