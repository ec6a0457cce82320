"""A plan as people read it."""

from support.plans import NOW, TOOLS, desired, recalled, running, valid

from hive_reconciler.core import recall
from hive_reconciler.core.planner import plan
from hive_reconciler.model.memory import Memory
from hive_reconciler.model.plan_text import plan_text
from hive_reconciler.runtime.base import Phase


def test_the_text_tells_drift_apart_and_counts():
    agents = {"new": valid("new"), "hurt": valid("hurt")}
    memory = recalled({"hurt": agents["hurt"]})
    memory = Memory({u: recall.crashed(m, NOW - 400) for u, m in memory.agents.items()})
    ended = running("hurt", agents["hurt"], phase=Phase.STOPPED, exit_status=3)
    text = plan_text(plan(desired(agents), [ended], memory, TOOLS, NOW).as_json())
    approved, drift = text.split("Drift")
    assert "+ new (create h-new)" in approved
    assert "+ hurt (start h-hurt)" in drift
    assert "status 3" in drift
    assert text.endswith("1 to create, 1 to start.")


def test_nothing_to_do_says_so():
    agents = {"scout": valid()}
    found = plan(desired(agents), [running("scout", valid())], recalled(agents), TOOLS, NOW)
    assert plan_text(found.as_json()).startswith("Nothing to do")
