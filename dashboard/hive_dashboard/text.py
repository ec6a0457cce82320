"""Text that others wrote, made safe to look at.

Escaping for HTML is the builder's work (html.py); this module is about characters
that hide, reorder or imitate: controls, terminal escapes, bidi, zero width.
"""

from __future__ import annotations

import re

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
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS
    r"|\x1b[ -/]*[0-~]"
)
_BACK = re.compile("[^\b\n]\b")


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
    for _ in range(200):
        if "\b" not in text:
            break
        text, found = _BACK.subn("", text)
        if not found:
            break
    return reveal(text)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line, for a list."""
    return clip(" ".join(text[: limit * 4].split()), limit)


def _name(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"
