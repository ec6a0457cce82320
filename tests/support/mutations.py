"""Ways to break the core. `simulate` has to notice each of them, or it proves nothing."""

from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from hive_reconciler.core import drain, looking, loop, operations, planner, recall, steps, telling
from hive_reconciler.model.desired import Valid
from hive_reconciler.runtime.base import RuntimeFailure


def no_drain():
    async def no_turn(_self):
        return True

    return mock.patch.object(drain.Drain, "_try", no_turn)


def unknown_is_idle():
    return mock.patch.object(drain, "idle_evidence", return_value=True)


def fences_stay():
    async def lift(self):
        self._broker.fences_left = False

    async def end(self):
        await self._give_up(self._broker.release, self._uid, self._token)

    return _both(
        mock.patch.object(telling.Telling, "_lift_fences", lift),
        mock.patch.object(drain.Drain, "end", end),
    )


def no_prune_guard():
    def allow(_swarm, gone):
        return frozenset(seen.uid for seen in gone), None

    return mock.patch.object(planner, "_guard", allow)


def a_failed_read_loses_an_agent():
    look = looking.look

    async def looked(picture, *rest):
        stalled = await look(picture, *rest)
        if stalled is None or stalled[0] != "ReadFailed" or picture.desired is None:
            return stalled
        left = dict(sorted(picture.desired.agents.items())[1:])
        picture.desired = replace(picture.desired, agents=left)
        return None

    return mock.patch.object(loop, "look", looked)


def a_failed_observation_is_empty():
    observe = looking.observe

    async def observed(picture, runtime):
        try:
            await observe(picture, runtime)
        except (RuntimeFailure, TimeoutError):
            picture.see(())

    return mock.patch.object(looking, "observe", observed)


def a_bad_entry_is_absent():
    def gone(swarm):
        good = (e for e in swarm.desired.agents.values() if isinstance(e, Valid))
        wanted = {entry.spec.uid for entry in good}
        return [seen for seen in swarm.sight.all if seen.uid and seen.uid not in wanted]

    return mock.patch.object(planner, "_gone", gone)


def no_patience_with_failures():
    return _both(
        mock.patch.object(planner, "cooling", return_value=None),
        mock.patch.object(steps, "cooling", return_value=None),
    )


def no_patience_with_lost_records():
    return mock.patch.object(recall, "LOST_GRACE", 0.0)


def suspensions_are_ignored():
    return mock.patch.object(planner, "_unless_suspended", lambda step, _memory: step)


class _Forgiving(dict):
    """An operation that was pushed aside finds nothing of its own to remove."""

    def __delitem__(self, key):
        self.pop(key, None)


def two_operations_for_one_agent():
    start = operations.Operations.start

    def again(self, action, *rest):
        if not isinstance(self.under_way, _Forgiving):
            self.under_way = _Forgiving(self.under_way)
            self._places = _Forgiving(self._places)
        self.under_way.pop(action.uid, None)
        self._places.pop(action.container, None)
        return start(self, action, *rest)

    return mock.patch.object(operations.Operations, "start", again)


def a_name_is_given_away_at_once():
    start = operations.Operations.start

    def at_once(self, *given):
        for other in self.under_way.values():
            other.clears = frozenset()
        return start(self, *given)

    return mock.patch.object(operations.Operations, "start", at_once)


def old_sight_counts():
    look = loop.Reconciler._look

    async def looked(core):
        fresh = await look(core)
        core._acting.settled.clear()
        return fresh

    return mock.patch.object(loop.Reconciler, "_look", looked)


def an_ordered_stop_is_a_crash():
    return mock.patch.object(recall, "stopping", lambda memory: memory)


def a_start_forgets_what_came_while_it_waited():
    async def bring_up(self, operation):
        wanted = self._world.wanted(operation.action.uid)
        async with self.gates["start"].enter(operation.priority):
            if wanted is None:
                return
            await self._begin(operation, "Starting", "")
            await self._write_files(wanted)
            await self._runtime.start(wanted.container)
        self._world.started(operation.action.uid, wanted)

    return mock.patch.object(operations.Operations, "_bring_up", bring_up)


def a_plan_of_yesterday():
    look = planner._look

    def once(before, swarm, now):
        if before.agents.keys() == swarm.agents.by_name.keys():
            return before
        return (yield from look(before, swarm, now))

    return mock.patch.object(planner, "_look", once)


@contextmanager
def _both(one, other):
    with one, other:
        yield


MUTATIONS = (
    *(no_drain, unknown_is_idle, fences_stay),
    *(no_prune_guard, a_failed_read_loses_an_agent, a_failed_observation_is_empty),
    *(a_bad_entry_is_absent, no_patience_with_failures, no_patience_with_lost_records),
    *(suspensions_are_ignored, two_operations_for_one_agent, a_name_is_given_away_at_once),
    *(old_sight_counts, an_ordered_stop_is_a_crash, a_start_forgets_what_came_while_it_waited),
    a_plan_of_yesterday,
)
