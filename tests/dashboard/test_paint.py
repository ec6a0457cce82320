from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.page_rows import NIX, TOML

from hive_dashboard.live.models import FileDiff, Line
from hive_dashboard.review.paint import COLOURED, PaintedFile, paint

TEXT = st.text(st.characters(exclude_characters="\n", exclude_categories=("Cs",)), max_size=60)


def one(file: FileDiff) -> PaintedFile:
    (painted,) = paint([file])
    return painted


def texts(painted: PaintedFile) -> list[str]:
    return ["".join(s.text for s in line.spans) for hunk in painted.hunks for line in hunk]


@given(
    st.lists(st.tuples(st.sampled_from(" +-"), TEXT), min_size=1, max_size=30),
    st.sampled_from(["a.toml", "a.nix", "prompt.md", "x", "a.json", "a.py", "a.sh"]),
)
def test_every_character_is_shown(rows: list[tuple[str, str]], path: str) -> None:
    lines = tuple(Line(kind=k, old=1, new=1, text=t) for k, t in rows)  # type: ignore[arg-type]
    painted = one(FileDiff(path=path, hunks=(lines,)))
    assert texts(painted) == [t for _, t in rows]
    assert [line.kind for line in painted.hunks[0]] == [k for k, _ in rows]


def test_syntax_and_changed_words() -> None:
    painted = one(FileDiff.model_validate(TOML))
    gone, came = painted.hunks[0][1], painted.hunks[0][2]
    assert [s.text for s in gone.spans if s.marked] == ["news"]
    assert "papers" in [s.text for s in came.spans if s.marked]
    assert any(s.kind == "cm" for s in came.spans)
    assert any(s.kind == "st2" for s in gone.spans)
    nix = one(FileDiff.model_validate(NIX))
    assert any(s.kind for s in nix.hunks[0][1].spans)


def test_what_hides_is_named() -> None:
    lines = (Line(kind="+", new=1, text="if admin\u202e:\u200b"),)
    assert one(FileDiff(path="x.nix", hunks=(lines,))).hidden == ("U+202E", "U+200B")


def test_all_lines_and_all_of_a_line_are_shown() -> None:
    """What a person approves is all of it, however much an agent wrote."""
    lines = tuple(Line(kind="+", new=i, text="x = 1") for i in range(COLOURED + 10))
    painted = one(FileDiff(path="x.nix", hunks=(lines,)))
    assert len(texts(painted)) == len(lines)
    assert painted.hunks[0][0].spans[0].kind
    long = "a = 1;" + " " * 600 + "b = 2;"
    rows = (Line(kind="+", new=1, text=long), Line(kind="+", new=2, text="c"))
    assert texts(one(FileDiff(path="x.nix", hunks=(rows,)))) == [long, "c"]


def test_what_was_made_to_be_slow_is_not_compared() -> None:
    """The words of lines are compared in time that grows with their square."""

    def lines(word: str) -> tuple[Line, ...]:
        old = [Line(kind="-", old=i, text=word * 240 + "a") for i in range(400)]
        new = [Line(kind="+", new=i, text=word * 250 + "b") for i in range(400)]
        return (*old, *new)

    files = [FileDiff(path="a", hunks=(lines("-+"),)), FileDiff(path="b", hunks=(lines("+-"),))]
    first, second = paint(files)
    marked = [any(s.marked for s in line.spans) for line in first.hunks[0]]
    assert marked[0]
    assert not marked[399]
    assert not any(s.marked for line in second.hunks[0] for s in line.spans)
