-- The broker's database, version 8. Times are unix seconds; uid 'operator' and 'system' are senders.
create table meta(k text primary key, v) without rowid;

create table agent(
  uid text primary key, name text not null, record text not null,  -- RegistryAgent as JSON
  retired real, fenced integer not null default 0,
  forgiven real not null default 0,                                -- what it used before does not count
  boot text, acked integer not null default 0                      -- last boot, its last stream row
) without rowid;

create table pause(scope text primary key, by text not null, reason text not null, at real not null)
  without rowid;                                                   -- scope: a uid, or '*'

create table message(
  id integer primary key, sender text not null, sender_name text not null,
  recipient text not null,                                         -- the name it was sent to
  kind text not null, body text not null, data text,
  thread integer not null, in_reply_to integer, key text, at real not null,
  crc integer not null default 0                                   -- store/checksum.py
);
create unique index message_key on message(sender, key) where key is not null;
create index message_inbox on message(id) where recipient = 'operator';

create table delivery(
  agent text not null, message integer not null,
  state integer not null default 0,                                -- 0 open, 2 settled, 3 dead
  attempt integer not null default 1, counted integer not null default 0,
  not_before real not null default 0, attached_to integer, given text,
  cause text, done real, hops integer not null default 0,          -- core/damping.py
  primary key(message, agent)                                      -- new rows go to one end
) without rowid;
create index delivery_open on delivery(message, agent) where state = 0;
create index delivery_dead on delivery(agent, message) where state = 3;

create table turn(
  agent text not null, message integer not null, attempt integer not null,
  started real, ended real, outcome text, counted integer, cause text, session text,
  cost_usd real not null default 0, input_tokens integer not null default 0,
  output_tokens integer not null default 0, cache_read_tokens integer not null default 0,
  cache_write_tokens integer not null default 0, duration_ms integer not null default 0,
  primary key(agent, message, attempt)
) without rowid;
create index turn_running on turn(agent) where ended is null;
create index turn_started on turn(agent, started);

create table metered(                                              -- what the gateway counted
  agent text not null, at real not null, input_tokens integer not null,
  output_tokens integer not null, cache_read_tokens integer not null,
  cache_write_tokens integer not null, usd real not null default 0,
  primary key(agent, at)                                           -- a report is known by its time
) without rowid;

create table call(
  id integer primary key, agent text not null, name text not null, waking integer not null,
  tool text not null, digest text not null, result text not null, repeat integer not null default 0
);
create index call_waking on call(agent, waking);

create table question(
  id integer primary key, agent text not null, text text not null, options text not null,
  multi integer not null, asked real not null, expires real, state text not null,
  answer text, answered_by text,
  permission text, ask text                                        -- of an ask for a tool: JSON, key
);
create index question_open on question(id) where state = 'open';
create index question_ask on question(agent, ask) where ask is not null;

create table reminder(
  id integer primary key, agent text not null, body text not null, due real not null, every real,
  dated integer not null default 0                                 -- goes by the clock on the wall
);

create table event(
  id integer primary key, agent text, seq integer not null, turn text,
  kind text not null, stream integer not null, data text not null, at real not null,
  message integer                                                  -- whose event this is; then no data
);

-- The events of each agent ('' for none) up to the id in meta 'filed': an index, but written
-- for thousands of events at once, so that a commit need not touch a page for each agent.
create table event_agent(agent text not null, id integer not null, primary key(agent, id))
  without rowid;

-- What had the highest ids after so many seconds of the broker's life: retention goes by it.
create table mark(lived real primary key, message integer not null, event integer not null)
  without rowid;
