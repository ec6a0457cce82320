"""Wishes that we put into commits ourselves: spawn, power, retire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import tomli_w

from hive_wire.hivetoml import HiveToml, Template
from hive_wire.names import name_problem, new_uid
from hive_wire.parse import SpecError, parse_agent
from hive_wire.spec import AgentSpec

from ..model.checks import IN_ONE
from ..model.desired import Valid
from ..model.fields import flat
from ..model.proposal import Requester
from ..model.tomledit import set_in_table, set_key
from ..model.tree import FILE, agent_of
from .decide import Decisions
from .errors import NotFound, Refused
from .first import WORKER
from .first import template as packaged
from .importing import Imported
from .inbox import Head, description_of
from .intake import Intake, Submitted, Wish
from .listing import Entry
from .repositories import Repositories
from .trees import EMPTY, TooMany

PowerAction = Literal["start", "stop", "restart"]


@dataclass(frozen=True)
class NewAgent:
    """What `spawn` was told."""

    name: str
    description: str
    prompt: str | None  # None: that of the template
    template: str | None
    settings: Mapping[str, Any]
    key: str = ""  # as of a Wish


class Submissions:
    """Used in the git thread."""

    def __init__(self, all_: Repositories, decisions: Decisions) -> None:
        self._all = all_
        self._intake = Intake(all_, decisions)

    def spawn(self, requester: Requester, new: NewAgent) -> Submitted:
        problem = name_problem(new.name)
        if problem:
            raise Refused(problem)
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            if before := self._intake.asked_before(requester, new.key):
                return before
            if self._all.trees.entry(tree, f"agents/{new.name}") is not None:
                raise Refused(f"there is an agent {new.name} already; choose another name")
            for file, text in _spawned(self._all.reader.hive(tree), new).items():
                tree = self._put(tree, f"agents/{new.name}/{file}", text)
            wish = Wish("spawn", new.name, requester, new.description, tree, tip)
            return self._intake.propose(replace(wish, keeps_uids=True, key=new.key))

    def power(
        self, requester: Requester, agent: str, action: PowerAction, reason: str, key: str
    ) -> Submitted:
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            if before := self._intake.asked_before(requester, key):
                return before
            spec = self._spec(tree, agent)
            path = f"agents/{agent}/agent.toml"
            text = (self._all.trees.file(tree, path) or b"").decode()
            tree = self._put(tree, path, _powered(text, agent, spec, action))
            wish = Wish("power", agent, requester, reason or action, tree, tip, key=key)
            return self._intake.propose(wish)

    def allow(self, requester: Requester, agent: str, rule: str) -> Submitted:
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            spec = self._spec(tree, agent)
            if rule in spec.tools.allow:
                raise Refused(f"{agent} may use {rule} already")
            path = f"agents/{agent}/agent.toml"
            text = (self._all.trees.file(tree, path) or b"").decode()
            edited = set_in_table(text, "tools", "allow", [*spec.tools.allow, rule])
            tree = self._put(tree, path, edited)
            wish = Wish("apply", agent, requester, f"never ask again: {rule}", tree, tip)
            return self._intake.propose(wish)

    def retire(self, requester: Requester, agent: str, reason: str) -> Submitted:
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            self._exists(tree, agent)
            tree = self._all.trees.put(tree, f"agents/{agent}", None)
            return self._intake.propose(
                Wish("retire", agent, requester, reason or "retire", tree, tip)
            )

    def may_submit(self, requester: Requester, agent: str, key: str) -> str | Submitted:
        """The tip, if this requester may hand in commits for `agent`; what became of it, if
        this one was handed in before. Raises Refused."""
        problem = name_problem(agent)
        if problem:
            raise Refused(problem)
        with self._all.store.locked(), self._all.trees.scratch():
            tip, _ = self._start(requester)
            return self._intake.asked_before(requester, key) or tip

    def commit(
        self, requester: Requester, agent: str, description: str, key: str, imported: Imported
    ) -> Submitted:
        with self._all.store.locked(), self._all.trees.scratch(imported.objects):
            self._start(requester)
            if before := self._intake.asked_before(requester, key):
                return before
            return self._intake.propose(
                Wish(
                    "apply",
                    agent,
                    requester,
                    description,
                    imported.tree,
                    imported.base,
                    commit=imported.commit,
                    scoped=True,
                    key=key,
                )
            )

    def head(self, head: Head, imported: Imported) -> Submitted:
        """A pushed branch. People may change whatever the checks and the policy let through."""
        trees = self._all.trees
        with self._all.store.locked(), trees.scratch(imported.objects):
            base = self._all.store.tree_of(imported.base)
            _, data = imported.objects.get(imported.commit, (0, b""))
            try:
                changed = trees.changed(base, imported.tree, IN_ONE.files)
                agents = {agent_of(path) for path, _, _ in changed}
            except TooMany:
                agents = set()
            agent = next(iter(agents)) if len(agents) == 1 else None
            wish = Wish("apply", agent or "", head.pusher, description_of(data), imported.tree, "")
            wish = replace(wish, base=imported.base, commit=imported.commit, source=head.topic)
            try:
                return self._intake.propose(wish)
            except Refused as error:
                return self._intake.refuse(wish, error.message)

    def refuse_head(self, head: Head, reason: str) -> Submitted:
        """Record why a pushed branch was not even taken in."""
        with self._all.store.locked():
            wish = Wish("apply", "", head.pusher, "", "", "", commit=head.commit)
            return self._intake.refuse(replace(wish, source=head.topic), reason)

    def _start(self, requester: Requester) -> tuple[str, str]:
        tip = self._all.history.verified_tip()
        tree = self._all.store.tree_of(tip)
        self._intake.authorise(requester, tree)
        return tip, tree

    def _exists(self, tree: str, agent: str) -> None:
        if name_problem(agent) or self._all.trees.subtree(tree, f"agents/{agent}") == EMPTY:
            raise NotFound(f"there is no agent {agent[:60]!r}; `hive status` lists them")

    def _spec(self, tree: str, agent: str) -> AgentSpec:
        self._exists(tree, agent)
        entry = self._all.reader.agent(tree, agent)
        if not isinstance(entry, Valid):
            raise Refused(f"agents/{agent} has errors; `hive status` shows them. Fix them first")
        return entry.spec

    def _put(self, tree: str, path: str, text: str) -> str:
        trees = self._all.trees
        return trees.put(tree, path, Entry(FILE, trees.write_blob(text.encode())))


def _powered(text: str, agent: str, spec: AgentSpec, action: PowerAction) -> str:
    match action, spec.state:
        case "start", "running":
            raise Refused(f"{agent} is to run already; `hive restart {agent}` restarts it")
        case "stop", "stopped":
            raise Refused(f"{agent} is stopped already")
        case "restart", "stopped":
            raise Refused(f"{agent} is stopped; `hive start {agent}` starts it")
        case "start", _:
            return set_key(text, "state", "running")
        case "stop", _:
            return set_key(text, "state", "stopped")
        case _:
            return set_key(text, "restarts", spec.restarts + 1)


def _spawned(hive: HiveToml, new: NewAgent) -> dict[str, str]:
    """{file: text} of a new agent. Raises Refused, naming the setting that is wrong."""
    if new.template is not None and new.template not in hive.templates:
        known = ", ".join(sorted(hive.templates)) or "none"
        raise Refused(
            f"there is no template {new.template[:60]!r} in hive.toml; there are: {known}"
        )
    chosen = hive.templates.get(new.template or WORKER, Template())
    head = {"uid": new_uid(), "description": new.description}
    table = {**chosen.agent, **head}
    for key, value in new.settings.items():
        _set(table, key, value)
    try:
        spec = parse_agent(tomli_w.dumps(table).encode(), "settings", hive.defaults)
    except (SpecError, TypeError, ValueError) as error:
        raise Refused(f"{new.name}: {error}") from None
    if spec.role != "agent" or spec.uid != head["uid"]:
        raise Refused(f"{new.name}: role and uid cannot be set")
    values = flat(spec)
    for key in new.settings:  # "2" of a command line becomes the number that it means
        _set(table, key, values.get(key, new.settings[key]))
    text = chosen.prompt_text if new.prompt is None else new.prompt
    return {
        "agent.toml": tomli_w.dumps({**head, **table}),
        "agent.nix": packaged("agent.nix"),
        spec.prompt: (text or packaged("worker.md")).rstrip("\n") + "\n",
    }


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key. Raises Refused."""
    *parents, last = key.split(".")
    if not key.replace(".", "").replace("_", "").isalnum() or len(parents) > 1:
        raise Refused(f"{key[:60]!r} is no key of agent.toml")
    if value is None:  # as JSON has infinities, too
        raise Refused(f"{key} has no value: give one, or leave it out")
    for part in parents:
        below = table.get(part, {})
        if not isinstance(below, dict):
            raise Refused(f"{part} is no table of agent.toml")
        table[part] = below = dict(below)
        table = below
    table[last] = value
