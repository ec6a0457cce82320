"""What the pages link to is there, and the command pages name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
PAGES = [TREE / "README.md", TREE / "CHANGELOG.md", *sorted((TREE / "docs").rglob("*.md"))]
COMMANDS = re.compile(r"(?:^|[`\s])\.?/?hive ([a-z][a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_commands_of_the_readme_exist() -> None:
    named = set(COMMANDS.findall((TREE / "README.md").read_text()))
    listed = subprocess.run(
        [sys.executable, "-m", "hive_reconciler.app.cli", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert {"up", "stop", "reconcile"} <= named
    for name in named - {"command"}:
        assert re.search(rf"^ +{name}\b", listed, re.MULTILINE), f"README names hive {name}"
