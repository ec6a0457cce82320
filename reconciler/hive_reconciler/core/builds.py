"""Has Nix evaluate what open proposals would make of systems, beside the loop and one at a time.

What it found is kept by what the systems are made of, on disk too, and may be lost. A proposal
that does not evaluate while what is applied does is rejected; what this host cannot evaluate is
"not built here", for a person to judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ..git.candidates import Candidate
from ..git.errors import Busy, Conflict, HiveError
from ..git.hive import Hive
from ..git.intake import Submitted
from ..model.build import BuildReport, System, compare
from ..runtime.nix_eval import Evaluator, Fault, Source, Unevaluated
from .files import write_atomically

log = logging.getLogger(__name__)

BUILDS = "builds.json"  # in the reconciler's directory
KEPT = 200  # reports
RESYNC = 60.0  # seconds
RETRY = 300.0  # after this host could not
RUNNING = BuildReport("running")
_REPORTS: TypeAdapter[dict[str, BuildReport]] = TypeAdapter(dict[str, BuildReport])


@dataclass(frozen=True)
class _Job:
    candidate: Candidate
    key: str
    task: asyncio.Task[BuildReport]


class Builds:
    """`nix` is what evaluates, or why nothing does. `on_change` is called with every report."""

    def __init__(
        self, hive: Hive, nix: Evaluator | str, file: Path, on_change: Callable[[], None]
    ) -> None:
        self._hive = hive
        self._nix = nix
        self._file = file
        self._on_change = on_change
        self._hint = asyncio.Event()
        self._reports: dict[str, BuildReport] = {}
        self._not_here: dict[str, tuple[float, BuildReport]] = {}  # and until when
        self._job: _Job | None = None

    def look(self) -> None:
        """Proposals may have changed."""
        self._hint.set()

    async def of(self, n: int) -> BuildReport | None:
        """How it stands with a proposal; None when it is not open or touches no Nix."""
        found = await self._hive.candidate(n)
        if found is None:
            return None
        report = self._known(found)
        if report is None:
            self.look()
        return report or RUNNING

    async def must_be_over(self, n: int) -> None:
        """Raises Busy while `n` is evaluated."""
        if await self.of(n) is RUNNING:
            raise Busy(f"Nix still evaluates proposal {n}; `hive show {n}` says when it is done")

    async def noted(self, submitted: Submitted) -> str:
        """What to tell who asked, with what is known of its Nix files."""
        report = await self.of(submitted.n) if submitted.state == "open" else None
        if report is None or report.state == "ok":
            return submitted.message
        if report.state == "not-built":
            return f"{submitted.message}. Its Nix files are not built here: {report.reason}"
        return f"{submitted.message}, once its Nix files are evaluated"

    async def run(self) -> None:
        """Until cancelled."""
        if isinstance(self._nix, str):
            return
        self._reports = await asyncio.to_thread(_load, self._file)
        try:
            while True:
                self._hint.clear()
                try:
                    await self._choose()
                except HiveError as error:
                    log.warning("proposals cannot be evaluated: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RESYNC):
                        await self._hint.wait()
        finally:
            await self._stop()

    # -- inside --------------------------------------------------------------------

    def _known(self, found: Candidate) -> BuildReport | None:
        if isinstance(self._nix, str):
            return BuildReport("not-built", self._nix)
        key = _key(self._nix, found)
        until, report = self._not_here.get(key, (0.0, RUNNING))
        return report if time.monotonic() < until else self._reports.get(key)

    async def _choose(self) -> None:
        """Go on with what is still wanted, else begin with the next; people's come first."""
        assert isinstance(self._nix, Evaluator)
        if self._job is not None and self._job.task.done():
            over, self._job = self._job, None
            await self._record(over, over.task.result())
        opened = await self._hive.proposals("open", 500)
        wanted = [found for p in opened if (found := await self._hive.candidate(p.n)) is not None]
        due = {_key(self._nix, found): found for found in wanted if self._known(found) is None}
        first = min(due, key=lambda key: (not due[key].by_person, due[key].n), default=None)
        job = self._job
        if job is not None and (
            job.key not in due  # withdrawn, superseded, decided, or applied moved under it
            or (first is not None and due[first].by_person and not job.candidate.by_person)
        ):
            await self._stop()
        if self._job is None and first is not None:
            task = asyncio.create_task(_report(self._nix, due[first]), name=f"nix {due[first].n}")
            task.add_done_callback(lambda _: self.look())
            self._job = _Job(due[first], first, task)

    async def _stop(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.task.cancel()
            await asyncio.wait([job.task])

    async def _record(self, job: _Job, report: BuildReport) -> None:
        """A failure is not kept: it ends the proposal, and may have been of the moment."""
        if report.state == "failed":
            with contextlib.suppress(Conflict):  # it ended meanwhile
                await self._hive.reject(job.candidate.n, report.reason)
        elif report.state == "not-built":
            now = time.monotonic()
            self._not_here = {k: v for k, v in self._not_here.items() if v[0] > now}
            self._not_here[job.key] = (now + RETRY, report)
        else:
            self._reports[job.key] = report
            while len(self._reports) > KEPT:
                self._reports.pop(next(iter(self._reports)))
            await asyncio.to_thread(_save, self._file, dict(self._reports))
        self._on_change()


async def _report(nix: Evaluator, found: Candidate) -> BuildReport:
    try:
        return await _evaluated(nix, found)
    except Unevaluated as error:
        if error.fault is Fault.AUTHOR:
            return await _judged(nix, found, error.message)
        cure = "; nix flake archive on this host fetches inputs of a flake.lock"
        return BuildReport(
            "not-built", error.message + (cure if error.fault is Fault.MISSING else "")
        )
    except Exception as error:
        log.exception("evaluating proposal %d failed", found.n)
        return BuildReport("not-built", f"{type(error).__name__}: {error}")


async def _evaluated(nix: Evaluator, found: Candidate) -> BuildReport:
    """Raises Unevaluated."""
    merged = Source(found.base, found.changes)
    try:
        after = await nix.systems(merged, found.systems)
    except Unevaluated as error:
        if error.fault is not Fault.MISSING or found.new_inputs:
            raise
        # What is applied needs the same inputs, and its code was approved: it may fetch them.
        await nix.systems(Source(found.base), (found.control,), network=True)
        after = await nix.systems(merged, found.systems)
    before: Mapping[str, System] = {}
    with contextlib.suppress(Unevaluated):  # then there is nothing to compare with
        known = sorted(found.present.intersection(found.systems))
        before = await nix.systems(Source(found.base), known, network=True)
    systems = tuple(compare(name, before.get(name), after[name]) for name in found.systems)
    return BuildReport("ok", "", systems, found.left_out)


async def _judged(nix: Evaluator, found: Candidate, message: str) -> BuildReport:
    """Whose fault it is that it does not evaluate: what is applied tells."""
    try:
        await nix.systems(Source(found.base), (found.control,), network=True)
    except Unevaluated as error:
        why = f"what is applied does not evaluate either: {error.message}"
        return BuildReport("not-built", why)
    return BuildReport("failed", f"does not evaluate: {message}")


def _key(nix: Evaluator, found: Candidate) -> str:
    """Another hyperhive makes other systems."""
    return hashlib.sha256(f"{nix.flake} {found.key}".encode()).hexdigest()


def _load(file: Path) -> dict[str, BuildReport]:
    try:
        return _REPORTS.validate_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        log.warning("%s cannot be used (%s): everything is evaluated anew", file, error)
        return {}


def _save(file: Path, reports: dict[str, BuildReport]) -> None:
    try:
        write_atomically(file, json.dumps(_REPORTS.dump_python(reports, mode="json")).encode())
    except OSError as error:
        log.warning("%s cannot be written: %s", file, error)
