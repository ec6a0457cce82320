"""What a file in an agent's directory is for: role text, Nix, or what is read setting by setting."""

from __future__ import annotations

from typing import Literal

from .desired import Entry, Valid
from .tree import FileChange

Use = Literal["role text", "nix", "other"]


def inside(file: FileChange) -> str:
    """Its path in the directory of its agent."""
    return file.path.split("/", 2)[2]


def use(file: FileChange, before: Entry | None, after: Entry | None, version: int) -> Use:
    """What a changed file is for, of an agent that was `before` and will be `after`, by the rules
    of an effect's version. Nix's code reads what it likes of all that lies beside it."""
    name = inside(file)
    if version == 1:  # saw Nix's own files alone
        if name == _role_text(after):
            return "role text"
        return "nix" if name.endswith(".nix") else "other"
    if name == "agent.toml":
        return "other"
    sides = ((file.old, before), (file.new, after))
    is_role = all(name == _role_text(entry) for blob, entry in sides if blob is not None)
    return "role text" if is_role else "nix"


def _role_text(entry: Entry | None) -> str:
    return entry.spec.prompt if isinstance(entry, Valid) else "prompt.md"
