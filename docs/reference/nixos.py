"""Makes nixos-options.md of what the modules declare, as tests/nix/stub/eval.nix prints it.

HIVE_UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/nix/test_options.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Option = Mapping[str, str]  # name, type, default, example, description

_PAGE = """# NixOS options

What the two modules of the flake take. [On NixOS](../nixos.md) says how they are used.

## On the host: `nixosModules.hive-c0re`

{host}
## In a container: `nixosModules.agent`

`lib.mkSwarm` sets `enable`, `name`, `role` and `engine` from the agent's files; `agent.nix` may set the others.

{agent}
This page is made from `modules/` by `docs/reference/nixos.py`.
"""
_HEAD = "| option | type | default | example | meaning |\n|---|---|---|---|---|\n"


def page(host: Sequence[Option], agent: Sequence[Option]) -> str:
    return _PAGE.format(host=_table(host), agent=_table(agent))


def _table(options: Sequence[Option]) -> str:
    return _HEAD + "".join(f"{_row(option)}\n" for option in options)


def _row(option: Option) -> str:
    cells = (
        f"`{option['name']}`",
        f"`{option['type']}`",
        f"`{_nix(option['default'])}`",
        f"`{_nix(option['example'])}`",
        " ".join(option["description"].split()),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _nix(text: str) -> str:
    """JSON of what our defaults are made of, as Nix writes it."""
    if text.startswith("[") and text != "[]":
        return f"[ {text[1:-1].replace(',', ' ')} ]"
    return "[ ]" if text == "[]" else text
