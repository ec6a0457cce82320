"""What the pages link to is there; the commands and files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.reasons import reasons

TREE = Path(__file__).parents[2]
PAGES = [TREE / "README.md", TREE / "CHANGELOG.md", *sorted((TREE / "docs").rglob("*.md"))]
COMMANDS = re.compile(r"(?:^|[`$(]|sudo )(?:\./)?hive ([a-z][a-z-]+)", re.MULTILINE)
FILES = re.compile(r"(?:^|[`\s])((?:bench|tests)/[\w/-]+\.py)")
KNOWN = set(
    re.findall(r"^## hive (\S+)", (TREE / "docs/reference/cli.md").read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_headings_that_are_linked_stand_on_their_page(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        there = [
            re.sub(r"[^\w -]", "", h.lower()) for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        ]
        assert heading in [h.replace(" ", "-") for h in there], f"{page.name}: {target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TREE)))
def test_commands_and_files_that_are_named_exist(page: Path) -> None:
    code = re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.DOTALL)
    for name in {name for each in code for name in COMMANDS.findall(each)}:
        assert name in KNOWN, f"{page.name} names hive {name}"
    for name in {name for each in code for name in FILES.findall(each)}:
        assert (TREE / name).exists(), f"{page.name} names {name}"


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
