"""What can be said of .nix files without a formatter: nixfmt itself runs in the flake's checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.nix_env import Nix

REPOSITORY = Path(__file__).resolve().parents[2]
SKIPPED = {".git", ".venv", "node_modules"}
FILES = sorted(
    str(file.relative_to(REPOSITORY))
    for file in REPOSITORY.rglob("*.nix")
    if not SKIPPED & set(file.relative_to(REPOSITORY).parts)
)


def test_every_file_parses(nix: Nix, source: Path) -> None:
    done = nix.run(
        "nix-instantiate",
        "--parse",
        *(f"/src/{name}" for name in FILES),
        binds={source: "/src"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FILES)
def test_style(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert text.endswith("\n") and not text.endswith("\n\n"), "one newline at the end"
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{name}:{number}"
        assert "\t" not in line, f"{where}: a tab"
        assert line == line.rstrip(), f"{where}: blanks at the end"
        indent = len(line) - len(line.lstrip(" "))
        assert indent % 2 == 0, f"{where}: indented by {indent}"
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line)  # nothing breaks a string
        assert len(code.strip()) <= 100, f"{where}: {len(line)} columns"  # as nixfmt counts
