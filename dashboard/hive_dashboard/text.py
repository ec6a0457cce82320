"""Text that others wrote, made safe to look at.

Escaping for HTML is the builder's work (html.py); this module is about characters
that hide, reorder or imitate: controls, terminal escapes, bidi, zero width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Characters that a reader cannot see, or that move what the reader sees.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and newline
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff"
)
_SUSPECT = re.compile(f"[{_HIDDEN}]")
_MARKS = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    # OSC, DCS: what is not ended is dropped, too, or each of many begins would look for its end
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
# A colour is kept as one private character, until `runs` turns it into a class.
_FIRST = 0xF100
_STATES = 18  # 8 colours and none, each plain or bold
_COLOUR = re.compile(f"[{chr(_FIRST)}-{chr(_FIRST + _STATES - 1)}]")
_SGR = re.compile(r"(?:\x1b\[|\x9b)([0-9;:]*)m")


def reveal(text: str) -> str:
    """`text` with each hidden character shown as ⟨U+202E⟩. Idempotent."""
    if text.isascii() and text.isprintable():
        return text
    text = _MARKS.sub(r"\1⟨…⟩", text)
    return _SUSPECT.sub(_name, text)


def hidden_in(text: str) -> list[str]:
    """The hidden characters in `text`, as U+202E, each once, in order."""
    return list(dict.fromkeys(f"U+{ord(c):04X}" for c in _SUSPECT.findall(text)))


def terminal(text: str) -> str:
    """What a terminal would have left on the screen of `text`: escapes gone,
    carriage returns and backspaces resolved; the rest revealed."""
    if "\x1b" in text or not text.isascii():
        text = _ESCAPES.sub("", text)
    if "\r" in text:
        lines = text.replace("\r\n", "\n").split("\n")
        text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
    return reveal(_rubbed_out(text) if "\b" in text else text)


def _rubbed_out(text: str) -> str:
    """Without the characters that a backspace took away; one that took none stays."""
    kept: list[str] = []
    for char in text:
        if char == "\b" and kept and kept[-1] not in "\b\n":
            kept.pop()
        else:
            kept.append(char)
    return "".join(kept)


def quoted(text: str) -> str:
    """All of a text that no terminal wrote, as a command or a file: nothing in it is obeyed."""
    return reveal(_COLOUR.sub(_name, text))


def coloured(text: str) -> str:
    """As `terminal`, with the colours kept for `runs`. Lines of it may be taken apart."""
    text = _COLOUR.sub(_name, text)
    if "\x1b" not in text and "\x9b" not in text:
        return terminal(text)
    state = 0

    def note(match: re.Match[str]) -> str:
        nonlocal state
        state = _sgr(state, match[1])
        return chr(_FIRST + state)

    return terminal(_SGR.sub(note, text))


def runs(text: str) -> Iterator[tuple[str, str]]:
    """(class, text) of each part of what `coloured` gave; the class is "" for no colour."""
    at, state = 0, 0
    for match in _COLOUR.finditer(text):
        if match.start() > at:
            yield _class(state), text[at : match.start()]
        at, state = match.end(), ord(match[0]) - _FIRST
    if at < len(text):
        yield _class(state), text[at:]


def last_colour(text: str) -> str:
    """What to put before the text that follows `text`, so that it keeps its colour."""
    found = _COLOUR.findall(text)
    return found[-1] if found else ""


def _sgr(state: int, codes: str) -> int:
    """`state` is twice the colour (0 none, 1 to 8), plus one when bold."""
    colour, bold = divmod(state, 2)
    numbers = [
        int(code) if code.isdigit() and len(code) < 5 else 0 for code in re.split("[;:]", codes)
    ]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            colour, bold = 0, 0
        elif code in (1, 22):
            bold = int(code == 1)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = code % 10 + 1
        elif code == 39:
            colour = 0
        elif code in (38, 48):  # of a palette or of all colours: only the first sixteen are ours
            kind = numbers.pop(0) if numbers else 0
            given, numbers = numbers[: 1 if kind == 5 else 3], numbers[1 if kind == 5 else 3 :]
            if code == 38 and kind == 5 and given and given[0] < 16:
                colour = given[0] % 8 + 1
    return colour * 2 + bold


def _class(state: int) -> str:
    colour, bold = divmod(state, 2)
    return " ".join(filter(None, [f"a{colour - 1}" if colour else "", "ab" if bold else ""]))


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line, for a list."""
    return clip(" ".join(text[: limit * 4].split()), limit)


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _name(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"
