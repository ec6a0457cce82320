"""What connections to the database are taught before they read or write messages."""

from __future__ import annotations

import sqlite3

from . import checksum, events

FUNCTIONS = (checksum.FUNCTION, events.FUNCTION)


def teach(db: sqlite3.Connection) -> None:
    """Our functions; and text that is no UTF-8 any more is no error."""
    for function in FUNCTIONS:
        db.create_function(*function, deterministic=True)
    db.text_factory = checksum.text
