"""Files and lines of a proposal."""

from __future__ import annotations

import itertools
from typing import Any

from ..html import Child, Element, h, leet
from ..review.paint import PaintedFile, PaintedLine
from ..text import plural


def signs(added: int, removed: int) -> tuple[Child, ...]:
    return (h("span.s-ok.c", f"+{added}"), " ", h("span.s-bad.c", f"−{removed}"))


def review(n: int, files: tuple[PaintedFile, ...], limit: int) -> Element:
    """The list of files and their diffs, at most `limit` lines of all."""
    names = [
        h(
            "label",
            h(
                "input",
                type="checkbox",
                aria_label=f"viewed {f.file.path}",
                data_viewed=f"{n}:{f.mark}",
            ),
            h(
                "a.grow.el",
                "/".join(f.file.path.split("/")[-2:]),
                title=f.file.path,
                href=f"#{_ident(n, i)}",
            ),
            h("span.num.nw", signs(f.file.added, f.file.removed)),
        )
        for i, f in enumerate(files)
    ]
    shown, room = [], limit
    for i, f in enumerate(files):
        shown.append(_file(n, i, f, room))
        room = max(0, room - sum(map(len, f.hunks)))
    return h(
        "div.rev",
        h(
            "div.files",
            h("span.dim.num.viewed", plural(len(files), "file")),
            names,
            role="group",
            aria_label="Files",
            id=f"files-{n}",
        ),
        h("div.diffs", shown),
    )


def _ident(n: int, i: int) -> str:
    return f"file-{n}-{i}"


def _file(n: int, i: int, painted: PaintedFile, room: int) -> Element:
    file = painted.file
    note, left = file.status, sum(map(len, painted.hunks))
    if file.old_mode and file.new_mode and file.old_mode != file.new_mode:
        note += f" · mode {_mode(file.old_mode)} → {_mode(file.new_mode)}"
    lines: list[Child] = []
    for hunk in painted.hunks:
        if room <= 0:
            break
        if (hunk and (hunk[0].new or hunk[0].old or 1) > 1) or len(painted.hunks) > 1:
            lines.append(_hunk_head(hunk))
        lines += _lines(hunk[:room])
        left -= min(room, len(hunk))
        room -= len(hunk)
    return h(
        "details.diff",
        h("summary.fh", h("span.hi.el.grow", file.path), h("span.dim", note)),
        [h("p.warn.s-bad", f"⚠ hidden characters, shown as ⟨…⟩: {', '.join(painted.hidden[:20])}")]
        if painted.hidden
        else None,
        h("p.warn.s-think", "⚠ binary file: look at it with git") if file.binary else None,
        h(
            "p.warn.s-think",
            "⚠ too long to be shown here: ",
            h("a.c", "all files", href=f"/proposals/{n}/whole?part=diff"),
            ", or look at it with git",
        )
        if file.cut
        else None,
        lines,
        h(
            "p.dim.pad",
            f"{plural(left, 'more line')}: ",
            h("a.s-idle.c", "the whole diff", href=f"/proposals/{n}/whole?part=diff"),
        )
        if left
        else None,
        id=_ident(n, i),
        open=True,
    )


def _mode(value: Any) -> str:
    return f"{value:o}" if isinstance(value, int) else str(value)


def _hunk_head(hunk: tuple[PaintedLine, ...]) -> Element:
    first = hunk[0]
    return h(
        "div.dl.h",
        h("span.ln.o"),
        h("span.ln"),
        h("span.sg"),
        h("span.cd", f"@@ −{first.old or 0} +{first.new or 0}"),
    )


def _lines(hunk: tuple[PaintedLine, ...]) -> list[Child]:
    """The lines; those taken out and put in at one place stand in a box, so that they can be
    shown side by side."""
    out: list[Child] = []
    for same, run in itertools.groupby(hunk, key=lambda line: line.kind == " "):
        lines = list(run)
        if same:
            out += [_line(line) for line in lines]
        else:
            sides = [[_line(x) for x in lines if x.kind == kind] for kind in "-+"]
            out.append(h("div.chg", [h("div", side) for side in sides]))
    return out


_SIGN = {"+": ("a", "+", "added"), "-": ("d", "−", "removed")}


def _line(line: PaintedLine) -> Element:
    cls, sign, words = _SIGN.get(line.kind, (None, "", ""))
    return h(
        "div.dl",
        h("span.ln.o", line.old if line.old is not None and line.kind != "+" else None),
        h("span.ln", line.new if line.new is not None and line.kind != "-" else None),
        h("span.sg", leet(sign, words) if sign else None),
        h("span.cd", [_span(s.text, s.kind, s.marked) for s in line.spans]),
        class_=cls,
    )


def _span(text: str, kind: str, marked: bool) -> Child:
    if marked:
        return h("mark", text, class_=kind or None)
    return h("span", text, class_=kind) if kind else text
