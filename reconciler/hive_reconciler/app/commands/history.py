"""hive verify, accept, revert, rollback: the log of applied, and ways back."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from hive_wire.paths import Layout

from ..client import CallFailed
from ..plain import line
from .common import host, print_json, print_submitted


def verify(layout: Layout, options: argparse.Namespace) -> int:
    """Reads the repository itself: it needs no reconciler and believes none."""
    from ...git.errors import ReadFailed
    from ...git.verify import verify as prove

    for path in (layout.hive_git, layout.keys):
        if not path.exists():
            raise CallFailed(
                f"there is no {path}: nothing was started with this root yet; name that of the "
                "swarm with --root"
            )
        if not os.access(path, os.R_OK | os.X_OK):
            raise CallFailed(f"you may not read {path}; use sudo")
    try:
        proof = prove(layout)
    except ReadFailed as error:
        raise CallFailed(error.message) from None
    if options.json:
        print_json({**asdict(proof), "ok": proof.ok})
        return 0 if proof.ok else 1
    for finding in proof.findings:
        mark = "accepted" if finding.kind == "exception" else "WRONG"
        print(f"{finding.commit[:12]}  {mark}: {line(finding.text)}")
    accepted = sum(finding.kind == "exception" for finding in proof.findings)
    wrong = len(proof.findings) - accepted
    signed = f" ({proof.signed} signed by an operator)" if proof.signed else ""
    commits = "1 commit" if proof.commits == 1 else f"{proof.commits} commits"
    print(
        f"{commits} down from {proof.tip[:12]}: {proof.merges} proven{signed}, "
        f"{accepted} accepted by a person, {wrong} wrong"
    )
    return 0 if proof.ok else 1


def accept(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        reconciler.call("accept", oid=options.oid, reason=options.reason)
    print(f"{options.oid[:12]} is taken over")
    return 0


def revert(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        return print_submitted(reconciler.call("revert", what=options.what, reason=options.reason))


def rollback(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        return print_submitted(
            reconciler.call(
                "rollback", agent=options.name, commit=options.commit, reason=options.reason
            )
        )
