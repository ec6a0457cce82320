"""Mappings that share what they have in common: they read and compare as plain ones do."""

from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.model import layered
from hive_reconciler.model.layered import Layered, since

keys = st.integers(0, 12)
changes = st.lists(st.tuples(st.dictionaries(keys, st.integers(0, 3)), st.sets(keys)), max_size=12)


class Value:
    def __init__(self, number):
        self.number = number


def differing(one, other):
    """Key by key."""
    return {k for k in one.keys() | other.keys() if one.get(k) is not other.get(k)}


@given(st.dictionaries(keys, st.integers(0, 3)), changes, st.sampled_from([0, 3, 6]))
def test_any_row_of_changes(first, steps, thick):
    plain = {key: Value(number) for key, number in first.items()}
    row = [(Layered(plain), plain)]
    before, layered.THICK = layered.THICK, thick
    try:
        for numbers, gone in steps:
            news = {key: Value(number) for key, number in numbers.items()}
            made, plain = row[-1][0].changed(news, gone), {**plain, **news}
            plain = {key: value for key, value in plain.items() if key not in gone}
            row.append((made, plain))
    finally:
        layered.THICK = before
    for made, plain in row:  # also the early ones: nothing later has changed them
        assert dict(made.items()) == plain == dict(made)
        assert set(made) == set(plain) == set(made.keys())
        assert sorted(map(id, made.values())) == sorted(map(id, plain.values()))
        assert len(made) == len(plain)
        assert made == plain
        for key in range(13):
            assert made.get(key) is plain.get(key)
            assert (key in made) is (key in plain)
        for other, other_plain in row:
            assert since(other, made) == differing(other_plain, plain) == since(other_plain, made)


def test_what_changes_nothing_is_the_same_mapping():
    made = Layered({"a": 1})
    assert made.changed({}) is made
    assert made.changed({}, ["b"]) is made
    assert Layered.of(made) is made


def test_to_compare_does_not_look_at_what_both_share():
    class Blind(dict):
        def get(self, key, default=None):
            assert key in (5, 7, "new")
            return super().get(key, default)

        def items(self):
            raise AssertionError

    first = Layered({n: object() for n in range(1000)})
    first.base = Blind(first.base)
    second = first.changed({5: object()}).changed({"new": object()}, [7])
    assert since(first, second) == since(second, first) == {5, 7, "new"}
