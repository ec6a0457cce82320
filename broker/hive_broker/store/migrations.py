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
    # 3 → 4: deliveries lie in the order of messages, so that a commit writes few pages.
    """
    create table sorted(
      agent text not null, message integer not null,
      state integer not null default 0, attempt integer not null default 1,
      counted integer not null default 0, not_before real not null default 0,
      attached_to integer, given text, cause text, done real, hops integer not null default 0,
      primary key(message, agent)
    ) without rowid;
    insert into sorted select agent, message, state, attempt, counted, not_before, attached_to,
      given, cause, done, hops from delivery order by message, agent;
    drop table delivery;
    alter table sorted rename to delivery;
    create index delivery_open on delivery(agent, message) where state = 0;
    create index delivery_dead on delivery(agent, message) where state = 3;
    """,
    # 4 → 5: from when on an agent's use counts, and what the gateway says that it costs.
    """
    alter table agent add column forgiven real not null default 0;
    alter table metered add column usd real not null default 0;
    """,
    # 5 → 6: what is open lies in the order of messages, too.
    """
    drop index delivery_open;
    create index delivery_open on delivery(message, agent) where state = 0;
    """,
    # 6 → 7: what is said of a message in the history is read from the message, and an
    # agent's history is found by a table that is written for many events at once.
    """
    alter table event add column message integer;
    drop index event_agent;
    create table event_agent(agent text not null, id integer not null, primary key(agent, id))
      without rowid;
    insert into event_agent select coalesce(agent, ''), id from event order by 1, 2;
    insert into meta select 'filed', coalesce(max(id), 0) from event;
    insert into meta select 'written_out', coalesce(max(id), 0) from event;
    """,
    # 7 → 8: an ask for a tool is found by its key; which reminders go by the clock on the
    # wall, as far as that can still be told.
    """
    alter table question add column ask text;
    update question set ask = json_extract(permission, '$.key') where permission is not null;
    create index question_ask on question(agent, ask) where ask is not null;
    alter table reminder add column dated integer not null default 0;
    update reminder set dated = every is null;
    """,
)
"""MIGRATIONS[n - 1] leads from version n to n + 1."""
