"""Text from agents on a terminal: what could act on the terminal or deceive is made visible."""

from __future__ import annotations

import re
import unicodedata

# C0 and C1 controls but newline and tab, DEL, bidi controls, zero width, tags, separators.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-"
    "\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


def plain(text: object) -> str:
    """`text` with every hidden or terminal-controlling character written as ⟨U+XXXX⟩."""
    return _HIDDEN.sub(_show, str(text))


def line(text: object, width: int = 0) -> str:
    """The same on one line, cut to `width` columns when that is over 0."""
    flat = " ".join(plain(text).split())
    if not width:
        return flat
    room = width
    for place, character in enumerate(flat):  # no further than is shown: it may be long
        room -= columns(character)
        if room < 0:
            return f"{_fitting(flat[:place], width - 1)}…"
    return flat


def _fitting(text: str, width: int) -> str:
    while columns(text) > width:
        text = text[:-1]
    return text


def columns(text: str) -> int:
    """How wide a terminal shows it."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _show(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"
