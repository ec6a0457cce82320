"""What a proposal's files may be. Every problem is a plain sentence that names the file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hive_wire.names import name_problem

from .tree import EXECUTABLE, FILE, SUBMODULE, SYMLINK, Blob, FileChange, agent_of

MAX_FILE = 128 << 10  # bytes
MAX_DEPTH = 8
_SPLIT = (
    "split it into several commits on branches of their own, or, where all agents are to have one "
    "setting, write it once, in [defaults] of hive.toml"
)
SHARED_FILES = frozenset({"hive.toml", "flake.nix", "flake.lock", "README.md"})


@dataclass(frozen=True)
class Bounds:
    """Of what is written: files, and in them bytes and lines."""

    files: int
    size: int
    lines: int


IN_ONE = Bounds(100, 256 << 10, 5000)  # in one agent's directory, or outside of all of them
IN_ALL = Bounds(2500, 4 << 20, 50_000)  # as when all agents of a large swarm change
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,79}")
_ALLOWED_CONTROL = frozenset("\n\t")
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")


@dataclass(frozen=True)
class Problem:
    path: str
    message: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.message}" if self.path else self.message


def file_problems(changes: Sequence[FileChange], siblings: Iterable[str]) -> list[Problem]:
    """What is wrong with changed files. `siblings` are the paths beside them after the merge."""
    large = _too_large(changes)
    if large:
        return large
    found = [problem for change in changes for problem in _file(change)]
    return found + _case_collisions(changes, siblings)


def _too_large(changes: Sequence[FileChange]) -> list[Problem]:
    """More than a person looks through."""
    written: dict[str | None, list[Blob]] = {}
    for change in changes:
        if change.new is not None:
            written.setdefault(agent_of(change.path), []).append(change.new)
    for agent, blobs in sorted(written.items(), key=lambda item: item[0] or ""):
        if wrong := _beyond(IN_ONE, blobs):
            return [Problem("", f"{wrong} {f'in agents/{agent}/' if agent else 'at once'}")]
    wrong = _beyond(IN_ALL, [blob for blobs in written.values() for blob in blobs])
    return [Problem("", f"{wrong} at once; {_SPLIT}")] if wrong else []


def _beyond(bounds: Bounds, blobs: Sequence[Blob]) -> str | None:
    if len(blobs) > bounds.files:
        return f"writes {len(blobs)} files; {bounds.files} is the most"
    if sum(blob.size for blob in blobs if blob.data) > bounds.size:
        return f"the new files have more than {bounds.size >> 10} KiB together"
    if sum((blob.data or b"").count(b"\n") for blob in blobs) > bounds.lines:
        return f"the new files have more than {bounds.lines} lines together"
    return None


def scope_problems(changes: Sequence[FileChange], agent: str) -> list[Problem]:
    """Paths outside the one agent that a request names."""
    return [
        Problem(
            change.path,
            f"is outside agents/{agent}/, and the request is about {agent} only; take it out, as by "
            "`git restore --staged --worktree --source applied/applied -- PATH`, and commit again",
        )
        for change in changes
        if agent_of(change.path) != agent
    ]


def too_many(limit: int) -> Problem:
    text = f"changes more than {limit} files or directories, or ones that lie too deep"
    return Problem("", f"{text}; {_SPLIT}")


def too_deep(path: str) -> bool:
    """Such a path is refused, and what lies beside it need not be looked at."""
    return path.count("/") >= MAX_DEPTH


def hidden_character(text: str) -> tuple[int, str] | None:
    """(line, name) of the first character that a reader would not see as what it is."""
    line = 1
    for character in text:
        if character == "\n":
            line += 1
        elif character not in _ALLOWED_CONTROL and _is_hidden(character):
            name = unicodedata.name(character, "control character")
            return line, f"U+{ord(character):04X} {name}"
    return None


def printable(text: str) -> str:
    """`text` for one line of a message, with everything odd as an escape."""
    return "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in text[:200])


def _file(change: FileChange) -> list[Problem]:
    found = _path(change.path) if change.new is not None else []
    if change.new is not None and not found:
        wrong = _content(change.new)
        found = [Problem(change.path, wrong)] if wrong else []
    return found


def _path(path: str) -> list[Problem]:
    parts = path.split("/")
    if any(part.lower().startswith(".git") or part.lower() == "git~1" for part in parts):
        return [Problem(path, "names that begin with .git are not allowed: they steer git itself")]
    bad = next((part for part in parts if not _COMPONENT.fullmatch(part)), None)
    if bad is not None:
        return [Problem(path, "has a name with other characters than A-Z a-z 0-9 _ . + -")]
    if too_deep(path):
        return [Problem(path, f"lies more than {MAX_DEPTH} directories deep")]
    if parts[0] == "agents":
        if len(parts) < 3:
            return [Problem(path, "is no directory of an agent")]
        wrong = name_problem(parts[1])
        return [Problem(path, wrong)] if wrong else []
    if parts[0] == "modules" or path in SHARED_FILES:
        return []
    known = ", ".join(sorted(SHARED_FILES))
    return [Problem(path, f"has no place here; there are {known}, modules/ and agents/<name>/")]


def _content(blob: Blob) -> str | None:
    if blob.mode == SYMLINK:
        return "is a symbolic link; links are not allowed"
    if blob.mode == SUBMODULE:
        return "is a submodule; submodules are not allowed"
    if blob.mode not in (FILE, EXECUTABLE):
        return f"has the mode {blob.mode:o}; only plain files are allowed"
    if blob.size > MAX_FILE or blob.data is None:
        return f"has {blob.size} bytes; {MAX_FILE >> 10} KiB is the most"
    try:
        text = blob.data.decode()
    except UnicodeDecodeError as error:
        return f"is no UTF-8 text (line {blob.data.count(10, 0, error.start) + 1}); no binaries"
    hidden = hidden_character(text)
    if hidden is not None:
        return f"line {hidden[0]} has a hidden character, {hidden[1]}; remove it"
    return None


def _is_hidden(character: str) -> bool:
    if character < "\x7f":
        return character < " "
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"):
        return True
    code = ord(character)
    selectors = 0xFE00 <= code <= 0xFE0E or 0xE0100 <= code <= 0xE01EF
    return selectors or character in _FILLERS


def _case_collisions(changes: Sequence[FileChange], siblings: Iterable[str]) -> list[Problem]:
    """Names that one file system keeps apart and another does not."""
    spelled: dict[str, set[str]] = {}
    written = (c.path for c in changes if c.new is not None and not too_deep(c.path))
    for path in (*siblings, *written):
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            spelled.setdefault(prefix.casefold(), set()).add(prefix)
    return [
        Problem(names[0], f"differs from {printable(names[1])} in upper and lower case only")
        for names in (sorted(found) for found in spelled.values())
        if len(names) > 1
    ]
