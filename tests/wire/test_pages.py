"""Pages of a list: each frame fits, and together they are the list."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_wire.frames import MAX_FRAME, encode, size
from hive_wire.pages import METRICS, STATUS, ask_whole, fitting, page, read_whole


class Swarm:
    """Answers `status` as host.sock does; `moves` says how often it changes under the hands."""

    def __init__(self, rows: list[dict[str, Any]], room: int = 300, moves: int = 0) -> None:
        self._rows = sorted(rows, key=lambda row: str(row["name"]))
        self._room = room
        self._moves = moves
        self.round = 0
        self.calls: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        assert method == "status"
        self.calls.append(params)
        if self._moves and "after" in params:
            self._moves -= 1
            self.round += 1
        behind = (row for row in self._rows if row["name"] > params.get("after", ""))
        return {"applied": "c", "round": self.round, **page(behind, "name", self._room)}

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self.call(method, **params)


def named(count: int) -> list[dict[str, Any]]:
    return [{"name": f"a{n:05d}", "text": "x" * 40} for n in range(count)]


@given(
    st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40),
    st.text(max_size=60),
    st.integers(1, 2000),
)
def test_all_rows_come_each_once(names: list[str], text: str, room: int) -> None:
    rows = [{"name": name, "text": text} for name in sorted(names)]
    swarm = Swarm(rows, room)
    assert read_whole(swarm.call, STATUS) == {"applied": "c", "round": 0, "agents": rows}
    assert asyncio.run(ask_whole(swarm.ask, STATUS))["agents"] == rows


@given(st.lists(st.text(max_size=90), max_size=30), st.integers(1, 400))
def test_no_page_is_larger_than_its_room_but_by_its_only_row(rows: list[str], room: int) -> None:
    found, more = fitting(rows, room)
    assert found == rows[: len(found)]
    assert more == (len(found) < len(rows))
    assert len(found) <= 1 or sum(size(row) + 1 for row in found) <= room


def test_a_page_is_one_frame() -> None:
    rows = [{"name": f"{n}", "text": '"\x01é' * 20_000} for n in range(30)]
    answer = page(rows, "name")
    assert answer["next"] is not None
    assert MAX_FRAME // 4 < len(encode({"id": 1, "result": answer})) < MAX_FRAME


def test_what_changed_meanwhile_is_read_again() -> None:
    swarm = Swarm(named(20), moves=1)
    found = read_whole(swarm.call, STATUS)
    assert (found["round"], found["agents"]) == (1, named(20))
    assert [params for params in swarm.calls if not params] == [{}, {}]


def test_what_never_rests_is_told_as_old_as_its_first_page() -> None:
    swarm = Swarm(named(20), moves=10**6)
    found = read_whole(swarm.call, STATUS)
    assert found["agents"] == named(20)
    assert sum(not params for params in swarm.calls) == 3
    pages = len(swarm.calls) // 3
    assert found["round"] == 2 * (pages - 1)


def test_a_text_comes_in_pages_too() -> None:
    parts = {0: ("a 1\nb 2\n", 2), 2: ("c 3\n", None)}

    def call(method: str, after: int = 0) -> dict[str, Any]:
        assert method == "metrics"
        text, behind = parts[after]
        return {"text": text, "next": behind, "lines": 3}

    assert read_whole(call, METRICS)["text"] == "a 1\nb 2\nc 3\n"
