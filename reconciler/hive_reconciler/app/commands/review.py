"""hive proposals, show, approve, deny, withdraw."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from hive_wire.pages import PART, read_whole
from hive_wire.paths import Layout
from hive_wire.rpc_errors import CONFLICT

from ...model.build import build_text
from ...model.plan_text import plan_text
from ...model.records import approval_text
from ...model.tree import FILE
from ..client import CallFailed, Client
from ..plain import line, plain
from .common import ago, host, print_json, print_table

PAGE = 500  # the most that one call gives


def proposals(layout: Layout, options: argparse.Namespace) -> int:
    state = None if options.all else "open"
    with host(layout) as reconciler:
        found = _listed(reconciler, state)
    if options.json:
        print_json(found)
        return 0
    rows = [
        (
            p["n"],
            p["kind"],
            p["agent"] or "swarm",
            p["state"],
            p["requester"],
            ago(p["created"]),
            p["description"],
        )
        for p in found
    ]
    if not rows:
        print("nothing waits for a decision" if state else "no proposals yet")
        return 0
    print_table(("N", "KIND", "AGENT", "STATE", "FROM", "AGE", "DESCRIPTION"), rows)
    return 0


def _listed(reconciler: Client, state: str | None) -> list[dict[str, Any]]:
    """All there are, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        before = found[-1]["n"] if found else None
        page = reconciler.call("proposals", state=state, limit=PAGE, before=before)["proposals"]
        found += page
        if len(page) < PAGE:
            return found


def show(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        found = _whole(reconciler, options.n)
    if options.json:
        print_json(found)
    else:
        print(proposal_text(found))
    return 0


def _whole(reconciler: Client, n: int) -> dict[str, Any]:
    """A proposal with all that one answer leaves out."""
    while True:
        found: dict[str, Any] = reconciler.call("proposal", n=n)
        effect = found["effect"]
        if effect is None or not _is_short(found):
            return found
        parts = {
            part: read_whole(reconciler.call, PART, n=n, part=part)
            for part in ("changes", "actions", "diff")
        }
        if all(part["digest"] == effect["digest"] for part in parts.values()):
            rows = {part: answer["rows"] for part, answer in parts.items()}
            nothing = {"changes": {}, "actions": {}, "files": effect["left_out"]["files"]}
            effect |= {"changes": rows["changes"], "actions": rows["actions"]}
            effect["left_out"] = nothing
            return found | {"diff": rows["diff"], "diff_left_out": 0}


def _is_short(found: dict[str, Any]) -> bool:
    left_out = found["effect"]["left_out"]
    cut = any(file["cut"] for file in found["diff"])
    return bool(left_out["changes"] or left_out["actions"] or found["diff_left_out"] or cut)


def approve(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        _wait_for_nix(reconciler, options.n)
        digest = options.expect
        if digest is None:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise CallFailed(
                    f"without a terminal say what you approve: see hive show {options.n}, then "
                    f"hive approve {options.n} --expect DIGEST"
                )
            digest = _ask(_whole(reconciler, options.n))
            if digest is None:
                print("nothing was approved")
                return 1
        signature = None
        if options.sign_with is not None:
            signature = _signed(reconciler.call("proposal", n=options.n), digest, options)
        try:
            answer = reconciler.call(
                "approve",
                n=options.n,
                effect=digest,
                allow_prune=options.allow_prune,
                signature=signature,
            )
        except CallFailed as error:
            if error.code == CONFLICT and error.data and error.data.get("changed"):
                _print_changed(error.data)
            raise
    print(f"proposal {options.n} is merged as {answer['commit'][:12]}")
    return 0


def deny(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        reconciler.call("deny", n=options.n, reason=options.reason)
    print(f"proposal {options.n} is denied")
    return 0


def withdraw(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        reconciler.call("withdraw", n=options.n)
    print(f"proposal {options.n} is withdrawn")
    return 0


def proposal_text(found: dict[str, Any]) -> str:
    """Head, effect, diff and plan of a proposal; everything an agent wrote made harmless."""
    parts = [
        f"Proposal {found['n']}: {found['kind']} {line(found['agent']) or 'swarm'}, {found['state']}\n"
        f"from {line(found['requester'])}, {ago(found['created'])} ago, commit {found['commit']}",
    ]
    if found["description"]:
        parts.append(_indent(found["description"]))
    if found["reason"]:
        parts.append(f"{found['state']} by {line(found['by'])}: {plain(found['reason'])}")
    if found["needs_rebase"]:
        parts.append("It does not merge any more: it needs a rebase onto the applied branch.")
    if found["checks"]:
        listed = "\n".join(f"  ✕ {line(problem)}" for problem in found["checks"])
        parts.append(f"It cannot be approved as it is:\n{listed}")
    if found["effect"] is not None and found["effect"]["files"]:
        parts.append(_effect_text(found["effect"]))
    parts.extend(_file_text(file) for file in found["diff"])
    if found["diff_left_out"]:
        parts.append(f"{found['diff_left_out']} more files: too many to be shown; see git")
    if found["build"] is not None:
        parts.append(plain(build_text(found["build"])))
    if found["plan"] is not None:
        parts.append(f"After the merge, here and now:\n{plain(plan_text(found['plan']))}")
    if found["effect"] is not None and found["state"] == "open" and not found["checks"]:
        parts.append(f"hive approve {found['n']} --expect {found['effect']['digest']}")
    return "\n\n".join(parts)


def _effect_text(effect: dict[str, Any]) -> str:
    lines = ["Effect:"]
    lines += [f"  {change['risk']:>6}  {line(change['text'])}" for change in effect["changes"]]
    lines += [
        f"  → {action['kind']} {line(action['agent'])}: {line(action['reason'])}"
        for action in effect["actions"]
    ]
    left_out = effect["left_out"]
    lines += [f"  … and {n} more of {risk} risk" for risk, n in left_out["changes"].items()]
    lines += [f"  → … and {n} more to {kind}" for kind, n in left_out["actions"].items()]
    return "\n".join(lines)


def _file_text(file: dict[str, Any]) -> str:
    counts = f"+{file['added']} -{file['removed']}"
    lines = [f"{file['status']} {line(file['path'])} ({counts})"]
    old, new = file["old_mode"], file["new_mode"]
    if new and new != (old or FILE):
        lines.append(f"  mode {old or 0:06o} → {new:06o}")
    if file["binary"]:
        lines.append("  binary")
    if file["cut"]:
        lines.append("  too long to be shown; see git")
    for hunk in file["hunks"]:
        lines.append("  @@")
        lines += [f"  {row['kind']}{plain(row['text'])}".rstrip("\n") for row in hunk]
    return "\n".join(lines)


def _ask(found: dict[str, Any]) -> str | None:
    """The digest of the effect that the person at the terminal agreed to."""
    print(proposal_text(found))
    if found["state"] != "open" or found["effect"] is None:
        raise CallFailed(f"proposal {found['n']} is {found['state']} and cannot be approved")
    try:
        answer = input(f"\nApprove proposal {found['n']}? Type yes: ")
    except EOFError:
        print()
        return None
    return str(found["effect"]["digest"]) if answer.strip().lower() == "yes" else None


def _signed(found: dict[str, Any], digest: str, options: argparse.Namespace) -> str:
    from ...git.approval import sign
    from ...git.signing import SigningFailed

    version = found["effect"]["version"] if found["effect"] is not None else 0
    prune = options.allow_prune or 0
    text = approval_text(options.n, found["commit"], version, digest, prune)
    try:
        return sign(text, Path(options.sign_with).expanduser())
    except SigningFailed as error:
        raise CallFailed(error.message) from None


def _wait_for_nix(reconciler: Client, n: int) -> None:
    """Until its systems are evaluated: nothing is approved before that."""
    said = False
    while (build := reconciler.call("proposal", n=n)["build"]) and build["state"] == "running":
        if not said:
            print(f"waiting: Nix evaluates proposal {n}", file=sys.stderr)
        said = True
        time.sleep(0.5)


def _print_changed(data: dict[str, Any]) -> None:
    print("Its effect is another one by now:", file=sys.stderr)
    for text in data["changed"]:
        print(f"  {line(text)}", file=sys.stderr)


def _indent(text: str) -> str:
    return "\n".join(f"    {part}".rstrip() for part in plain(text).splitlines())
