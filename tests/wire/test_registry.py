"""A registry arrives whole, however many agents there are, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hive_wire.frames import encode
from hive_wire.protocol import Registry, RegistryAgent, RegistryChange
from hive_wire.registry import PART, Parts, changed, parts_of
from hive_wire.terms import Budget


def agent(number: int, description: str = "") -> RegistryAgent:
    return RegistryAgent(
        uid=f"{number:012d}",
        name=f"a{number}",
        role="agent",
        state="running",
        engine="claude",
        description=description,
        may_send_to=("everyone",),
        budget=Budget(),
        network="none",
    )


ALL = [agent(number, "x" * 200) for number in range(2 * PART + 7)]


@given(count=st.sampled_from([0, 1, PART, PART + 1, len(ALL)]), broken=st.integers(0, 2))
def test_parts_make_the_whole_also_after_a_sender_broke_off(count: int, broken: int) -> None:
    parts = list(parts_of(ALL[:count]))
    receiver = Parts()
    for part in parts[: min(broken, len(parts) - 1)]:
        assert receiver.add(part) is None
    found = [receiver.add(part) for part in parts]
    assert found[:-1] == [None] * (len(parts) - 1)
    assert found[-1] == Registry(agents=tuple(ALL[:count]))
    for part in parts:
        encode({"params": part.model_dump(mode="json")})  # each fits a frame


def test_a_part_without_those_before_it_is_nothing() -> None:
    _, second, third = parts_of(ALL)
    receiver = Parts()
    assert receiver.add(third) is None
    assert receiver.add(second) is None
    assert [receiver.add(part) for part in parts_of(ALL)][-1] is not None


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_a_change_replaces_adds_and_removes(
    known: set[int], told: set[int], gone: set[int]
) -> None:
    change = RegistryChange(
        agents=tuple(agent(n, "new") for n in told),
        gone=tuple(agent(n).uid for n in gone - told),
    )
    after = {a.uid: a for a in changed(map(agent, known), change).agents}
    kept = {agent(n).uid: agent(n) for n in known - gone - told}
    assert after == kept | {a.uid: a for a in change.agents}
