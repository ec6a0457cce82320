"""Pages are trees of elements: one tree becomes HTML, or JSON that scripts turn into DOM.

Every text goes through `text.reveal` and is escaped when written; there is no way to
put markup in from a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from html import escape
from typing import TypeAlias, Union

import orjson

from .text import reveal

Child: TypeAlias = Union["Element", "Verbatim", "Kept", str, int, Iterable["Child"], None]
Attr: TypeAlias = str | int | float | bool | None
Json: TypeAlias = str | list["Json"] | dict[str, str] | orjson.Fragment
Node: TypeAlias = Union["Element", "Kept", str]

_VOID = frozenset({"input", "br", "meta", "link", "hr"})
_SAFE_NAME = re.compile(r"[a-z][a-z0-9-]*|viewBox|preserveAspectRatio|pathLength")
_FORBIDDEN = re.compile(r"on|style$|srcdoc$")
_LINK = re.compile(r"(?:/(?!/)|#|\?|https?://|mailto:)", re.IGNORECASE)


# Where a proxy has the pages; links of ours are written with it.
BASE: ContextVar[str] = ContextVar("base", default="")
_OURS = ("href", "action", "src")


@dataclass(frozen=True, slots=True)
class Verbatim:
    """What the reader typed themselves: escaped, but not revealed."""

    text: str


@dataclass(frozen=True, slots=True)
class Element:
    """`static` is text for readers without scripts; scripts write their own there."""

    tag: str
    attrs: tuple[tuple[str, str], ...]
    children: tuple[Node, ...]
    static: str = ""


class Kept:
    """An element that is part of many pages: written once, however often it is shown."""

    def __init__(self, element: Element) -> None:
        self._element = element

    @cached_property
    def html(self) -> str:
        return render(self._element)

    @cached_property
    def json(self) -> orjson.Fragment:
        return orjson.Fragment(orjson.dumps(tree(self._element)))


def h(spec: str, *children: Child, static: str = "", **attrs: Attr) -> Element:
    """An element: `h("a.btn.pri", "text", href="/", data_n=1)`. Names are the code's own, never data.

    In names of attributes `_` stands for `-`, a trailing one is dropped. `class_` adds to
    the classes of `spec`. True is an attribute without value; None and False leave it out.
    Raises ValueError for an attribute that could carry script or style.
    """
    tag, _, classes = spec.partition(".")
    classes = classes.replace(".", " ")
    if extra := attrs.pop("class_", None):
        classes = f"{classes} {extra}" if classes else str(extra)
    pairs: list[tuple[str, str]] = [("class", classes)] if classes else []
    for key, value in attrs.items():
        if value is None or value is False:
            continue
        name = _attr_name(key)
        text = "" if value is True else str(value)
        if name in ("href", "action") and not _LINK.match(text):
            raise ValueError(f"{name} {text[:80]!r} is no link that a page may carry")
        pairs.append((name, text))
    return Element(tag, tuple(pairs), tuple(_flat(children, [])), static)


@cache
def _attr_name(key: str) -> str:
    """Raises ValueError."""
    name = key.rstrip("_").replace("_", "-")
    if not _SAFE_NAME.fullmatch(name) or _FORBIDDEN.match(name):
        raise ValueError(f"attribute {name!r} is not allowed")
    return name


def _flat(children: Iterable[Child], into: list[Node]) -> list[Node]:
    for child in children:
        if isinstance(child, str):
            if child:
                into.append(reveal(child))
        elif child is None:
            continue
        elif isinstance(child, (Element, Kept)):
            into.append(child)
        elif isinstance(child, Verbatim):
            into.append(child.text.encode(errors="replace").decode())
        elif isinstance(child, int):
            into.append(str(child))
        else:
            _flat(child, into)
    return into


def render(node: Node) -> str:
    """HTML of the tree."""
    out: list[str] = []
    _write(node, out)
    return "".join(out)


def _write(node: Node, out: list[str]) -> None:
    if isinstance(node, str):
        out.append(escape(node, quote=False))
        return
    if isinstance(node, Kept):
        out.append(node.html)
        return
    out.append(f"<{node.tag}")
    for name, value in _placed(node.attrs):
        out.append(f' {name}="{escape(value)}"' if value else f" {name}")
    out.append(">")
    if node.tag in _VOID:
        return
    if node.tag in ("textarea", "pre"):
        out.append("\n")  # the parser eats the first newline
    if node.static:
        out.append(escape(node.static, quote=False))
    for child in node.children:
        _write(child, out)
    out.append(f"</{node.tag}>")


def tree(node: Node) -> Json:
    """JSON of the tree: text, or [tag, {attributes}, child, …].

    What is below an element with `data-keep` belongs to the scripts, what is in a noscript to
    readers without them: both are left out.
    """
    if isinstance(node, str):
        return node
    if isinstance(node, Kept):
        return node.json
    if ("data-keep", "") in node.attrs or node.tag == "noscript":
        return [node.tag, dict(_placed(node.attrs))]
    return [node.tag, dict(_placed(node.attrs)), *map(tree, node.children)]


def _placed(attrs: tuple[tuple[str, str], ...]) -> Iterable[tuple[str, str]]:
    base = BASE.get()
    if not base:
        return attrs
    return [
        (name, base + value if name in _OURS and value.startswith("/") else value)
        for name, value in attrs
    ]


def leet(glyphs: str, words: str, *, tail: Child = None) -> tuple[Child, ...]:
    """A label for the eye and the same for a screen reader."""
    return (h("span", glyphs, aria_hidden="true"), h("span.sr", words), tail)
