"""Rows go into a table many at a time.

Each statement gives up the interpreter's lock and has to wait for it again while the event
loop works: one for 64 rows waits once, `executemany` 64 times.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

MOST = 64  # rows of one statement; a few sizes are enough, and each is compiled once


class Insert:
    """`insert into` a table with these columns; `otherwise` stands behind the values."""

    def __init__(self, table: str, columns: str, otherwise: str = "") -> None:
        row = f"({','.join('?' * (columns.count(',') + 1))})"
        self._statements = {
            count: f"insert into {table}({columns}) values{','.join([row] * count)} {otherwise}"
            for count in (1 << power for power in range(MOST.bit_length()))
        }

    def __call__(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> int:
        """How many rows are new."""
        done, at = 0, 0
        while at < len(rows):
            count = min(MOST, 1 << (len(rows) - at).bit_length() - 1)
            values = tuple(chain.from_iterable(rows[at : at + count]))
            done += db.execute(self._statements[count], values).rowcount
            at += count
        return done
