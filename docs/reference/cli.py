"""Makes cli.md from the parser of the hive command: python docs/reference/cli.py"""

from __future__ import annotations

import argparse
from pathlib import Path

from hive_reconciler.app.cli import parser

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# The hive command

Made from the parser by `docs/reference/cli.py`. Every command takes `--root DIR`, the root of the
swarm that is meant; without it that is `$HIVE_ROOT`, else `/var/lib/hyperhive` for root and
`$XDG_STATE_HOME/hyperhive` (`~/.local/state/hyperhive`) for others.

Exit status: 0 done, 1 failed (stderr says what to do), 64 wrong usage, 130 ended by Ctrl-C; with
`--detailed-exitcode` 2 when there is something to do.

`--json` prints what the sockets answer, so [the protocol](../protocol.md) has the keys; lists are
printed without the object around them, messages one after the other. `hive status --json` also has
`messages: {conditions, open, dead}`, from the broker's `status`.
"""


def page() -> str:
    """The text of cli.md."""
    return "\n".join([HEAD, *(_command(name, each) for name, each in _commands().items())])


def _commands() -> dict[str, argparse.ArgumentParser]:
    found = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(found.choices)


def _command(name: str, command: argparse.ArgumentParser) -> str:
    says = command.description or ""
    lines = [f"## hive {name}", "", f"{says[:1].upper()}{says[1:]}.", ""]
    rows = [_row(a) for a in command._actions if a.dest not in ("help", "root")]  # noqa: SLF001
    if rows:
        lines += ["| argument | meaning |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _row(action: argparse.Action) -> str:
    if action.choices:
        value = " or ".join(map(str, action.choices))
    else:
        value = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        words = f"`{value}`" + (" (may be left away)" if action.nargs == "?" else "")
    elif action.nargs == 0:
        words = f"`{action.option_strings[0]}`"
    else:
        words = f"`{action.option_strings[0]} {value}`" + (" (needed)" if action.required else "")
    return f"| {words} | {action.help or ''} |".replace("N|COMMIT", "N or COMMIT")


if __name__ == "__main__":
    PAGE.write_text(page())
