"""A claude CLI that is killed before it wrote the last results of tools into its transcript."""

from __future__ import annotations

import shlex
from itertools import takewhile
from pathlib import Path

_SCRIPT = """#!/bin/sh
{cli} "$@"
code=$?
if [ $code = 137 ]; then
  sed -i '/"type":"tool_result"/,$d' "$CLAUDE_CONFIG_DIR"/projects/*/*.jsonl
fi
exit $code
"""


def forgetful_cli(path: Path, cli: Path) -> Path:
    """Writes to `path` a CLI that has lost all from the first result on when it was killed."""
    path.write_text(_SCRIPT.format(cli=shlex.quote(str(cli))))
    path.chmod(0o755)
    return path


def forget_results(config: Path) -> None:
    """Drop the same from transcripts whose engine is gone."""
    for path in config.glob("projects/*/*.jsonl"):
        rows = path.read_bytes().splitlines(keepends=True)
        kept = takewhile(lambda row: b'"type":"tool_result"' not in row, rows)
        path.write_bytes(b"".join(kept))
