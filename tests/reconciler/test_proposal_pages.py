"""`hive proposals --all` has all there are, however many calls that takes."""

from __future__ import annotations

from typing import Any

import pytest

from hive_reconciler.app.commands import review


class Pages:
    """Answers as host.sock does."""

    def __init__(self, count: int) -> None:
        self._rows = [{"n": n} for n in range(count, 0, -1)]
        self.calls = 0

    def call(self, method: str, *, state: str | None, limit: int, before: int | None) -> Any:
        assert (method, state) == ("proposals", None)
        self.calls += 1
        rows = [row for row in self._rows if before is None or row["n"] < before]
        return {"proposals": rows[:limit]}


@pytest.mark.parametrize(("count", "calls"), [(0, 1), (3, 1), (499, 1), (500, 2), (1203, 3)])
def test_all_pages_are_asked_for(count: int, calls: int) -> None:
    pages = Pages(count)
    found = review._listed(pages, None)  # type: ignore[arg-type]
    assert [row["n"] for row in found] == list(range(count, 0, -1))
    assert pages.calls == calls
