"""/metrics: what all host processes count, in Prometheus' text format 0.0.4."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Sequence
from functools import partial

from hive_wire.pages import METRICS, ask_whole
from hive_wire.rpc_errors import RpcError

from ..auth.sessions import Session
from .backends import Backend
from .hub import Hub

log = logging.getLogger(__name__)
_STARTED = time.time()


async def metrics(host: Backend, broker: Backend, hub: Hub, sessions: Sequence[Session]) -> str:
    """Ours, then those of the processes that are there."""
    texts = await asyncio.gather(*(_theirs(backend) for backend in (host, broker)))
    return "".join([_ours(host, broker, hub, sessions), *texts])


async def _theirs(backend: Backend) -> str:
    try:
        answer = await ask_whole(partial(backend.ask, timeout=5.0), METRICS)
        return str(answer["text"]).rstrip("\n") + "\n"
    except (RpcError, TimeoutError, KeyError, TypeError) as error:
        log.info("no figures of the %s: %s", backend.title, error)
        return ""  # no data is no zero; hive_dashboard_process_up says who is away


def _ours(host: Backend, broker: Backend, hub: Hub, sessions: Sequence[Session]) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    rows = [
        ("process_up", "gauge", "Whether the dashboard is connected to that process."),
        *((f'process_up{{process="{b.title}"}}', int(b.is_up)) for b in (host, broker)),
        ("streams", "gauge", "Browsers that hold an event stream."),
        ("streams", hub.clients),
        ("sessions", "gauge", "Login sessions that live."),
        ("sessions", len(sessions)),
        ("events_total", "counter", "Events heard from the broker since the start."),
        ("events_total", hub.heard_total),
        ("streams_dropped_total", "counter", "Streams ended because their browser did not read."),
        ("streams_dropped_total", hub.dropped_total),
        ("last_event_id", "gauge", "Id of the newest event heard of."),
        *([("last_event_id", hub.last)] if hub.last is not None else []),
        ("cpu_seconds_total", "counter", "CPU time of this process."),
        ("cpu_seconds_total", round(usage.ru_utime + usage.ru_stime, 3)),
        ("start_time_seconds", "gauge", "When this process started, in unix seconds."),
        ("start_time_seconds", round(_STARTED, 3)),
    ]
    return "".join(_line(row) for row in rows)


def _line(row: tuple[object, ...]) -> str:
    if len(row) == 3:
        name, kind, words = row
        return f"# HELP hive_dashboard_{name} {words}\n# TYPE hive_dashboard_{name} {kind}\n"
    name, value = row
    return f"hive_dashboard_{name} {value}\n"
