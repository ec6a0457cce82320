"""From a wish to a pinned proposal: checks, the uid of new agents, pin, supersede, policy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hive_wire.names import new_uid
from hive_wire.parse import SpecError, parse_agent

from ..model.checks import Problem, scope_problems
from ..model.desired import Valid
from ..model.policy import may_merge, over_limit, person_problem
from ..model.proposal import Closed, Kind, Pinned, Proposal, Requester, State, standing
from ..model.records import MAX_DESCRIPTION
from ..model.tomledit import set_key
from .decide import Decisions, policy_approver
from .errors import Busy, Conflict, Refused
from .listing import Entry
from .mending import exchanged
from .objects import Raw
from .previews import Conflicts, Step, TooLarge
from .repositories import Repositories
from .trees import referred

MAX_OPEN = 50  # proposals of one requester
MAX_ASKED = 120  # proposals of one agent in an hour, whatever becomes of them
MAX_REJECTED = 20  # recorded refusals of one requester in an hour
CHECKS = "checks"


@dataclass(frozen=True)
class Submitted:
    """What became of a request. `message` is for the requester."""

    n: int
    state: State  # open, merged or rejected; of a wish that was asked before, any
    message: str
    commit: str | None = None  # the merge, if state is merged


@dataclass(frozen=True)
class Wish:
    """What somebody wants merged. Objects that are not in the repository lie in the scratch."""

    kind: Kind
    agent: str
    requester: Requester
    description: str
    tree: str
    base: str  # commit: the merge base with `applied`
    commit: str | None = None  # an imported one; None: we commit `tree` ourselves
    source: str = ""
    keeps_uids: bool = False  # brings back what was there before, uid and all
    scoped: bool = False  # may touch only `agent`
    key: str = ""  # names this wish, so that asking again asks for nothing new


class Intake:
    """Used in the git thread, under the lock and inside a scratch."""

    def __init__(self, all_: Repositories, decisions: Decisions) -> None:
        self._all = all_
        self._decisions = decisions

    def authorise(self, requester: Requester, tree: str) -> None:
        """Agents: only the manager asks for changes. Raises Refused."""
        if requester.kind == "user":
            return
        hive = self._all.reader.hive(tree)
        agents = self._all.reader.agents(tree, hive)
        for name in self._all.reader.roll(tree, hive).managers:
            manager = agents[name]
            if isinstance(manager, Valid) and manager.spec.uid == requester.uid:
                return
        raise Refused("only the manager may ask for changes of agents; write to it")

    def propose(self, wish: Wish) -> Submitted:
        """Check and pin. Raises Refused for what is not worth a record, Busy."""
        wrong = person_problem(wish.requester.name)  # it becomes part of a trailer
        if wrong:
            raise Refused(wrong)
        if len(wish.description) > MAX_DESCRIPTION:
            raise Refused(f"the description is longer than {MAX_DESCRIPTION} characters")
        tip = self._all.history.verified_tip()
        before = self._all.ledger.all()
        mine = [p for p in before if p.pinned.requester.key == wish.requester.key]
        if sum(p.state == "open" for p in mine) >= MAX_OPEN:
            raise Busy(f"{MAX_OPEN} proposals of {wish.requester.name} are open; withdraw some")
        hour_ago = time.time() - 3600
        asked = sum(p.pinned.created > hour_ago for p in mine)
        if wish.requester.kind == "agent" and asked >= MAX_ASKED:
            raise Busy(f"you asked for {asked} changes within the hour; wait, or ask the operator")
        wish, problems = self._with_uids(wish)
        step = None
        if not problems:
            step, problems = self._check(wish, tip)
        if step is None or problems:
            return self._reject(wish, tip, "; ".join(map(str, problems[:20])), mine)
        pinned = self._pin(wish)
        self._supersede(pinned, mine)
        return self._by_policy(standing(pinned, {}, {}), step)

    def asked_before(self, requester: Requester, key: str) -> Submitted | None:
        """What became of the wish that this requester named `key`: its answer was lost."""
        if not key:
            return None
        for proposal in self._all.ledger.all():
            pinned = proposal.pinned
            if pinned.key == key and pinned.requester.key == requester.key:
                return self._again(proposal)
        return None

    def _again(self, proposal: Proposal) -> Submitted:
        n, state = proposal.n, proposal.state
        if state == "merged":
            return _merged(n, proposal.by, proposal.merge)
        if state != "open":
            said = proposal.reason or f"proposal {n} was {state} by {proposal.by}"
            return Submitted(n, state, said)
        step = self._decisions.now(proposal)  # whoever pinned it may have ended before the merge
        if isinstance(step, Conflicts):
            return Submitted(n, "open", _waits(n))
        return self._by_policy(proposal, step)

    # -- checks --------------------------------------------------------------------

    def _check(self, wish: Wish, tip: str) -> tuple[Step | None, Sequence[Problem]]:
        tree_of, previews = self._all.store.tree_of, self._all.previews
        base, ours = tree_of(wish.base), tree_of(tip)
        if wish.tree == base:
            raise Refused("the request changes nothing")
        try:
            if wish.scoped:
                previews.bound_to_one(base, wish.tree)
            step = previews.merge(base, ours, wish.tree)
            own = previews.step(base, wish.tree)
        except TooLarge as error:
            return None, [Problem("", str(error))]
        if isinstance(step, Conflicts):
            text = "changed in applied meanwhile; rebase onto applied and submit again"
            return None, [Problem(path, text) for path in step.paths]
        if not step.changes:
            raise Refused("the request changes nothing that is not applied already")
        problems = [*step.problems, *exchanged(self._all, step)]
        if wish.scoped:
            problems += scope_problems(own.changes, wish.agent)
            problems += scope_problems(step.changes, wish.agent)
        return step, list(dict.fromkeys(problems))

    def _with_uids(self, wish: Wish) -> tuple[Wish, Sequence[Problem]]:
        """`wish` with a uid for every agent that it adds and does not only rename. Their files
        are checked as written."""
        if wish.keeps_uids:
            return wish, []
        trees, base = self._all.trees, self._all.store.tree_of(wish.base)
        tree = wish.tree
        old, new = trees.differing(trees.subtree(base, "agents"), trees.subtree(tree, "agents"))
        freed = {uid for name in old.keys() - new.keys() if (uid := self.uid(base, name))}
        for name, entry in new.items():
            if name in old or not entry.is_tree:
                continue
            path = f"agents/{name}/agent.toml"
            data = trees.file(tree, path)
            if data is None:
                continue  # the checks of the merged tree say so
            try:
                spec = parse_agent(data, path)
            except SpecError as error:
                return wish, [Problem("", str(problem)) for problem in error.problems]
            if spec.uid in freed:
                continue
            if spec.uid is not None:
                return wish, [Problem(path, "sets uid; leave it out, the reconciler sets it")]
            found = trees.entry(tree, path)
            assert found is not None
            text = set_key(data.decode(), "uid", new_uid())
            tree = trees.put(tree, path, Entry(found.mode, trees.write_blob(text.encode())))
        return replace(wish, tree=tree), []

    def uid(self, tree: str, name: str) -> str | None:
        """That of an agent of a tree, where one can be read."""
        path = f"agents/{name}/agent.toml"
        try:
            return parse_agent(self._all.trees.file(tree, path) or b"", path).uid
        except SpecError:
            return None

    # -- records -------------------------------------------------------------------

    def _pin(self, wish: Wish) -> Pinned:
        trees = self._all.trees
        n = self._all.ledger.next_number()
        commit = wish.commit
        if commit is None or referred(trees.raw(commit))[0] != wish.tree:
            what = f"Ask for {wish.kind}" if commit is None else "Set the uid"
            parent = wish.base if commit is None else commit
            text = f"{what} of {wish.agent}\n"
            made = trees.write_commit(self._all.store.commit_text(text, wish.tree, (parent,)))
        else:
            made = commit
        pinned = self._tag(wish, n, made, commit or made)
        record, objects = self._recorded(pinned)
        self._all.ledger.pin(pinned.n, record, objects)
        return pinned

    def _recorded(self, pinned: Pinned) -> tuple[str, Sequence[tuple[str, Raw]]]:
        """The tag object of it, and all that it names and is not on disk yet, itself among them."""
        record = self._all.trees.write_tag(self._all.ledger.record(pinned))
        return record, self._all.trees.unwritten(record)

    def _tag(self, wish: Wish, n: int, commit: str, submitted: str) -> Pinned:
        return Pinned(
            n,
            commit,
            submitted,
            wish.base,
            wish.kind,
            wish.agent,
            wish.requester,
            wish.description,
            time.time(),
            wish.source,
            wish.key,
        )

    def refuse(self, wish: Wish, reason: str) -> Submitted:
        """Record what could not even be taken in. Raises Busy."""
        mine = [p for p in self._all.ledger.all() if p.pinned.requester.key == wish.requester.key]
        return self._reject(wish, self._all.history.verified_tip(), reason, mine)

    def _reject(self, wish: Wish, tip: str, reason: str, mine: Sequence[Proposal]) -> Submitted:
        """Record the refusal, and nothing of what was refused."""
        hour_ago = time.time() - 3600
        recent = sum(p.state == "rejected" and (p.ended or 0) > hour_ago for p in mine)
        if recent >= MAX_REJECTED:
            raise Busy(f"{recent} requests were refused within the hour; this one, too: {reason}")
        pinned = self._tag(
            replace(wish, base=tip), self._all.ledger.next_number(), tip, wish.commit or tip
        )
        ending = Closed("rejected", reason, CHECKS, time.time())
        record, objects = self._recorded(pinned)
        self._all.ledger.pin_ended(pinned.n, record, objects, pinned.commit, ending)
        return Submitted(pinned.n, "rejected", reason)

    def _supersede(self, new: Pinned, mine: Sequence[Proposal]) -> None:
        for old in mine:
            if old.state == "open" and _replaces(new, old.pinned):
                reason = f"proposal {new.n} of the same requester takes its place"
                ending = Closed("superseded", reason, CHECKS, new.created)
                self._all.ledger.close(old, ending)

    def _by_policy(self, proposal: Proposal, step: Step) -> Submitted:
        """Merge at once what the policy, or the person who asks for just this, consents to."""
        n, requester = proposal.n, proposal.pinned.requester
        waits = _waits(n)
        if "power" not in step.classes and proposal.pinned.kind != "power":
            return Submitted(n, "open", waits)
        if requester.kind == "user" and proposal.pinned.kind == "power":
            by = requester.name
        elif not may_merge(step.hive_before, step.classes):
            return Submitted(n, "open", waits)
        elif over_limit(requester, self._all.ledger.merges().values(), time.time()):
            return Submitted(n, "open", f"{waits}: the policy's hourly limit is used up")
        else:
            by = policy_approver(self._all, step.old)
        try:
            commit = self._decisions.merge(proposal, step.effect.digest, by)
        except (Refused, Conflict) as error:
            return Submitted(n, "open", f"{waits}: {error.message}")
        return _merged(n, by, commit)


def _waits(n: int) -> str:
    return f"proposal {n} waits for the operator"


def _merged(n: int, by: str, commit: str | None) -> Submitted:
    return Submitted(n, "merged", f"merged by {by.partition('@')[0]}", commit)


def _replaces(new: Pinned, old: Pinned) -> bool:
    if new.source or old.source:
        return new.source == old.source
    same = new.agent == old.agent
    if not new.agent:  # a revert for the whole swarm: of another merge it says so
        same = same and new.description == old.description
    return same and (new.kind == "power") == (old.kind == "power")
