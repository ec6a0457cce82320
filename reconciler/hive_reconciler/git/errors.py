"""What can go wrong around hive.git. Every message is for a person and says what to do."""

from __future__ import annotations

from typing import Any


class HiveError(Exception):
    """Base of all errors of this package; `message` is for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ReadFailed(HiveError):
    """The desired state could not be read. Nothing may be concluded from it."""


class HistoryRewritten(ReadFailed):
    """`applied` does not descend from the last applied commit."""

    def __init__(self, tip: str, last: str) -> None:
        super().__init__(
            f"applied is at {tip[:12]}, which does not descend from the last applied commit "
            f"{last[:12]}; nothing is changed. Look at it, then take it over with "
            f"`hive accept {tip} --reason TEXT`, or put the branch back"
        )
        self.tip = tip
        self.last = last


class UnrecordedCommit(ReadFailed):
    """A commit on `applied` that no proposal's merge recorded."""

    def __init__(self, commit: str, why: str) -> None:
        super().__init__(
            f"applied contains {commit[:12]}, which is no recorded merge ({why}); nothing is "
            f"changed. Look at it, then take it over with `hive accept {commit} --reason TEXT`, "
            "or put the branch back"
        )
        self.commit = commit
        self.why = why


class DiskFailed(HiveError):
    """The disk did not take what git had to write. Nothing may be concluded from it."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"hive.git cannot be written: {error}. Agents go on as they are; make room on the "
            "disk, or see why it cannot be written, then try again"
        )


class Refused(HiveError):
    """The request cannot be done as asked."""


class NotFound(HiveError):
    """No such proposal, agent or commit."""


class Busy(HiveError):
    """Too many requests; later is fine."""


class Conflict(HiveError):
    """It is another state by now: look again. `data` says what is different."""

    def __init__(self, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data = data or {}
