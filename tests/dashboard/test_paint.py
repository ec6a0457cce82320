from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.page_rows import NIX, TOML

from hive_dashboard.live.models import FileDiff, Line
from hive_dashboard.review.paint import MAX_LINES, PaintedFile, paint

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


def test_a_huge_file_is_cut_and_says_so() -> None:
    lines = tuple(Line(kind="+", new=i, text="x") for i in range(MAX_LINES + 10))
    painted = one(FileDiff(path="x", hunks=(lines,)))
    assert painted.left_out == 10
    assert len(painted.hunks[0]) == MAX_LINES
