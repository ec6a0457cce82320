"""The list of proposals fits a frame, whatever the requesters wrote."""

from __future__ import annotations

from hive_reconciler.model.proposal import Pinned, Proposal, Requester, listing
from hive_wire.frames import encode


def huge(n: int) -> Proposal:
    pinned = Pinned(
        n=n,
        kind="apply",
        agent="scout",
        requester=Requester.agent("k" * 12, "hm1nd"),
        description="\x1f" * 4000,  # six bytes each, as JSON
        commit="0" * 40,
        submitted="0" * 40,
        base="0" * 40,
        created=0.0,
    )
    return Proposal(pinned, state="denied", reason="\x1f" * 4000, by="root", ended=1.0)


def test_hundreds_of_proposals_with_the_longest_texts_fit_a_frame():
    rows = listing(huge(n) for n in range(1, 501))
    assert len(rows) == 500
    assert rows[0]["description"] == "\x1f" * 4000
    assert encode({"jsonrpc": "2.0", "id": 1, "result": {"proposals": rows}})
