"""Who may log in, without I/O. Times are unix seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .sessions import USER


@dataclass(frozen=True)
class User:
    """`view_only` may look and not act."""

    name: str
    view_only: bool
    added: float


class Users:
    def __init__(self, rows: Iterable[User] = ()) -> None:
        self._rows = {row.name: row for row in rows}

    def put(self, name: str, view_only: bool, now: float) -> User:
        """A new user, or the same with another role. Raises ValueError for a bad name."""
        if not USER.fullmatch(name):
            raise ValueError(
                f"{name[:60]!r} is no user name: 1 to 32 of letters, digits and . _ @ -"
            )
        old = self._rows.get(name)
        row = User(name, view_only, old.added if old else now)
        self._rows[name] = row
        return row

    def find(self, name: str) -> User | None:
        return self._rows.get(name)

    def drop(self, name: str) -> bool:
        return self._rows.pop(name, None) is not None

    def all(self) -> list[User]:
        return sorted(self._rows.values(), key=lambda row: row.name)
