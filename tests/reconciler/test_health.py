"""The time that a harness has for its hello, by a clock that the test sets."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.core.health import HELLO_GRACE, Facts, conditions, deploy_failure, is_silent
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.memory import AgentMemory
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.protocol import AgentStatus
from hive_wire.spec import AgentSpec

UID, START = "a" * 12, 1_000_000.0
VALID = Valid(AgentSpec(uid=UID), "", "r1", "t1")
SEEN = Observed("h-scout", UID, Phase.RUNNING, "r1", "k1", START, None, None, None)
STATUS = AgentStatus(
    uid=UID, name="scout", ready=False, boot=None, state="offline", since=START, detail="",
    until=None, turn=None, queued=0, dead=0, held=False, fenced=False, paused=False,
    last_event=0, last_seen=None,
)  # fmt: skip


def healthy(now: float, status: AgentStatus | None = STATUS, down: float | None = None) -> str:
    facts = Facts(
        VALID, AgentMemory(good=VALID, ran=VALID), SEEN, status, down, None, None, None, None,
        None, now,
    )  # fmt: skip
    return next(c.reason for c in conditions(facts) if c.type.value == "Healthy")


def test_a_harness_has_its_grace_and_not_a_moment_more() -> None:
    end = START + HELLO_GRACE
    for now in (START, end - 0.001, end):
        assert healthy(now) == "Fine"
        assert deploy_failure(VALID, AgentMemory(), SEEN, STATUS, now) is None
    assert healthy(end + 0.001) == "NotAnswering"
    failure = deploy_failure(VALID, AgentMemory(), SEEN, STATUS, end + 0.001)
    assert failure == "its harness did not say hello within 120 s"


def test_the_grace_begins_anew_when_a_harness_goes_away() -> None:
    left = STATUS.model_copy(update={"last_seen": START + 5000})
    assert healthy(START + 5000 + HELLO_GRACE, left) == "Fine"
    assert healthy(START + 5001 + HELLO_GRACE, left) == "NotAnswering"


def test_nobody_is_silent_while_the_broker_is_away() -> None:
    assert healthy(START + 9999, down=START + 10) == "Fine"


def test_the_silence_of_another_revision_fails_no_deploy() -> None:
    other = replace(SEEN, revision="r0")
    assert deploy_failure(VALID, AgentMemory(), other, STATUS, START + 9999) is None


@given(
    st.sampled_from(Phase),
    st.booleans(),
    st.none() | st.floats(-1e4, 1e4),
    st.floats(-1e4, 1e4),
)
def test_only_a_running_container_without_a_hello_is_silent(
    phase: Phase, ready: bool, last_seen: float | None, after: float
) -> None:
    """Also when the clock was set back behind the start."""
    seen_at = None if last_seen is None else START + last_seen
    status = STATUS.model_copy(update={"ready": ready, "last_seen": seen_at})
    silent = is_silent(replace(SEEN, phase=phase), status, START + after)
    since = max(0.0, last_seen if last_seen is not None else -START)
    late = after - since > HELLO_GRACE
    assert not silent or (phase is Phase.RUNNING and not ready)
    if phase is Phase.RUNNING and not ready and abs(after - since - HELLO_GRACE) > 1:
        assert silent is late
