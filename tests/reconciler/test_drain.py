"""When an agent counts as idle although no harness says so."""

from dataclasses import replace

import pytest

from hive_reconciler.core.drain import idle_evidence
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.protocol import AgentStatus

NOW = 10_000.0


def seen(started=NOW - 300, tasks=5, age=300.0):
    found = Observed("h-a", "a" * 12, Phase.RUNNING, "r", "k", started, None, 1, tasks)
    return replace(found, age=age)


def status(last_seen, ready=False, boot=None):
    return AgentStatus(
        uid="a" * 12,
        name="a",
        ready=ready,
        boot=boot,
        state="offline",
        since=0,
        detail="",
        until=None,
        turn="1.1",
        queued=0,
        dead=0,
        held=True,
        fenced=False,
        paused=False,
        last_event=0,
        last_seen=last_seen,
    )


@pytest.mark.parametrize(
    ("what", "broker", "container", "up_for", "idle"),
    [
        ("nothing lives", status(NOW), None, 0, True),
        ("no process is left", status(NOW), seen(tasks=0), 0, True),
        ("it is connected, and quiet", status(NOW - 400, True), seen(tasks=1), 600, False),
        ("never said hello", status(None), seen(), 60, True),
        ("the last hello was of a former container", status(NOW - 400), seen(), 60, True),
        ("the clock was set since it started", status(NOW - 400), seen(age=500.0), 60, False),
        ("it starts tomorrow, says the clock", status(NOW), seen(NOW + 9e4, 9, None), 60, False),
        ("the broker has just come up", status(None), seen(), 3, False),
        ("unheard of since the broker came up", status(None, boot="b"), seen(), 30, False),
        ("unheard of for long, busy", status(None, boot="b"), seen(), 200, False),
        ("unheard of for long, alone", status(None, boot="b"), seen(tasks=1), 200, True),
        ("started under this broker, no hello", status(None, boot="b"), seen(), 600, True),
        ("it may still run a turn", status(NOW - 100), seen(tasks=9), 60, False),
        ("away for long, nothing but PID 1", status(NOW - 100), seen(tasks=1), 600, True),
        ("away for a moment", status(NOW - 10), seen(tasks=1), 600, False),
        ("nobody knows when it started", status(None), seen(started=None), 600, False),
        ("nobody counts its processes", status(NOW - 100), seen(tasks=None), 600, False),
    ],
)
def test_evidence(what, broker, container, up_for, idle):
    assert idle_evidence(broker, container, up_for, NOW) is idle, what
