"""Whom broker and gateway are told of, while containers of those who left still live."""

from support.plans import TOOLS, desired, recalled, running, uid, valid

from hive_reconciler.core.picture import Picture
from hive_reconciler.core.slices import at_once


def told(agents, seen, memory):
    picture = Picture(toolchain=TOOLS, desired=desired(agents))
    picture.remember(memory.agents)
    picture.see(tuple(seen))
    return {one.uid: one.name for one in at_once(picture.registering()).values()}


def test_who_left_stays_until_its_container_is_gone_and_its_heir_waits():
    old, heir = valid("old"), valid("heir")
    seen = [running("scout", old)]
    assert told({"scout": heir}, seen, recalled({"scout": old})) == {uid("old"): "scout"}
    assert told({"scout": heir}, [], recalled({"scout": old})) == {uid("heir"): "scout"}


def test_two_that_left_and_had_one_name_at_last_are_both_known_by_their_containers():
    """Else the broker forgets the turn of one, and nobody waits for its end."""
    one, other = valid("one"), valid("other")
    memory = recalled({"guide": one})
    memory.agents[uid("other")] = recalled({"guide": other}).agents[uid("other")]
    seen = [running("guide", one), running("scout", other)]
    assert told({}, seen, memory) == {uid("one"): "guide", uid("other"): "scout"}
