"""What every page is made of: the frame, ages, badges, forms, notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from ..html import BASE, Child, Element, Kept, Verbatim, h, leet, render
from ..live.mirror import Snapshot
from .shelf import Shelf

AssetUrl = Callable[[str], str]


@dataclass(frozen=True)
class Notice:
    """Said at the top of the page. `kind` is a state class: ok, bad, think."""

    text: str
    kind: str = "ok"


@dataclass(frozen=True)
class View:
    """What a page is drawn from. `drafts` are the fields of a form that was refused, by the
    form's name; `moved` says for a proposal what changed since it was looked at; `shelf` has parts
    that were drawn for other views; `page` is the address of the page."""

    snapshot: Snapshot
    user: str
    view_only: bool
    notices: tuple[Notice, ...] = ()
    drafts: dict[str, dict[str, str]] = field(default_factory=dict)
    moved: dict[int, tuple[str, ...]] = field(default_factory=dict)
    shelf: Shelf = field(default_factory=Shelf)
    page: str = "/"

    def action(self, path: str) -> str:
        """Where a form is sent whose answer leads back to this page."""
        return path if self.page == "/" else f"{path}?{urlencode({'back': self.page})}"

    def draft(self, form: str, name: str) -> str:
        return self.drafts.get(form, {}).get(name, "")


def page(
    asset: AssetUrl,
    title: str,
    body: Sequence[Element | Kept],
    *,
    script: str | None = None,
    body_class: str = "",
    data: dict[str, str | int] | None = None,
    count: int = 0,
) -> str:
    """A whole document. `data` goes to the script, as data- attributes of the body."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width,initial-scale=1"),
        h("meta", name="color-scheme", content="dark light"),
        h("title", title),
        h("link", rel="icon", href=asset(icon_name(count)), type="image/svg+xml"),
        h("link", rel="stylesheet", href=asset("hive.css")),
        h(
            "link",
            rel="preload",
            href=asset("mono.woff2"),
            as_="font",
            type="font/woff2",
            crossorigin=True,
        ),
        h("script", type="module", src=asset(script)) if script else None,
    )
    attrs: dict[str, Any] = {f"data_{key}": value for key, value in (data or {}).items()}
    root = h(
        "html",
        head,
        h("body", body, class_=body_class or None, **attrs),
        lang="en",
        data_base=BASE.get() or None,
    )
    return "<!doctype html>" + render(root)


def icon_name(count: int) -> str:
    """Of the page's icon while so many things wait for a person."""
    return f"icon-{min(count, 9)}.svg" if count else "icon.svg"


def notices(view: View) -> Element:
    """Stands in every page, so that scripts can write there."""
    rows = [h(f"p.notice.s-{n.kind}", n.text) for n in view.notices]
    return h("div.notices", rows, id="notices", role="status", aria_live="polite")


def age(since: float, now: float | None = None, *, down: bool = False) -> Element:
    """A counting age, or with `down` the time that is left until `since`."""
    at = time.time() if now is None else now
    left = since - at if down else at - since
    name = "data_until" if down else "data_since"
    return h("span.num", static=span_text(left), **{name: f"{since:.3f}"})


def span_text(seconds: float) -> str:
    """4:12, 1h 04, 3d 4h."""
    s = max(0, int(seconds))
    if s < 3600:
        return f"{s // 60}:{s % 60:02d}"
    if s < 86400:
        return f"{s // 3600}h {s % 3600 // 60:02d}"
    return f"{s // 86400}d {s % 86400 // 3600}h"


def clock(at: float, *, seconds: bool = True) -> Element:
    """A time of day: UTC in the page, the reader's zone once scripts run."""
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return h(
        "time",
        static=moment[11 : 19 if seconds else 16],
        datetime=f"{moment[:19]}Z",
        data_at=f"{at:.3f}",
        data_short=not seconds,
    )


def badge(glyph: str, word: str, kind: str, since: float | None, *, spin: bool = False) -> Element:
    """A state: glyph, word and age, never colour alone."""
    return h(
        f"span.badge.s-{kind}",
        h("span.g", glyph, class_="spin" if spin else None, aria_hidden="true"),
        h("b", leet(_leet(word), word)),
        h("span.t", age(since)) if since else None,
    )


def _leet(word: str) -> str:
    return word.replace("i", "1", 1) if word == "thinking" else word


def panel(
    ident: str,
    kind: str,
    glyph: str,
    label: str,
    words: str,
    *body: Child,
    count: int = 0,
    side: Child = None,
) -> Element:
    """A framed part of the page. Its id is `sec-<ident>`, so that it can be updated alone."""
    header = h(
        "header",
        h("h2", leet(f"{glyph} {label}", words), id=f"h-{ident}"),
        h("span.n", count) if count else None,
        h("span.grow"),
        h("span.dim.hide-m", side) if side else None,
    )
    return h(f"section.pan.s-{kind}", header, body, id=f"sec-{ident}", aria_labelledby=f"h-{ident}")


def form(
    action: str, *body: Child, name: str, class_: str | None = None, data_risky: bool = False
) -> Element:
    """A form that works without scripts. `name` is that of its drafts; a risky one is sent by the
    second press."""
    return h(
        "form",
        body,
        method="post",
        action=action,
        class_=class_,
        data_form=name,
        data_risky=data_risky,
        id=f"f-{name}",
    )


def hidden(name: str, value: str | int) -> Element:
    return h("input", type="hidden", name=name, value=value)


def textarea(
    name: str,
    value: str,
    *,
    label: str,
    rows: int = 2,
    placeholder: str = "",
    ident: str | None = None,
    required: bool = False,
) -> Element:
    return h(
        "textarea",
        Verbatim(value) if value else None,
        name=name,
        rows=rows,
        id=ident,
        placeholder=placeholder or None,
        aria_label=label,
        required=required,
    )


def button(
    glyph: str,
    words: str,
    kind: str,
    *tail: Child,
    primary: bool = False,
    small: bool = False,
    name: str | None = None,
    value: str | None = None,
    key: str | None = None,
) -> Element:
    """A button that sends its form. `glyph` is what is seen, `words` what is read aloud."""
    return h(
        "button.btn",
        leet(glyph, words),
        tail,
        h("kbd", key, aria_hidden="true") if key else None,
        class_=" ".join(
            filter(None, ["pri" if primary else "st", "sm" if small else "", f"s-{kind}"])
        ),
        type="submit",
        name=name,
        value=value,
        data_key=key,
    )


FULL = 0.8  # of a model's window: the conversation soon has to be shortened


def gauge(part: float, words: str) -> Element:
    """How full something is, `part` of 1."""
    kind = "bad" if part >= FULL else "think" if part >= 0.5 else "idle"
    return h(
        f"svg.gauge.s-{kind}",
        h("rect.rest", x=0, y=0, width=100, height=4),
        h("rect.part", x=0, y=0, width=max(1, round(part * 100)), height=4),
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        role="img",
        aria_label=words,
    )


def count_text(count: int) -> str:
    """2.9M, 48k, 900."""
    for unit, step in (("M", 1_000_000), ("k", 1_000)):
        if count >= step:
            return f"{count / step:.{1 if count < 10 * step else 0}f}{unit}"
    return str(count)


def size(count: int) -> str:
    """2.1G, 340M."""
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if count >= 1 << shift:
            return f"{count / (1 << shift):.{1 if shift == 30 else 0}f}{unit}"
    return str(count)
