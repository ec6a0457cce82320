"""What status says of an agent while its container is on its way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hive_reconciler.core import view
from hive_reconciler.core.picture import Picture
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.hivetoml import HiveToml
from hive_wire.spec import AgentSpec

UID = "a" * 12


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
