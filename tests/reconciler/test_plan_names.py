"""The planner where names are others: renames, swaps, names that are still in use."""

from dataclasses import replace

import pytest
from support.plans import NOW, TOOLS, desired, kinds, recalled, running, uid, valid

from hive_reconciler.core.planner import plan
from hive_reconciler.model.desired import Invalid, Unreadable
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_a_rename_waits_while_the_files_are_bad(bad):
    agent = valid("scout")
    found = plan(
        desired({"guide": bad}), [running("scout", agent)], recalled({"guide": agent}), TOOLS, NOW
    )
    assert kinds(found) == []


def test_a_rename_waits_for_no_good_files_where_another_agent_has_the_old_name():
    agent, heir = valid("scout"), valid("heir")
    agents = {"guide": Unreadable("gone"), "scout": heir}
    found = plan(desired(agents), [running("scout", agent)], recalled({"guide": agent}), TOOLS, NOW)
    assert kinds(found) == [(Kind.RESTART, "guide")]


def test_a_renamed_agent_is_restarted_in_its_new_container():
    entry = valid("scout")
    found = plan(
        desired({"spy": entry}), [running("scout", entry)], recalled({"scout": entry}), TOOLS, NOW
    )
    assert kinds(found) == [(Kind.RESTART, "spy")]
    assert found.changes[0].container == "h-spy"


def test_two_that_swap_their_names_do_not_wait_for_each_other():
    one, other = valid("one"), valid("other")
    seen = [running("one", one), running("other", other)]
    agents = {"other": one, "one": other}
    found = plan(desired(agents), seen, recalled(agents), TOOLS, NOW)
    assert [a.kind for a in found.actions] == [Kind.STOP, Kind.STOP]


def test_a_name_that_is_still_in_use_is_waited_for():
    old, new = valid("scout"), replace(valid("scout", "r2"), spec=valid("other").spec)
    found = plan(desired({"scout": new}), [running("scout", old)], recalled({}), TOOLS, NOW)
    assert [b.reason for b in found.blocked if b.agent == "scout"] == ["NameTaken"]
    assert [a.uid for a in found.actions] in ([], [uid("scout")])


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_a_name_that_is_still_in_use_is_waited_for_while_the_files_are_bad(bad):
    heir, former = valid("heir"), valid("former")
    found = plan(
        desired({"scout": bad, "guide": former}),
        [running("scout", former)],
        recalled({"scout": heir, "guide": former}),
        TOOLS,
        NOW,
    )
    assert kinds(found) == [(Kind.RESTART, "guide")]
    assert "NameTaken" in {b.reason for b in found.blocked if b.agent == "scout"}


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_what_a_rename_left_stays_while_the_agent_runs_and_its_files_are_bad(bad):
    """Nothing is remembered; to remove what is left would end all that the uid has."""
    agent = valid("scout")
    seen = [running("scout", agent, phase=Phase.STOPPED), running("guide", agent)]
    found = plan(desired({"guide": bad}), seen, recalled({}), TOOLS, NOW)
    assert found.actions == ()
    doubt = found.blocked[-1]
    assert (doubt.agent, doubt.uid, doubt.reason) == ("scout", uid("scout"), "OwnerInDoubt")
    assert "h-guide" in doubt.message
