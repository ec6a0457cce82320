"""Makes the pictures of README and docs: plays the story's first half and photographs the page.

./check --co -q >/dev/null; .venv/bin/python docs/img/make.py
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from support.operators import ByPage, browsing  # noqa: E402
from support.swarm import swarm  # noqa: E402
from textual.widgets import Static  # noqa: E402

from hive_reconciler.app.commands.top import login_link  # noqa: E402
from hive_reconciler.app.screen import Top  # noqa: E402
from hive_reconciler.app.watching import Feed  # noqa: E402
from hive_wire.paths import Layout  # noqa: E402


async def terminal(layout: Layout) -> None:
    """hive top of the same swarm."""
    app = Top(lambda show: Feed(lambda: login_link(layout), show))
    async with app.run_test(size=(130, 30)) as pilot, asyncio.timeout(60):
        while "L1VE" not in str(app.query_one("#bar", Static).content) or not app.picture.messages:
            await pilot.pause(0.1)
        drawn = app.export_screenshot(title="hive top")
    fonts = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # they would come from elsewhere
    (HERE / "top.svg").write_text(fonts.sub("", drawn))


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hive-picture-") as folder:
        async with (
            swarm(Path(folder) / "root", "--rehearse") as hive,
            browsing(hive.link, width=1280, height=1100) as page,
        ):
            operator = ByPage(page)
            await hive.ready("hm1nd")
            for name in ("scout", "writer"):
                await operator.say("hm1nd", f"we need a {name}")
                await operator.approve((await hive.open_proposal("spawn"))["n"])
                await hive.ready(name)
                if name == "scout":
                    first = await hive.open_proposal("apply")
                    await operator.deny(first["n"], "too much memory for a scout")
                    await operator.approve((await hive.open_proposal("apply"))["n"])
                    await hive.question()
            last = await hive.open_proposal("apply")
            await page.locator(f'form[action="/proposals/{last["n"]}/approve"]').wait_for()
            await page.emulate_media(reduced_motion="reduce")  # nothing blinks away
            await page.evaluate("scrollTo(0, 0)")
            await page.locator("#notices > *").wait_for(state="detached")
            await page.screenshot(path=HERE / "swarm.png")
            await page.set_viewport_size({"width": 390, "height": 844})
            await page.screenshot(path=HERE / "phone.png")
            await page.set_viewport_size({"width": 1280, "height": 1100})
            await page.emulate_media(color_scheme="light")
            await page.screenshot(path=HERE / "light.png")
            await page.emulate_media(color_scheme="dark")
            await page.goto(page.url + "a/hm1nd/")
            await page.get_by_text("stopped").or_(page.get_by_text("turn")).first.wait_for()
            await page.locator("#live", has_text="L1VE").wait_for()
            await page.screenshot(path=HERE / "agent.png")
            await terminal(hive.layout)
            await hive.stop()


if __name__ == "__main__":
    asyncio.run(main())
