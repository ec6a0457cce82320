"""Who is suspended, when several people say so at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hive_reconciler.core.suspensions import Suspension, Suspensions


def test_suspensions_of_one_moment_are_all_kept(tmp_path: Path) -> None:
    suspensions = Suspensions(tmp_path / "suspended.json")
    uids = [f"uid{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        said = [pool.submit(suspensions.set, uid, Suspension("ann", "tea", 1.0)) for uid in uids]
    assert all(one.result() for one in said)
    assert suspensions.found.keys() == set(uids)
    after = Suspensions(tmp_path / "suspended.json")
    after.load()
    assert after.found.keys() == set(uids)
