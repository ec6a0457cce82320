"""Diffs with colours: the words that changed, the syntax, what hides. Pure; takes its time,
so it runs in a thread."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType

from ..live.models import FileDiff, Line
from ..text import hidden_in

COLOURED = 1500  # lines of one file; more are shown without colours
LONG_LINE = 500  # characters; longer ones have no colours: lexers take their square
LONG_PAIR = 2000  # characters of two lines of which the words are compared
COMPARED = 2_000_000  # pairs of words of all files that are looked at for what changed in a line
_LEXERS = {
    "toml": "toml",
    "nix": "nix",
    "json": "json",
    "lock": "json",
    "py": "python",
    "sh": "bash",
}
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "cm"),
    (String, "st2"),
    (Number, "nm"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Tag, "at"),
    (Name, "at"),
)


@dataclass(frozen=True)
class Span:
    text: str
    kind: str = ""  # class of the syntax
    marked: bool = False  # changed within the line


@dataclass(frozen=True)
class PaintedLine:
    kind: str  # " ", "+" or "-"
    old: int | None
    new: int | None
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class PaintedFile:
    """`hidden` names characters that hide; `mark` is another for other content, so that what was
    viewed is what is shown."""

    file: FileDiff
    mark: str
    hunks: tuple[tuple[PaintedLine, ...], ...]
    hidden: tuple[str, ...]


class Room:
    """How many pairs of words may still be compared: whoever wrote the lines must not keep us
    for minutes."""

    def __init__(self, pairs: int) -> None:
        self._left = pairs

    def takes(self, old: list[str], new: list[str]) -> bool:
        self._left -= len(old) * len(new)
        return self._left >= 0


def paint(files: Iterable[FileDiff]) -> tuple[PaintedFile, ...]:
    """All their lines and all of each line."""
    compared = Room(COMPARED)
    return tuple(_file(file, compared) for file in files)


def _file(file: FileDiff, compared: Room) -> PaintedFile:
    hunks, room, lexer = [], COLOURED, _lexer(file.path)
    for hunk in file.hunks:
        first, rest = hunk[:room], hunk[room:]
        hunks.append(_hunk(first, lexer, compared) + _hunk(rest, None, compared))
        room = max(0, room - len(hunk))
    hidden = dict.fromkeys(
        name for hunk in file.hunks for line in hunk for name in hidden_in(line.text.rstrip("\r\n"))
    )
    mark = blake2b(file.model_dump_json().encode(errors="replace"), digest_size=9).hexdigest()
    return PaintedFile(file, mark, tuple(hunks), tuple(hidden))


def _lexer(path: str) -> Lexer | None:
    """Loaded with the first diff that needs it: lexers cost memory."""
    name = _LEXERS.get(path.rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower())
    return get_lexer_by_name(name, stripnl=False, ensurenl=True) if name else None


def _hunk(hunk: tuple[Line, ...], lexer: Lexer | None, compared: Room) -> tuple[PaintedLine, ...]:
    texts = [line.text.rstrip("\n") for line in hunk]
    syntax: dict[int, tuple[Span, ...]] = {}
    for side in ("-", "+"):
        mine = [i for i, line in enumerate(hunk) if line.kind in (side, " ")]
        syntax.update(zip(mine, _colour([texts[i] for i in mine], lexer), strict=True))
    marks = _marks(hunk, texts, compared)
    return tuple(
        PaintedLine(line.kind, line.old, line.new, tuple(_mark(syntax[i], marks.get(i, ()))))
        for i, line in enumerate(hunk)
    )


def _colour(lines: list[str], lexer: Lexer | None) -> list[tuple[Span, ...]]:
    """Syntax of one side of a hunk, line by line."""
    if lexer is None or any(len(line) > LONG_LINE for line in lines):
        return [(Span(line),) for line in lines]
    out: list[list[Span]] = [[]]
    # Every character that pygments or we might take for a line end but "\n" is kept in its line.
    text = "\n".join(line.replace("\r", "\ue00d") for line in lines)
    for kind, value in lexer.get_tokens(text):
        name = next((cls for base, cls in _CLASSES if _within(kind, base)), "")
        for n, part in enumerate(value.replace("\ue00d", "\r").split("\n")):
            if n:
                out.append([])
            if part:
                out[-1].append(Span(part, name))
    painted = [tuple(spans) for spans in out[: len(lines)]]
    exact = len(painted) == len(lines) and all(
        "".join(s.text for s in spans) == line for spans, line in zip(painted, lines, strict=True)
    )
    # What a person approves is the text, never the highlighter's idea of it.
    return painted if exact else [(Span(line),) for line in lines]


def _within(kind: _TokenType, base: _TokenType) -> bool:
    return kind[: len(base)] == base  # token types are tuples of their path


def _marks(
    hunk: tuple[Line, ...], texts: list[str], compared: Room
) -> dict[int, list[tuple[int, int]]]:
    """For paired removed and added lines, the ranges of characters that differ."""
    marks: dict[int, list[tuple[int, int]]] = {}
    for gone, came in _pairs(hunk):
        a, b = texts[gone], texts[came]
        if len(a) + len(b) > LONG_PAIR:
            continue
        old, new = _WORD.findall(a), _WORD.findall(b)
        if not compared.takes(old, new):
            break
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        if matcher.ratio() < 0.4:
            continue
        for op, i1, i2, j1, j2 in matcher.get_opcodes():
            if op != "equal":
                marks.setdefault(gone, []).append(_range(old, i1, i2))
                marks.setdefault(came, []).append(_range(new, j1, j2))
    return marks


def _pairs(hunk: tuple[Line, ...]) -> Iterator[tuple[int, int]]:
    """A run of removed lines followed by a run of added ones, line by line."""
    i = 0
    while i < len(hunk):
        gone = i
        while i < len(hunk) and hunk[i].kind == "-":
            i += 1
        came = i
        while i < len(hunk) and hunk[i].kind == "+":
            i += 1
        yield from zip(range(gone, came), range(came, i), strict=False)
        i = max(i, came + (i == gone))


def _range(words: list[str], first: int, last: int) -> tuple[int, int]:
    start = sum(map(len, words[:first]))
    return start, start + sum(map(len, words[first:last]))


def _mark(spans: Iterable[Span], ranges: Iterable[tuple[int, int]]) -> Iterator[Span]:
    """The spans, cut where marked ranges begin and end."""
    ranges = [r for r in ranges if r[0] < r[1]]
    at = 0
    for span in spans:
        cuts = {0, len(span.text)}
        for start, end in ranges:
            cuts |= {c - at for c in (start, end) if 0 < c - at < len(span.text)}
        edges = sorted(cuts)
        for left, right in itertools.pairwise(edges):
            marked = any(s <= at + left and at + right <= e for s, e in ranges)
            yield Span(span.text[left:right], span.kind, marked)
        at += len(span.text)
