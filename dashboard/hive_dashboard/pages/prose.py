"""Markdown of agents as a tree of elements: no HTML, no images, no classes of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ..html import Child, Element, h
from ..text import one_line

LONGEST = 3000  # characters; what is longer is shown as it is
MOST = 600  # parts of its markup; what has more, too
_MARKUP = re.compile(r"[*_`#~\[\]|<]|^\s*(?:[-+>]|\d+[.)])\s|\n\s*\n|https?://", re.MULTILINE)
_LINKS = ("http", "https", "mailto")
_TAGS = frozenset(
    "p em strong s ul ol li blockquote table thead tbody tr th td".split()  # noqa: SIM905
)


def prose(text: str) -> Element:
    """`text` as an agent meant it to look; plain where that is all there is to it."""
    if len(text) > LONGEST or not _MARKUP.search(text):
        return h("div.say", text)
    tokens = _parser().parse(text)
    if sum(1 + len(token.children or ()) for token in tokens) > MOST:
        return h("div.say", text)
    return h("div.say.md", _children(iter(tokens), None))


@cache
def _parser() -> MarkdownIt:
    """Imported and made with the first text that needs it."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return parser.disable(["image", "html_block", "html_inline", "entity"])


def _children(tokens: Iterator[Token], until: str | None) -> list[Child]:
    found: list[Child] = []
    for token in tokens:
        if token.type == until:
            break
        found.append(_node(token, tokens))
    return found


def _node(token: Token, tokens: Iterator[Token]) -> Child:
    if token.type == "inline":
        return _children(iter(token.children or ()), None)
    if token.nesting == 1:
        inside = _children(tokens, token.type.removesuffix("_open") + "_close")
        if token.type == "link_open":
            return _link(str(token.attrGet("href") or ""), inside)
        if token.type == "heading_open":
            return h("p.hd", inside)
        if token.hidden or token.tag not in _TAGS:
            return inside
        return h(token.tag, inside)
    if token.type in ("fence", "code_block"):
        return h("div.out", token.content.rstrip("\n"))
    if token.type == "code_inline":
        return h("code", token.content)
    if token.type in ("softbreak", "hardbreak"):
        return h("br")
    if token.type == "hr":
        return h("hr")
    return token.content


def _link(href: str, inside: list[Child]) -> Child:
    """A link that says where it leads; of other schemes only the words are left."""
    try:
        parts = urlsplit(href)
        host = parts.hostname or parts.path
    except ValueError:
        return inside
    if parts.scheme.lower() not in _LINKS or not host:
        return inside
    return [
        h("a.s-idle.c", inside, href=href, rel="noopener noreferrer nofollow", target="_blank"),
        h("span.mut", f" ({one_line(host, 80)})"),
    ]
