"""The options of both modules: each is documented, and the reference page says what they say."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from support.nix_env import Nix
from support.nix_modules import evaluate

REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference"
PAGE = REFERENCE / "nixos-options.md"
Options = list[dict[str, str | None]]


def declared(nix: Nix, source: Path, kind: str, library: Path | None) -> Options:
    done = evaluate(nix, source, kind, {}, library, what="options")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def options(nix: Nix, source: Path, libraries: dict[str, Path | None]) -> dict[str, Options]:
    made = {kind: declared(nix, source, kind, None) for kind in ("host", "agent")}
    for which, library in libraries.items():
        for kind, found in made.items():
            assert found == declared(nix, source, kind, library), which
    return made


def test_each_has_a_type_a_default_an_example_and_a_description(
    options: dict[str, Options],
) -> None:
    for found in options.values():
        assert found
        for option in found:
            assert [key for key, value in option.items() if not value] == [], option["name"]


def test_the_reference_page_says_what_the_modules_say(options: dict[str, Options]) -> None:
    spec = importlib.util.spec_from_file_location("make_nixos", REFERENCE / "nixos.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.page(options["host"], options["agent"])
    if "HIVE_UPDATE_GOLDEN" in os.environ:
        PAGE.write_text(made)
    assert made == PAGE.read_text(), "HIVE_UPDATE_GOLDEN=1 accepts a change"
