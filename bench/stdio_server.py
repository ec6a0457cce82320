"""The least MCP server on stdio, with one tool: what a one-shot CLI has to start each time."""

from __future__ import annotations

import json
import sys

from resident import answer


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            result = {"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
