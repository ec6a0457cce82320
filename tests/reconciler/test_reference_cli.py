"""docs/reference/cli.md says what the parser takes."""

import importlib.util
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_page_is_what_the_parser_gives():
    spec = importlib.util.spec_from_file_location("make_cli", REFERENCE / "cli.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (REFERENCE / "cli.md").read_text() == module.page(), (
        "run .venv/bin/python docs/reference/cli.py"
    )
