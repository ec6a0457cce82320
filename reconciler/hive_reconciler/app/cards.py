"""A proposal with all that a person looks at before deciding."""

from __future__ import annotations

from typing import Any

from ..core.builds import Builds
from ..core.loop import Reconciler
from ..model.build import build_json
from ..model.proposal import proposal_json

MAX_PROBLEMS = 100  # shown of one proposal
PLAN_ROOM = 200 << 10  # bytes of the plan, beside the diff


async def card(reconciler: Reconciler, builds: Builds, n: int) -> dict[str, Any]:
    """`proposal` as docs/protocol.md has it. Raises NotFound."""
    hive, picture = reconciler.hive, reconciler.picture
    build = await builds.of(n)  # first: what fails ends the proposal
    proposal = await hive.proposal(n)
    known = picture.desired is not None  # else there is no plan to show yet
    after = await hive.preview(n) if known and proposal.state == "open" else None
    return {
        **proposal_json(proposal),
        "diff": await hive.diff(n),
        "plan": picture.dry_run(after).as_json(PLAN_ROOM) if after is not None else None,
        "build": build_json(build),
        "checks": list(proposal.problems[:MAX_PROBLEMS]),
    }
