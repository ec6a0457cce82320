"""One row of an agent's log for each event. What an agent says never chooses the glyph."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from hive_wire.names import OPERATOR
from hive_wire.protocol import Event

from ..html import Child, Element, h
from ..live.tools import Tools
from ..text import clip, coloured, one_line, plural, quoted, terminal
from .common import clock, count_text, span_text
from .output import FOLD, TEXT, coloured_parts, duration, edit, fold, output
from .prose import prose

_QUIET = ("Read", "Glob", "Grep", "LS")  # what these give is looked at seldom: all of it is folded
_SAID = {"description", "timeout"}  # of a command: no fold is worth it
_NO_TOOLS = Tools()
Data = dict[str, Any]


def row(event: Event, *, rich: bool = True, tools: Tools = _NO_TOOLS) -> Element:
    """The row of `event`. Kinds that are not known show as folded JSON. `rich` reads text as
    Markdown; `tools` knows what the events before it began."""
    draw = _KINDS.get(event.kind, _unknown)
    try:
        if event.kind == "tool_result":
            cls, filter_, glyph, body = _tool_result(event, tools)
        else:
            cls, filter_, glyph, body = (_prose if rich and draw is _text else draw)(event.data)
        if event.kind == "turn.ended" and (used := tools.of(event)):
            body = [body, f" · {plural(used, 'tool')}"]
    except (KeyError, TypeError, ValueError, AttributeError):
        cls, filter_, glyph, body = _unknown(event.data)
    if cls == "turn":
        return h(
            "div.turn.num",
            h("span", body, " · ", clock(event.at)),
            data_id=event.id,
            data_k=filter_,
        )
    label = event.kind if cls.startswith(("s-off", "unk")) else None
    if len(str(event.data.get("text", ""))) > TEXT:
        body = [body, h("a.more", "▸ show all of it", href=f"/a/{event.name}/row/{event.id}")]
    return h(
        f"div.e.{cls.replace(' ', '.')}",
        h("a.tm", clock(event.at), href=f"/a/{event.name}/?at={event.id}#e{event.id}"),
        _glyph(glyph),
        h("div", h("span.mut", f"{label} ") if label else None, body),
        id=f"e{event.id}",
        data_id=event.id,
        data_k=filter_,
    )


@cache
def _glyph(glyph: str) -> Element:
    return h("span.g", glyph, aria_hidden="true")


_Row = tuple[str, str, str, Child]  # classes, filter, glyph, content


def _text(data: Data) -> _Row:
    return "txt s-ok", "text", "●", h("div.say", clip(terminal(str(data["text"])), TEXT))


def _prose(data: Data) -> _Row:
    return "txt s-ok", "text", "●", prose(terminal(str(data["text"])[: 2 * TEXT]))


def _thinking(data: Data) -> _Row:
    return "think s-off", "thinking", "~", clip(terminal(str(data["text"])), TEXT)


def _stderr(data: Data) -> _Row:
    return (
        "tool0 s-bad",
        "errors",
        "!",
        h("div.out", coloured_parts(clip(coloured(str(data["text"])), TEXT))),
    )


def _tool_use(data: Data) -> _Row:
    given = data.get("input")
    fields: Data = given if isinstance(given, dict) else {"input": given}
    name = one_line(str(data["name"]), 80)
    first = next(
        (
            fields[k]
            for k in ("command", "file_path", "path", "pattern", "to", "query")
            if isinstance(fields.get(k), str)
        ),
        None,
    )
    body: list[Child] = [h("b", name.removeprefix("mcp__hive__")), " "]
    if first is not None and "\n" in first.strip():
        body.append(output(quoted(first.strip())))
    elif first is not None:
        body.append(h("span", one_line(quoted(first), 300)))
    old, new = fields.get("old_string"), fields.get("new_string")
    if isinstance(old, str) and isinstance(new, str):
        body.append(edit(old, new))
    elif first is not None and fields.keys() <= _SAID | {"command"}:
        body.append(h("span.mut", f" {one_line(str(fields.get('description') or ''), 120)}"))
    elif len(fields) > (first is not None):
        body.append(fold("input", json.dumps(fields, ensure_ascii=False, indent=1)))
    return "tool0 use s-think", "tools", "▸", body


def _tool_result(event: Event, tools: Tools) -> _Row:
    data, use = event.data, tools.use(event)
    ok = bool(data.get("ok", True))
    text = coloured(clip(str(data.get("text", "")), TEXT * 4))
    took = f" · {duration(use.seconds)}" if use and use.seconds >= 0.05 else ""
    if not text.strip():
        body: Child = h("span.mut", f"no output{took}")
    else:
        body = output(text, took, 0 if ok and use and use.name in _QUIET else FOLD)
    return (
        f"tool0 res s-{'off' if ok else 'bad'}",
        "results" if ok else "errors",
        "✓" if ok else "✕",
        body,
    )


def _message(data: Data) -> _Row:
    sender, to = str(data.get("from", "?")), str(data.get("to", "?"))
    preview = one_line(str(data.get("preview", "")), 1000)
    kind = str(data.get("kind", "text"))
    tag = h("span.mut", f"[{one_line(kind, 40)}] ") if kind != "text" else None
    if sender == OPERATOR:
        return "usr s-you", "messages", ">", [h("b", "you "), tag, preview]
    return (
        "msg s-msg",
        "messages",
        "⇄",
        [h("span.c", f"{one_line(sender, 40)} → {one_line(to, 40)} "), tag, preview],
    )


def _question(data: Data) -> _Row:
    state = str(data.get("state", "open"))
    body: list[Child] = [
        h("span.c", "asks " if state == "open" else f"{one_line(state, 20)} "),
        clip(str(data["text"]), 2000),
    ]
    if answer := data.get("answer"):
        said = "; ".join([*answer["choices"], *filter(None, [answer["text"]])])
        by = one_line(str(data.get("answered_by") or OPERATOR), 40)
        late = " (late)" if answer["late"] else ""
        body.append(h("div.out", clip(f"{by}: {said}{late}", 2000)))
    return "msg s-you", "messages", "?", body


def _state(data: Data) -> _Row:
    return (
        "s-off",
        "state",
        "·",
        [
            h("b", one_line(str(data["state"]), 40)),
            " ",
            one_line(str(data.get("detail") or ""), 300),
        ],
    )


def _started(data: Data) -> _Row:
    attempt = int(data.get("attempt") or 1)
    again = f" · attempt {attempt}" if attempt > 1 else ""
    return "turn", "turns", "", f"turn {one_line(str(data['turn']), 40)} starts{again}"


def _ended(data: Data) -> _Row:
    outcome = str(data["outcome"])
    parts = [f"turn {one_line(str(data['turn']), 40)} {one_line(outcome, 20)}"]
    if data.get("cause"):
        parts.append(one_line(str(data["cause"]), 60))
    if data.get("duration_ms"):
        parts.append(span_text(float(data["duration_ms"]) / 1000))
    usage = data.get("usage") or {}
    if tokens := int(usage.get("input_tokens") or 0) + int(usage.get("output_tokens") or 0):
        parts.append(f"{count_text(tokens)} tok")
    if cost := float(data.get("cost_usd") or 0):
        parts.append(f"${cost:.2f}")
    detail = one_line(str(data.get("detail") or ""), 300)
    kind = {"ok": "s-ok", "failed": "s-bad"}.get(outcome, "s-think")
    return (
        "turn",
        "turns" if outcome == "ok" else "errors",
        "",
        [h(f"span.{kind}", h("span.c", " · ".join(parts))), f" {detail}" if detail else None],
    )


def _ready(data: Data) -> _Row:
    return "s-off", "state", "◌", "the harness is here"


def _offline(data: Data) -> _Row:
    return "s-off", "state", "○", "the harness is gone"


def _retired(data: Data) -> _Row:
    return "s-off", "state", "⌂", "retired: its mail waits for its return"


def _login(data: Data) -> _Row:
    return "s-off", "state", "↪", f"{one_line(str(data['outcome']), 20)} by {_by(data)}"


def _dead(data: Data) -> _Row:
    return (
        "msg s-bad",
        "errors",
        "✝",
        (
            f"message {data.get('message')} is a dead letter after {data.get('attempts')} attempts: "
            f"{one_line(str(data.get('cause', '')), 200)}"
        ),
    )


def _retried(data: Data) -> _Row:
    return "s-off", "state", "↻", f"message {data['message']} is tried again, says {_by(data)}"


def _dropped(data: Data) -> _Row:
    return "s-off", "state", "✝", f"message {data['message']} was dropped by {_by(data)}"


def _by(data: Data) -> str:
    return one_line(str(data.get("by", "")), 60)


def _tool(data: Data) -> _Row:
    ok = bool(data.get("ok", True))
    return (
        f"tool0 s-{'msg' if ok else 'bad'}",
        "state" if ok else "errors",
        "⬡",
        [h("b", one_line(str(data["name"]), 60)), h("span.mut", " ok" if ok else " refused")],
    )


def _gap(data: Data) -> _Row:
    return "turn", "turns", "", f"{data.get('lost', 'some')} rows are lost here"


def _engine(data: Data) -> _Row:
    words = [one_line(str(data[k]), 40) for k in ("type", "subtype") if k in data]
    shown = json.dumps(data, ensure_ascii=False, indent=1)
    return "unk s-off", "state", "·", [" ".join(words), fold("data", shown)]


def _unknown(data: Data) -> _Row:
    return "unk s-off", "state", "·", fold("data", json.dumps(data, ensure_ascii=False, indent=1))


_KINDS: dict[str, Callable[[Data], _Row]] = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _tool_use,
    "stderr": _stderr,
    "engine": _engine,
    "message": _message,
    "question": _question,
    "state": _state,
    "turn.started": _started,
    "turn.ended": _ended,
    "ready": _ready,
    "offline": _offline,
    "retired": _retired,
    "dead": _dead,
    "dead.retried": _retried,
    "dead.dropped": _dropped,
    "login": _login,
    "tool": _tool,
    "gap": _gap,
}
