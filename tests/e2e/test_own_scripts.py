"""The workflow of docs/rehearsal.md, as it stands there, on real containers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.story import ByCommand
from support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(150)]

PAGE = (Path(__file__).parents[2] / "docs/rehearsal.md").read_text()
FILES = re.compile(r"^```toml\n# (rehearsal/\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def test_the_workflow_of_the_page_plays(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "rehearsal").mkdir(parents=True)
    for name, text in FILES.findall(PAGE):
        (root / name).write_text(text)
    async with swarm(root, "--rehearse", "--runtime", "nspawn") as hive:
        operator = ByCommand(hive)
        await hive.ready("hm1nd")
        assert str(root / "rehearsal") in "".join(hive.output)
        await operator.say("hm1nd", "publish: bees are fine")
        await operator.approve((await hive.open_proposal("spawn"))["n"])
        editor = await hive.ready("editor")
        question = await hive.question()
        assert "3 words, and nobody says who counted the bees" in question["text"]
        await operator.choose(question["id"], 2)
        decided = hive.layout.agent(editor["uid"]) / "state" / "decided.txt"

        async def written() -> bool:
            return decided.exists() and "drop" in decided.read_text()

        await hive.until("the editor heard the answer", written)
        assert await hive.stop() == 0
