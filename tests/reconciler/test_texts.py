"""Text of agents on a terminal, and small parts of the commands."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.app.commands.agents import news
from hive_reconciler.app.console import word
from hive_reconciler.app.plain import columns, line, plain


@pytest.mark.parametrize(
    ("evil", "shown"),
    [
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("\x1b]0;title\x07", "⟨U+001B⟩]0;title⟨U+0007⟩"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("over\rwrite", "over⟨U+000D⟩write"),
        ("\x9b2J", "⟨U+009B⟩2J"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("fine\n\ttext ä 猫", "fine\n\ttext ä 猫"),
    ],
)
def test_what_could_act_on_a_terminal_is_shown(evil, shown):
    assert plain(evil) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_that_controls_or_hides_gets_through(text):
    for char in plain(text):
        assert (
            char in "\n\t"
            or unicodedata.category(char) not in ("Cc", "Cs", "Cf")
            or (
                # formats that are part of scripts' spelling, not of layout
                char in "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
                or ord(char) in (0x110BD, 0x110CD)
                or 0x13430 <= ord(char) <= 0x1345F
                or 0x1BCA0 <= ord(char) <= 0x1BCA3
                or 0x1D173 <= ord(char) <= 0x1D17A
            )
        )


@given(st.text(), st.integers(1, 60))
def test_a_line_is_one_line_and_no_wider(text, width):
    cut = line(text, width)
    assert "\n" not in cut
    assert columns(cut) <= width


@given(st.text(st.sampled_from("a猫\u0301 "), max_size=12), st.integers(1, 12))
def test_a_line_is_cut_where_it_does_not_fit(text, width):
    cut = line(text, width)
    whole = line(text)
    if columns(whole) <= width:
        assert cut == whole
    else:
        assert cut.endswith("…")
        assert whole.startswith(cut[:-1])
        assert columns(cut) > width - 2, "no more than one wide character less"


def test_a_long_text_is_cut_as_fast_as_a_short_one():
    assert line("a" * 1_000_000, 60) == "a" * 59 + "…"


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["b", "c"], ["c"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
        ([], ["a"], ["a"]),
        (["a"], ["x", "y"], ["x", "y"]),
    ],
)
def test_following_a_log_prints_each_line_once(before, after, new):
    assert news(before, after) == new


def test_the_console_says_what_a_person_must_know():
    def agent(**found):
        conditions = [
            {"type": t, "status": s, "reason": r, "message": m} for t, (s, r, m) in found.items()
        ]
        return {"name": "a", "conditions": conditions}

    assert word(agent(Ready=("True", "Hello", ""))) == "ready"
    assert word(agent(Ready=("False", "Starting", ""))) == ""
    stalled = agent(Ready=("True", "Hello", ""), Stalled=("True", "InvalidSpec", "line 3\x1b"))
    assert word(stalled) == "InvalidSpec: line 3⟨U+001B⟩"
