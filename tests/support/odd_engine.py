"""An engine in the claude CLI's place that says what it was told to, whatever that is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SCRIPT = """#!{python}
import json, sys
if "--version" in sys.argv:
    print("2.1.330 (Claude Code)")
    sys.exit()
sys.stderr.write({dies!r})
if {dies!r}:
    sys.exit(1)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["type"] == "control_request":
        answer = {{"subtype": "success", "request_id": asked["request_id"], "response": {{}}}}
        print(json.dumps({{"type": "control_response", "response": answer}}), flush=True)
    elif asked["type"] == "user":
        for said in {says!r}:
            print(said, flush=True)
            if said.startswith({asks!r}):
                sys.stdin.readline()
        print({result!r}, flush=True)
"""
_ASKS = '{"type": "control_request"'
_RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "done"}


def odd_engine(path: Path, says: Sequence[str] = (), dies: str = "") -> Path:
    """In each turn it prints the lines `says`, waiting for the answer of each that asks, and
    ends it well; or it prints `dies` to stderr and ends at once."""
    script = _SCRIPT.format(
        python=sys.executable, says=list(says), dies=dies, asks=_ASKS, result=json.dumps(_RESULT)
    )
    path.write_text(script)
    path.chmod(0o755)
    return path


def uses(arguments: str) -> str:
    """A tool is used with these arguments, JSON or not."""
    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": "ARGUMENTS"}
    return _with(arguments, {"type": "assistant", "message": {"content": [use]}})


def asks(request: dict[str, Any], arguments: str) -> str:
    """A control request; in it `"ARGUMENTS"` stands for the arguments."""
    return _with(arguments, {"type": "control_request", "request_id": "r1", "request": request})


def _with(arguments: str, event: dict[str, Any]) -> str:
    return json.dumps(event).replace('"ARGUMENTS"', arguments)
