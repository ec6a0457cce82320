"""Taking over a tip that no recorded merge made: a person's decision, recorded by a tag."""

from __future__ import annotations

from ..model.records import accepted_message, who_problem
from ..model.swarm import HostAbilities, swarm_problems
from .errors import Conflict, Refused
from .repositories import Repositories


def accept(all_: Repositories, named: str, who: str, why: str) -> None:
    """Tag the commit that `named` abbreviates; if it is the tip, follow `applied` from there. Raises Refused, ReadFailed."""
    wrong = who_problem(who)
    if wrong:
        raise Refused(wrong)
    with all_.store.locked():
        tip = all_.history.tip()
        found = [oid for oid in all_.history.first_parents(tip) if oid.startswith(named)]
        if not found:
            raise Refused(f"{named[:40]!r} is not in the first-parent history of applied")
        if len(found) > 1:
            raise Refused(f"{named} is ambiguous; give more digits")
        oid = found[0]
        tree = all_.store.tree_of(oid)
        hive = all_.reader.hive(tree)
        roll = all_.reader.roll(tree, hive)
        problems = swarm_problems({}, {}, (roll, roll), hive.policy, HostAbilities())
        if problems:
            raise Refused(f"{oid[:12]} cannot be applied: " + "; ".join(map(str, problems)))
        try:
            all_.store.tag(f"accepted/{oid}", oid, accepted_message(oid, who, why))
        except Conflict:
            pass  # accepted before, and the branch was put back to it
        if oid == tip:
            all_.history.take_over(tip)
