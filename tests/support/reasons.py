"""Every reason that a condition can have, read from the code that gives it."""

import ast
import re
from pathlib import Path

CODE = Path(__file__).parents[2] / "reconciler/hive_reconciler"
REASON = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)*")
# Calls, and at which place they have a reason.
GIVERS = {
    "RuntimeFailure": 0,
    "_bad": 0,
    "Blocked": 2,
    "Condition": 2,
    "_holding": 2,
    "_say": slice(None),
    "say": 0,
    "_begin": slice(None),
}


def reasons():
    """{reason: file}"""
    found = {}
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for value in _values(node, path):
                for constant in ast.walk(value):
                    text = constant.value if isinstance(constant, ast.Constant) else None
                    if isinstance(text, str) and REASON.fullmatch(text):
                        found[text] = path.name
    return found


def _values(node, path):
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        at = GIVERS.get(name)
        yield from (k.value for k in node.keywords if k.arg == "reason")
        if isinstance(at, int):
            yield from node.args[at : at + 1]
        elif at is not None:
            yield from (a for a in node.args if not isinstance(a, ast.Call))
    elif isinstance(node, ast.Return) and path.name in ("files.py", "looking.py", "picture.py"):
        if isinstance(node.value, ast.Tuple):
            yield node.value.elts[0]
    elif isinstance(node, ast.Assign) and path.name in ("health.py", "rollout.py"):
        yield node.value
