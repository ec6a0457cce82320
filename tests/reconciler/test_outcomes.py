"""What requesters hear, and that they hear it of the commit that holds."""

from __future__ import annotations

from types import SimpleNamespace

from hive_reconciler.core.outcomes import Outcomes, Stand, Standing
from hive_reconciler.model.proposal import Pinned, Proposal, Requester

OLD, NEW = "0" * 40, "1" * 40
MANAGER = "m" * 12
SPAWN = Proposal(
    Pinned(
        n=1,
        commit=NEW,
        submitted=NEW,
        base=OLD,
        kind="spawn",
        agent="scout",
        requester=Requester.agent(MANAGER, "hm1nd"),
        description="",
        created=0.0,
    ),
    state="merged",
    reason="",
    by="root",
    ended=1.0,
    merge=NEW,
)
READY, ABSENT = Stand(ready=True), Stand(present=False)


def standing(commit, *ready):
    return Standing(
        commit, "hm1nd", {MANAGER: "hm1nd"}.get, lambda name: READY if name in ready else ABSENT
    )


BEFORE, AFTER = standing(OLD, "hm1nd"), standing(NEW, "hm1nd", "scout")


class Merged:
    """A repository in which the spawn is merged already."""

    def __init__(self):
        self.deployed = {}

    async def tip(self):
        return NEW

    async def proposals(self, state, _limit):
        return (SPAWN,) if state == "merged" else ()

    async def set_deployed(self, n, word):
        self.deployed[n] = word


def broker(told):
    async def system(to, kind, *_):
        told.append((to, kind))

    return SimpleNamespace(link=SimpleNamespace(is_up=True), system=system)


async def test_a_merge_that_the_round_has_not_read_is_not_judged_by_it(tmp_path):
    told, hive = [], Merged()
    outcomes = Outcomes(hive, broker(told), tmp_path / "told.json")
    await outcomes.tell(BEFORE)
    assert (told, hive.deployed) == ([], {})
    await outcomes.tell(AFTER)
    assert told == [
        ("hm1nd", "approval_resolved"),
        ("hm1nd", "applied_moved"),
        ("hm1nd", "spawned"),
    ]
    assert hive.deployed == {1: "spawned"}


async def test_what_was_told_is_kept_as_soon_as_it_can_be(tmp_path):
    file = tmp_path / "full" / "told.json"
    told = []
    outcomes = Outcomes(Merged(), broker(told), file)
    await outcomes.tell(AFTER)
    assert not outcomes.is_done
    file.parent.mkdir()
    await outcomes.tell(AFTER)
    assert outcomes.is_done
    await Outcomes(Merged(), broker(told), file).tell(AFTER)
    assert told.count(("hm1nd", "approval_resolved")) == 1
