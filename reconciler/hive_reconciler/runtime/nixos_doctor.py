"""What a host lacks for the nixos runtime, each with its cure."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from .base import Finding, RuntimeFailure
from .nixos_build import eval_identity
from .nixos_host import Done, Places, run

_MODULE = "set services.hive-c0re.enable = true and rebuild the host"
_LONGEST_STOP = 90
_TEMPLATE = "container@.service"


async def findings(places: Places) -> tuple[Finding, ...]:
    return (
        await _template(),
        await _machined(),
        await _nix(),
        await asyncio.to_thread(_evaluator),
        await asyncio.to_thread(_controllers, places.controllers),
    )


async def _template() -> Finding:
    done = await _try("systemctl", "cat", _TEMPLATE)
    if not done.ok:
        return Finding(False, "container unit", f"there is no {_TEMPLATE}", _MODULE)
    limits = re.findall(r"^TimeoutStopSec=(\d+)$", done.out, re.MULTILINE)
    if not limits or int(limits[-1]) >= _LONGEST_STOP:
        return Finding(False, "container unit", "stopping may take 90 s", _MODULE)
    return Finding(True, "container unit", f"{_TEMPLATE} stops within {limits[-1]} s")


async def _machined() -> Finding:
    done = await _try("machinectl", "list", "--output=json")
    cure = "" if done.ok else "start systemd-machined"
    return Finding(done.ok, "systemd-machined", "answers" if done.ok else done.last_words(1), cure)


async def _nix() -> Finding:
    done = await _try("nix", "--version")
    if not done.ok:
        return Finding(False, "nix", "is not on PATH", _MODULE)
    return Finding(True, "nix", done.out.strip())


def _evaluator() -> Finding:
    if eval_identity() is None:
        return Finding(False, "evaluation", "would run as root: no user hive-eval", _MODULE)
    return Finding(True, "evaluation", "runs as hive-eval")


def _controllers(file: Path) -> Finding:
    try:
        there = set(file.read_text().split())
    except OSError:
        there = set()
    missing = sorted({"cpu", "memory", "pids"} - there)
    if missing:
        cure = "boot with cgroup v2 (systemd.unifiedCgroupHierarchy, the default)"
        return Finding(False, "limits", f"no controller for {', '.join(missing)}", cure)
    return Finding(True, "limits", "memory, cpus and tasks are held")


async def _try(*argv: str) -> Done:
    try:
        return await run(*argv, seconds=10)
    except RuntimeFailure as failure:
        return Done(127, "", failure.message)
