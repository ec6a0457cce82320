"""How a database of an older version becomes one of this version: one step a version."""

from __future__ import annotations

from .checksum import SQL as CRC

MIGRATIONS: tuple[str, ...] = (
    # 1 → 2: asks for a tool.
    "alter table question add column permission text",
    # 2 → 3: a checksum of what is delivered, how many turns it is away from a person,
    # and the marks that retention goes by.
    f"""
    alter table message add column crc integer not null default 0;
    alter table delivery add column hops integer not null default 0;
    update message as m set crc = {CRC};
    create table mark(lived real primary key, message integer not null, event integer not null)
      without rowid;
    """,  # noqa: S608 - a constant
)
"""MIGRATIONS[n - 1] leads from version n to n + 1."""
