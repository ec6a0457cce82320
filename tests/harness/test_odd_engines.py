"""What an engine may print that fits nowhere, or that not everybody takes for JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_broker import FakeBroker
from support.harness_process import HarnessProcess
from support.odd_engine import asks, odd_engine, uses

ODD = {
    "endless": "1e999",
    "huge": "1" + "0" * 400,
    "of more digits than Python reads": "1" * 5000,
    "deep": "[" * 150 + "]" * 150,
    "deeper": "[" * 600 + "]" * 600,
    "deepest": "[" * 5000 + "]" * 5000,
}
odd = pytest.mark.parametrize("value", ODD.values(), ids=ODD)


def strange(root: Path, **engine: Any) -> HarnessProcess:
    harness = HarnessProcess(root, engine_path=odd_engine(root / "engine", **engine))
    harness.agent(engine="claude")
    return harness


@pytest.fixture
async def broker(tmp_path: Path) -> FakeBroker:
    return FakeBroker(tmp_path / "run")


async def test_an_engine_that_dies_with_many_words_is_shown_as_failed(
    tmp_path: Path, broker: FakeBroker
) -> None:
    words = "".join(f"    at {'somewhere in ' * 20}({n})\n" for n in range(100))
    async with broker, strange(tmp_path, dies=words):
        state = await broker.state("failed")
        assert "the engine ended with code 1" in state["detail"]


@odd
async def test_a_tool_that_is_used_with_odd_arguments_ends_no_line(
    tmp_path: Path, broker: FakeBroker, value: str
) -> None:
    says = (uses(f'{{"odd": {value}}}'), uses('{"odd": "not"}'))
    async with broker, strange(tmp_path, says=says):
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        await broker.until(lambda: any(r.data.get("input") == {"odd": "not"} for r in broker.rows))
        assert len(broker.hellos) == 1


@odd
async def test_a_hive_tool_that_is_called_with_odd_arguments_is_answered(
    tmp_path: Path, broker: FakeBroker, value: str
) -> None:
    call = {"name": "send", "arguments": {"odd": "ARGUMENTS"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    request = {"subtype": "mcp_message", "server_name": "hive", "message": message}
    async with broker, strange(tmp_path, says=[asks(request, value)]):
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        for _, _, arguments in broker.calls:
            assert _depth(arguments) <= 150, "more than MCP's reader takes"


@odd
async def test_a_permission_for_odd_arguments_is_answered(
    tmp_path: Path, broker: FakeBroker, value: str
) -> None:
    broker.decision = {"decision": "once"}
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"odd": "ARGUMENTS"}}
    async with broker, strange(tmp_path, says=[asks(request, value)]):
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"


def _depth(value: Any) -> int:
    found = 0
    while isinstance(value, dict | list) and value:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        found += 1
    return found
