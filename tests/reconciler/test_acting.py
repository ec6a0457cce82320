"""What operations ask at the moment they act."""

import pytest
from support.plans import TOOLS, desired, running, uid, valid

from hive_reconciler.core.acting import Acting
from hive_reconciler.core.metrics import Metrics
from hive_reconciler.core.picture import Picture
from hive_reconciler.model.desired import Unreadable


def nothing():
    pass


@pytest.mark.parametrize(
    ("agents", "container"),
    [
        ({}, None),
        ({"scout": valid("old")}, "h-scout"),
        ({"guide": valid("old", state="stopped")}, "h-guide"),
        ({"scout": valid("heir")}, None),
        ({"scout": Unreadable("gone")}, "h-scout"),
        ({"guide": Unreadable("gone")}, None),
    ],
)
def test_who_is_gone_for_certain_has_no_container(layout, agents, container):
    picture = Picture(toolchain=TOOLS, desired=desired(agents))
    picture.see((running("scout", valid("old")),))
    acting = Acting(layout, picture, Metrics(), on_end=nothing, on_say=nothing)
    assert acting.container(uid("old")) == container
