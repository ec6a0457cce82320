"""Parsed specs outlive the process, and are never a reason to read anything else than git says."""

import json

import pytest

from hive_reconciler.git.specs import FEW, Specs
from hive_wire.spec import AgentSpec

KEY = "0" * 40 + ":x"


def test_a_spec_comes_back_as_it_was(tmp_path):
    specs = Specs(tmp_path / "specs.json")
    spec = AgentSpec(uid="abcdefabcdef", description="reads the news")
    for n in range(FEW):
        specs.put(f"{n}:x", spec)
    specs.save()
    again = Specs(tmp_path / "specs.json")
    assert again.get("0:x") == spec
    assert again.get(KEY) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"model": "another", "specs": {"k": {}}}', '{"model": 1, "specs": 2}'],
)
def test_a_bad_file_is_nothing(tmp_path, content):
    path = tmp_path / "specs.json"
    path.write_text(content)
    assert Specs(path).get("k") is None


def test_an_entry_that_the_model_refuses_is_parsed_anew(tmp_path):
    path = tmp_path / "specs.json"
    specs = Specs(path)
    for n in range(FEW):
        specs.put(f"{n}:x", AgentSpec(uid="abcdefabcdef"))
    specs.save()
    content = json.loads(path.read_text())
    content["specs"]["0:x"]["state"] = "dancing"
    path.write_text(json.dumps(content))
    assert Specs(path).get("0:x") is None
    assert Specs(path).get("1:x") is not None
