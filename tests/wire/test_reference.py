"""The reference pages say what the models say."""

import importlib.util
import re
from pathlib import Path

import pytest

from hive_wire.hivetoml import HiveToml, Policy
from hive_wire.spec import AgentSpec

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def made():
    spec = importlib.util.spec_from_file_location("make_reference", REFERENCE / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", ["agent-toml.md", "hive-toml.md"])
def test_the_page_is_what_the_models_give(name):
    there = (REFERENCE / name).read_text()
    assert there == made()[name], "run .venv/bin/python docs/reference/make.py"


def test_no_key_is_left_out():
    agent, hive = ((REFERENCE / name).read_text() for name in ("agent-toml.md", "hive-toml.md"))
    for key in AgentSpec.model_fields:
        assert re.search(rf"^(\| `{key}` \||## `\[{key}\]`)", agent, re.MULTILINE), key
    for key in (*Policy.model_fields, *HiveToml.model_json_schema()["properties"]):
        assert re.search(rf"^(\| `{key}` \||## `\[{key}[].])", hive, re.MULTILINE), key
