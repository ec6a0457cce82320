"""What status says of an agent, and when it is judged anew."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from hive_reconciler.core import view
from hive_reconciler.core.picture import Picture
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.hivetoml import HiveToml
from hive_wire.protocol import AgentStatus
from hive_wire.spec import AgentSpec

UID = "a" * 12
AWAY = {
    "uid": UID,
    "name": "scout",
    "ready": False,
    "boot": None,
    "state": "offline",
    "since": 0.0,
    "detail": "",
    "until": None,
    "turn": None,
    "queued": 0,
    "dead": 0,
    "held": False,
    "fenced": False,
    "paused": False,
    "last_event": 0,
    "last_seen": None,
}


def shown(phase: Phase) -> dict[str, Any]:
    stopped = Valid(AgentSpec(uid=UID, state="stopped"), "", "r1", "t1")
    hive = HiveToml.model_validate({"schema": 1})
    seen = Observed("h-scout", UID, phase, None, None, None, None, None, None)
    picture = Picture(desired=Desired("0" * 40, hive, {"scout": stopped}))
    picture.see((seen,))
    world: Any = SimpleNamespace(
        picture=picture,
        layout=SimpleNamespace(root="/x"),
        runtime=SimpleNamespace(name="nixos"),
        rounds=SimpleNamespace(served=1),
    )
    agents: list[dict[str, Any]] = view.status(world)["agents"]
    return agents[0]


@pytest.mark.parametrize(
    ("phase", "in_sync"),
    [(Phase.STOPPED, True), (Phase.STOPPING, False), (Phase.BROKEN, False)],
)
def test_a_container_that_still_stops_is_not_in_sync(phase: Phase, in_sync: bool) -> None:
    assert shown(phase)["in_sync"] is in_sync


def test_a_judgement_is_kept_until_what_it_is_made_of_changes() -> None:
    hive = HiveToml.model_validate({"schema": 1})
    valid = Valid(AgentSpec(uid=UID), "", "r1", "t1")
    picture = Picture(desired=Desired("0" * 40, hive, {"scout": valid}))
    seen = Observed("h-scout", UID, Phase.STOPPED, "r1", "k", 1.0, None, 1, 1)
    picture.see((seen,))
    picture.judge({}, None)
    first = picture.conditions["scout"]
    picture.see((replace(seen, memory=2, tasks=2),))  # what it uses changes no condition
    picture.judge({}, None)
    assert picture.conditions["scout"] is first
    picture.see((replace(seen, phase=Phase.RUNNING),))
    picture.judge({}, 5.0)
    assert picture.conditions["scout"][0].reason == "BrokerAway"


def test_while_the_swarm_is_stalled_nobody_is_said_to_be_in_sync() -> None:
    hive = HiveToml.model_validate({"schema": 1})
    valid = Valid(AgentSpec(uid=UID), "", "r1", "t1")
    picture = Picture(desired=Desired("0" * 40, hive, {"scout": valid}))
    picture.see((Observed("h-scout", UID, Phase.RUNNING, "r1", "k", 1.0, None, 1, 1),))
    found = []
    for stalled in (None, ("HistoryRewritten", "applied was rewritten"), None):
        picture.stalled = stalled
        picture.judge({}, None)
        calm = picture.conditions["scout"][1]
        found.append((calm.status, calm.reason))
        assert stalled is None or "HistoryRewritten" in calm.message
    assert found == [("False", "InSync"), ("Unknown", "SwarmStalled"), ("False", "InSync")]


def test_the_clock_alone_makes_a_silent_harness_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    hive = HiveToml.model_validate({"schema": 1})
    valid = Valid(AgentSpec(uid=UID), "", "r1", "t1")
    picture = Picture(desired=Desired("0" * 40, hive, {"scout": valid}))
    picture.see((Observed("h-scout", UID, Phase.RUNNING, "r1", "k", 1000.0, None, 1, 1),))
    picture.statuses = {UID: AgentStatus.model_validate(AWAY)}
    reasons = []
    for now in (1001.0, 1121.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        picture.judge({}, None)
        reasons.append(picture.conditions["scout"][3].reason)
    assert reasons == ["Fine", "NotAnswering"]
