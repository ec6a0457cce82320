"""What the pages link to is there, and the command pages name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.reasons import reasons

TREE = Path(__file__).parents[2]
PAGES = [TREE / "README.md", TREE / "CHANGELOG.md", *sorted((TREE / "docs").rglob("*.md"))]
COMMANDS = re.compile(r"(?:^|[`\s])\.?/?hive ([a-z][a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
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


def test_every_reason_of_a_condition_has_its_meaning_and_cure() -> None:
    page = (TREE / "docs/reconcile.md").read_text()
    rows = {
        name: [cell.strip() for cell in row.split("|")[2:-1]]
        for row in page.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])
    }
    found = reasons()
    named = {"HistoryRewritten", "UnrecordedCommit", *found}
    assert named - rows.keys() == set(), "not on the page"
    assert rows.keys() - named == set(), "on the page, and nowhere in the code"
    assert all(len(cells) == 2 and all(cells) for cells in rows.values())
