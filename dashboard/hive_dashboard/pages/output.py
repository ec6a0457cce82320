"""What tools gave, and edits, in a row of the log."""

from __future__ import annotations

import difflib

from ..html import Child, Element, h
from ..text import clip, last_colour, plural, quoted, runs

TEXT = 8192  # characters of one row
COLOURS = 200  # parts of one colour in a row
FOLD = 4  # lines of output shown before a fold


def edit(old: str, new: str) -> Element:
    """An edit as a small diff."""
    a, b = (_lines(side) for side in (old, new))
    lines: list[tuple[str | None, str, str]] = []
    for op, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if op == "equal":
            lines += [(None, "", line) for line in a[i1:i2]]
        else:
            lines += [("d", "−", line) for line in a[i1:i2]]
            lines += [("a", "+", line) for line in b[j1:j2]]
    return h(
        "div.diff.mini",
        [
            h("div.dl", h("span.sg", sign), h("span.cd", line), class_=cls)
            for cls, sign, line in lines
        ],
    )


def _lines(side: str) -> list[str]:
    return quoted(clip(side, 4000).replace("\r\n", "\n")).splitlines()[:60]


def duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def output(text: str, took: str = "", shown: int = FOLD) -> Element:
    """`shown` lines, and the rest in a fold; of a few lines more all are shown."""
    lines = clip(text.rstrip("\n"), TEXT).split("\n")
    if shown and len(lines) <= shown + 2:
        return h("div.out", coloured_parts("\n".join(lines)), h("span.mut", took))
    first = "\n".join(lines[:shown])
    words = plural(len(lines) - shown, "more line" if shown else "line")
    return h(
        "div",
        h("div.out", coloured_parts(first)) if shown else None,
        h(
            "details.fold",
            h("summary.more", f"▸ {words}", h("span.mut", took)),
            h("div.out", coloured_parts(last_colour(first) + "\n".join(lines[shown:]))),
        ),
    )


def coloured_parts(text: str, most: int = COLOURS) -> list[Child]:
    """What `coloured` gave, as elements; behind the `most` first parts it is plain."""
    parts = list(runs(text))
    shown: list[Child] = [
        h("span", part, class_=cls) if cls else part for cls, part in parts[:most]
    ]
    return [*shown, "".join(part for _, part in parts[most:])]


def fold(title: str, text: str) -> Element:
    return h(
        "details.fold", h("summary.more", f"▸ {title}"), h("div.out", clip(quoted(text), TEXT))
    )
