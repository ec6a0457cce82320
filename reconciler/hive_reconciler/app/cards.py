"""A proposal with all that a person looks at before deciding."""

from __future__ import annotations

from typing import Any

from hive_wire.pages import fitting

from ..core.builds import Builds
from ..core.loop import Reconciler
from ..core.slices import in_slices
from ..model.build import build_json
from ..model.proposal import proposal_json

PLAN_ROOM = 128 << 10  # bytes of the plan, beside the effect and the diff
CHECKS_ROOM = 32 << 10


async def card(reconciler: Reconciler, builds: Builds, n: int) -> dict[str, Any]:
    """`proposal` as docs/protocol.md has it. Raises NotFound."""
    hive, picture = reconciler.hive, reconciler.picture
    build = await builds.of(n)  # first: what fails ends the proposal
    proposal = await hive.proposal(n)
    known = picture.desired is not None  # else there is no plan to show yet
    after = await hive.preview(n) if known and proposal.state == "open" else None
    diff = await hive.diff(n)
    files = len(proposal.effect.files) if proposal.effect is not None else len(diff)
    plan = await in_slices(picture.foreseeing(after)) if after is not None else None
    checks, _ = fitting(proposal.problems, CHECKS_ROOM)
    return {
        **proposal_json(proposal),
        "diff": diff,
        "diff_left_out": max(0, files - len(diff)),
        "plan": plan.as_json(PLAN_ROOM) if plan is not None else None,
        "build": build_json(build),
        "checks": checks,
    }
