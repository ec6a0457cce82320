"""Records what each version of the claude CLI prints: python tests/harness/record_streams.py

Writes tests/harness/streams/VERSION/SCENARIO.jsonl, with the paths of this machine replaced.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support.claude_cli import OLDEST, VERSION, claude_cli  # noqa: E402
from support.claude_harness import Rig, claude_rig  # noqa: E402
from support.fake_messages_api import Call, Step  # noqa: E402

TEE = """#!/bin/bash
[ "$1" != --version ] || exec {cli} --version
exec {cli} "$@" > >(tee -a {out})
"""
ECHO = Call("Bash", {"command": "echo hello; echo oops >&2"})
SEND = Call("mcp__hive__send", {"to": "operator", "body": "hi"})
WRITE = Call("Write", {"file_path": "note.txt", "content": "x"})
SCENARIOS: dict[str, tuple[Step, ...]] = {
    "tools": (
        Step(thinking="hm", text="I look", calls=(ECHO,)),
        Step(calls=(SEND, WRITE), usage={"cache_read_input_tokens": 70, "input_tokens": 30}),
        Step(text="all done", usage={"output_tokens": 40}),
    ),
    "auth": (Step(status=401),) * 9,
    "limit": (Step(status=429, headers={"retry-after": "3600"}),),
    "billing": (Step(status=400, message="Your credit balance is too low."),),
    "too-long": (Step(status=400, message="prompt is too long: 9 tokens > 1 maximum"),) * 9,
    "compacted": (
        Step(text="long", usage={"input_tokens": 150_000}),
        Step(text="notes"),
        Step(text="<summary>short</summary>"),
    ),
    "cancelled": (Step(text="endless", fault="hang", after=3),),
    "known": (Step(text="said before"),),
    "overloaded-within": (Step(text="x", fault="sse_error", after=2), Step(text="after all")),
}


async def record(version: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="hs-") as folder:
        root = Path(folder)
        out, engine = root / "out.jsonl", root / "engine"
        engine.write_text(TEE.format(cli=claude_cli(version), out=out))
        engine.chmod(0o755)
        async with claude_rig(root / "agent", engine, model="claude-haiku-4-5") as rig:
            rig.api.script(*SCENARIOS[name])
            async with rig.harness:
                await _play(rig, name)
            if name == "known":
                rig.harness.lost_the_end_of("1.1")
                rig.broker.lease(1, "x")
                rig.broker.ends.clear()
                async with rig.harness:
                    await rig.broker.ended()
        target = HERE / "streams" / version / f"{name}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(out.read_text().replace(str(root), "/x"))


async def _play(rig: Rig, name: str) -> None:
    rig.broker.post("x")
    if name == "cancelled":
        await rig.api.request(1)
        await rig.broker.call("command", command="cancel")
    await rig.broker.ended(timeout=60)
    if name == "compacted":
        rig.broker.post("y")
        await rig.broker.ended(2, timeout=60)


async def main() -> None:
    for version in (OLDEST, VERSION):
        for name in SCENARIOS:
            await record(version, name)


if __name__ == "__main__":
    asyncio.run(main())
