"""What people do, without any script: forms, redirects, and the text kept when it fails."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import pytest
from support.dashboard_world import JSON, SAME, World
from support.page_rows import Json, line

from hive_broker.front.host_api import COMPACT_SECONDS
from hive_broker.service.logins import SECONDS as LOGIN_SECONDS
from hive_dashboard.live.backends import Backend
from hive_dashboard.live.mirror import DETAILS
from hive_dashboard.live.models import MOST_LINES
from hive_dashboard.pages.approvals import IN_LIST
from hive_wire.rpc_errors import CONFLICT, REFUSED, RpcError


async def post(world: World, path: str, data: Mapping[str, object], status: int = 200) -> str:
    async with world.http.post(world.url + path, data=data, headers=SAME) as answer:
        assert answer.status == status, path
        return html.unescape(await answer.text())


async def with_proposal(world: World, n: int = 7, **more: object) -> None:
    world.host.add(n, **more)
    await world.until(lambda: n in world.site.mirror.snapshot.details)


async def test_approve_carries_the_effect_and_the_user(page_world: World) -> None:
    world = page_world
    await with_proposal(world)
    page = await world.get("/")
    assert f'name="effect" value="{"ab" * 32}"' in page
    page = await post(world, "/proposals/7/approve", {"effect": "ab" * 32, "allow_prune": ""})
    assert world.host.called("approve") == [{"n": 7, "effect": "ab" * 32, "on_behalf": "damo"}]
    assert "#7 is approved and merged as 5e21c0d" in page
    assert "Nothing waits for your approval" in page
    assert "is approved" not in await world.get("/"), "a notice is said once"


async def test_nothing_is_approved_that_was_not_shown(page_world: World) -> None:
    """Of many proposals the diffs of the last ones are not read for the list."""
    world = page_world
    for n in range(1, DETAILS + 2):
        world.host.add(n)
    await world.until(lambda: len(world.site.mirror.snapshot.open) == DETAILS + 1)
    await world.until(lambda: set(world.site.mirror.snapshot.details) == set(range(2, DETAILS + 2)))
    page = await world.get("/")
    assert 'action="/proposals/2/approve"' in page
    assert 'action="/proposals/1/approve"' not in page
    assert 'action="/proposals/1/deny"' in page
    whole = await world.get("/proposals/1")
    assert "systemPackages" in whole
    assert 'action="/proposals/1/approve?back=%2Fproposals%2F1"' in whole


def file_of(lines: int, path: str = "prompt.md", word: str = "line") -> Json:
    rows = [line("+", None, i + 1, f"{word} {i}") for i in range(lines)]
    return {"path": path, "status": "added", "added": lines, "hunks": [rows]}


async def test_lines_that_a_list_has_no_room_for_are_not_approved_there(page_world: World) -> None:
    world = page_world
    await with_proposal(world, files=[file_of(IN_LIST, "a"), file_of(3, "b", "evil")])
    page = await world.get("/")
    assert "evil 0" not in page
    assert "3 more lines" in page
    assert 'action="/proposals/7/approve"' not in page
    whole = await world.get("/proposals/7")
    assert "evil 2" in whole
    assert 'action="/proposals/7/approve?back=%2Fproposals%2F7"' in whole


async def test_lines_that_no_page_has_room_for_must_be_looked_at(page_world: World) -> None:
    world = page_world
    await with_proposal(world, files=[file_of(MOST_LINES, "a"), file_of(3, "b", "evil")])
    page = await world.get("/proposals/7")
    assert "evil 2" not in page
    assert 'required><span>I looked at <a class="c" href="/proposals/7/whole">' in page
    assert "evil 2" in await world.get("/proposals/7/whole?part=diff")
    await post(world, "/proposals/7/approve", {"effect": "ab" * 32}, 422)
    assert not world.host.called("approve")


async def test_what_is_no_text_must_be_looked_at_elsewhere(page_world: World) -> None:
    """One zero byte makes a prompt a binary file, of which no page shows a line."""
    world = page_world
    await with_proposal(world, files=[{**file_of(0), "binary": True}])
    page = await world.get("/")
    assert "binary file: look at it with git" in page
    assert 'required><span>I looked at <a class="c" href="/proposals/7/whole">' in page
    await post(world, "/proposals/7/approve", {"effect": "ab" * 32}, 422)
    assert not world.host.called("approve")


async def test_whose_diff_is_not_kept_must_be_looked_at_as_well(page_world: World) -> None:
    world = page_world
    for n in range(1, DETAILS + 2):
        world.host.add(n)
    await world.until(lambda: len(world.site.mirror.snapshot.details) == DETAILS)
    assert 1 not in world.site.mirror.snapshot.details
    world.host.proposals[1]["diff_left_out"] = 82
    wish = {"effect": "ab" * 32}
    page = await post(world, "/proposals/1/approve", wish, 422)
    assert "#1 is more than its card shows" in page
    assert not world.host.called("approve")
    await post(world, "/proposals/1/approve", wish | {"looked": "true"})
    assert world.host.called("approve")


async def test_what_must_be_looked_at_goes_by_the_effect_that_is_approved(
    page_world: World,
) -> None:
    """Not by what the page last read of the proposal."""
    world = page_world
    await with_proposal(world)
    world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
    world.host.proposals[7]["diff_left_out"] = 82
    page = await post(world, "/proposals/7/approve", {"effect": "cd" * 32}, 422)
    assert "#7 is more than its card shows" in page
    assert not world.host.called("approve")


async def test_an_answer_that_is_not_understood_approves_nothing(page_world: World) -> None:
    world = page_world
    for n in range(1, DETAILS + 2):
        world.host.add(n)
    await world.until(lambda: len(world.site.mirror.snapshot.details) == DETAILS)
    assert 1 not in world.site.mirror.snapshot.details
    world.host.proposals[1]["diff_left_out"] = "some"
    page = await post(world, "/proposals/1/approve", {"effect": "ab" * 32}, 502)
    assert "What hive-c0re says of #1 was not understood" in page
    assert not world.host.called("approve")


async def test_an_answer_that_is_not_understood_is_called_so(page_world: World) -> None:
    world = page_world
    world.host.add(7)
    world.host.proposals[7]["diff_left_out"] = "some"
    for path in ("/proposals/7", "/api/v1/proposals/7"):
        async with world.http.get(world.url + path) as answer:
            assert answer.status == 502
            assert "versions differ" in await answer.text()


async def test_a_moved_effect_is_shown_and_asked_again(page_world: World) -> None:
    world = page_world
    await with_proposal(world)
    world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
    page = await post(world, "/proposals/7/approve", {"effect": "ab" * 32}, 409)
    assert "scout.limits.memory is 3G instead of 2G" in page
    assert "It changed since you looked" in page
    assert f'value="{"cd" * 32}"' in page, "the new effect is the one to approve now"
    await post(world, "/proposals/7/approve", {"effect": "cd" * 32})
    assert world.host.proposals[7]["row"]["state"] == "merged"


async def test_what_is_refused_on_its_own_page_is_said_there(page_world: World) -> None:
    world = page_world
    await with_proposal(world)
    shown = await world.get("/proposals/7")
    actions = re.findall(r'action="(/proposals/7/[^"]+)"', shown)
    assert len(actions) == 3
    world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
    for action in actions:
        moved = "approve" in action
        data = {"effect": "ab" * 32} if moved else {"reason": " "}
        page = await post(world, action, data, 409 if moved else 422)
        assert "<title>#7 · hyperhive</title>" in page
        assert ("It changed since you looked" in page) is moved
        assert f'value="{"cd" * 32}"' in page
    page = await post(world, "/proposals/7/approve?back=%2Fproposals%2F7", {"effect": "cd" * 32})
    assert world.host.proposals[7]["row"]["state"] == "merged"
    assert "<title>#7 · hyperhive</title>" in page
    assert "#7 is merged by damo" in page


async def test_deny_needs_a_reason(page_world: World) -> None:
    world = page_world
    await with_proposal(world)
    page = await post(world, "/proposals/7/deny", {"reason": "  "}, 422)
    assert "is empty" in page
    page = await post(world, "/proposals/7/deny", {"reason": "too much <memory>"})
    assert world.host.called("deny")[0]["reason"] == "too much <memory>"
    assert "too much <memory>" in page


async def test_the_prune_guard_wants_a_number(page_world: World) -> None:
    world = page_world
    await with_proposal(world)
    world.host.proposals[7]["row"]["effect"]["actions"] = [
        {"kind": "destroy", "agent": "scout", "reason": "not in the tree"}
    ]
    world.host.changed("proposals")
    await world.until(lambda: "destroy" in str(world.site.mirror.snapshot.details.get(7)))
    assert "deletes 1 agent: type the number" in await world.get("/")
    world.host.refuse = RpcError(REFUSED, "it deletes 1 of 2 agents; say so with --allow-prune 1")
    page = await post(world, "/proposals/7/approve", {"effect": "ab" * 32}, 403)
    assert "it deletes 1 of 2 agents" in page
    await post(world, "/proposals/7/approve", {"effect": "ab" * 32, "allow_prune": "1"})
    assert world.host.called("approve")[-1]["allow_prune"] == 1


async def test_what_a_card_leaves_out_counts(page_world: World) -> None:
    """An answer holds so many agents; what goes is more than what is shown."""
    world = page_world
    await with_proposal(world)
    effect = world.host.proposals[7]["row"]["effect"]
    effect["actions"] = [{"kind": "destroy", "agent": "scout", "reason": "not in the tree"}]
    effect["left_out"] = {"changes": {"high": 41}, "actions": {"destroy": 41}, "files": 82}
    world.host.proposals[7]["diff_left_out"] = 82
    world.host.changed("proposals")
    await world.until(lambda: "destroy" in str(world.site.mirror.snapshot.details.get(7)))
    page = await world.get("/")
    for words in (
        "deletes 42 agents: type the number",
        "42 deleted",
        "… and 41 more of high risk",
        "… and 41 more to destroy",
        "82 more files",
        'required><span>I looked at <a class="c" href="/proposals/7/whole">all of it',
    ):
        assert words in page, words
    await post(world, "/proposals/7/approve", {"effect": "ab" * 32, "allow_prune": "1"}, 422)
    wish = {"effect": "ab" * 32, "allow_prune": "42"}
    page = await post(world, "/proposals/7/approve", wish, 422)
    assert "#7 is more than its card shows" in page
    assert not world.host.called("approve")
    await post(world, "/proposals/7/approve", wish | {"looked": "true"})
    assert world.host.called("approve")[-1]["allow_prune"] == 42


async def test_all_that_a_card_leaves_out_can_be_seen(page_world: World) -> None:
    """Page by page, whatever an agent writes into it."""
    world = page_world
    await with_proposal(world)
    effect = world.host.proposals[7]["row"]["effect"]
    effect["changes"] = [
        {"agent": f"a{k}", "field": "", "risk": "low", "text": f"a{k} <b>bold</b>"}
        for k in range(5)
    ]
    effect["actions"] = [
        {"kind": "update", "agent": f"a{k}", "reason": "model changed"} for k in range(5)
    ]
    for part, words in (("changes", "a{} &lt;b&gt;bold"), ("actions", " a{} ")):
        seen: list[int] = []
        after: str | None = "0"
        while after is not None:
            page = await world.get(f"/proposals/7/whole?part={part}&after={after}")
            seen += [k for k in range(5) if words.format(k) in page]
            found = re.search(rf"whole\?part={part}&amp;after=([1-9][0-9]*)", page)
            after = found[1] if found else None
        assert seen == list(range(5))
    assert "systemPackages" in await world.get("/proposals/7/whole?part=diff&after=x")
    assert "a0 " in await world.get("/proposals/7/whole?part=%3Cb%3E")


async def test_spawn_makes_a_proposal(page_world: World) -> None:
    world = page_world
    page = await post(
        world,
        "/spawn",
        {"name": "nurse", "description": "cares", "template": "", "prompt": "be kind"},
    )
    assert world.host.called("spawn") == [
        {"name": "nurse", "description": "cares", "prompt": "be kind", "on_behalf": "damo"}
    ]
    assert "waits for approval" in page
    assert "nurse" in page


async def test_spawn_offers_the_templates_of_hive_toml(page_world: World) -> None:
    world = page_world
    page = await post(world, "/spawn", {"name": "Bad", "template": "reader"}, 422)
    assert '<option value="reader" selected>' in page
    assert '<option value="worker">' in page
    await post(world, "/spawn", {"name": "nurse", "template": "reader"})
    assert world.host.called("spawn")[-1]["template"] == "reader"


@pytest.mark.parametrize("name", ["../x", "operator", "Bad", "", "much-too-long-name", "a b"])
async def test_a_bad_name_is_refused_and_the_rest_kept(page_world: World, name: str) -> None:
    world = page_world
    page = await post(
        world, "/spawn", {"name": name, "description": "cares", "prompt": "be <kind>"}, 422
    )
    assert "be <kind>" in page
    assert 'value="cares"' in page
    assert world.host.called("spawn") == []


async def test_write_to_one_and_to_all(page_world: World) -> None:
    world = page_world
    page = await post(world, "/send", {"to": "scout", "body": "line\r\nline"})
    assert "Sent to scout." in page
    await post(world, "/send", {"to": "everyone", "body": "all"})
    await post(world, "/send", {"to": "scout", "body": "re", "in_reply_to": "1"})
    calls = world.broker.called("send")
    assert calls[0] == {"to": "scout", "body": "line\nline", "by": "damo"}
    assert calls[1]["to"] == "everyone"
    assert calls[2]["in_reply_to"] == 1


async def test_answer_with_options_and_words(page_world: World) -> None:
    world = page_world
    n = world.broker.ask("Which?", ["a & b", "c"], multi=True)
    await world.until(lambda: bool(world.site.mirror.snapshot.questions))
    page = await world.get("/")
    assert 'type="checkbox"' in page
    assert 'value="a &amp; b"' in page
    page = await post(world, f"/questions/{n}/answer", {"text": ""}, 422)
    assert "Pick an option" in page
    async with world.http.post(
        f"{world.url}/questions/{n}/answer",
        headers=SAME,
        data=[("choice", "a & b"), ("choice", "c"), ("text", "both")],
    ) as a:
        assert a.status == 200
    assert world.broker.called("answer") == [
        {"id": n, "by": "damo", "text": "both", "choices": ["a & b", "c"]}
    ]


async def test_an_agents_page_takes_words_and_commands(page_world: World) -> None:
    world = page_world
    page = await post(world, "/a/scout/prompt", {"body": "look"})
    assert "Sent to scout." in page
    assert world.broker.called("send")[0]["to"] == "scout"
    page = await post(world, "/a/scout/command", {"command": "cancel"})
    assert "/cancel done" in page
    assert world.broker.called("command")[0]["uid"] == "bbbbbbbbbbbb"
    page = await post(world, "/a/scout/power", {"action": "restart"})
    assert "restart scout: takes effect now" in page
    await post(world, "/a/scout/power", {"action": "explode"}, 422)
    await post(world, "/a/scout/command", {"command": "rm -rf"}, 422)


async def test_a_question_that_somebody_else_answered_is_no_proposal_that_moved(
    page_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = page_world
    n = world.broker.ask("Which?")
    await with_proposal(world, n)

    def answered(_params: object) -> Json:
        raise RpcError(CONFLICT, f"question {n} was answered by ana already")

    monkeypatch.setattr(world.broker, "_answer", answered)
    page = await post(world, f"/questions/{n}/answer", {"text": "near"}, 409)
    assert "was answered by ana already" in page
    assert "It changed since you looked" not in page


async def test_a_command_is_one_without_scripts_too(page_world: World) -> None:
    world = page_world
    page = await post(world, "/a/scout/prompt", {"body": " /compact keep the plan\r\n"})
    assert "/compact done" in page
    called = world.broker.called("command")
    assert [(c["command"], c["argument"]) for c in called] == [("compact", "keep the plan")]
    page = await post(world, "/a/scout/prompt", {"body": "/nonsense"}, 422)
    assert "There is no command /nonsense" in page
    assert ">\n/nonsense</textarea>" in page
    for text in ("/etc/hosts is empty", "/compact\nand then\nthis"):
        await post(world, "/a/scout/prompt", {"body": text})
    assert [c["body"] for c in world.broker.called("send")] == [
        "/etc/hosts is empty",
        "/compact\nand then\nthis",
    ]
    assert world.broker.called("command") == called


async def test_a_command_may_take_as_long_as_the_broker_lets_it(
    page_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that shortens a conversation takes minutes."""
    world, waited = page_world, dict[str, float]()
    ask = Backend.ask

    async def noted(it: Backend, method: str, *, timeout: float = 20.0, **params: Any) -> Any:
        waited[method] = timeout
        return await ask(it, method, timeout=timeout, **params)

    monkeypatch.setattr(Backend, "ask", noted)
    await post(world, "/a/scout/command", {"command": "compact"})
    await post(world, "/a/scout/login/start", {})
    await post(world, "/a/scout/login/code", {"code": "right"})
    assert waited["command"] > COMPACT_SECONDS
    assert min(waited["login.start"], waited["login.code"]) > LOGIN_SECONDS


async def test_freeze_and_dead_letters(page_world: World) -> None:
    world = page_world
    await post(world, "/pause", {})
    assert world.broker.called("pause")[0]["uid"] is None
    world.broker.dead = [
        {
            "id": 4,
            "agent": "scout",
            "message": {"sender": "hm1nd", "body": "hm"},
            "attempts": 5,
            "cause": "refused",
        }
    ]
    world.broker.emit("dead", {"message": 4, "attempts": 5, "cause": "refused"})
    await world.until(lambda: bool(world.site.mirror.snapshot.dead))
    page = await world.get("/")
    assert "gave up after 5 attempts: refused" in page
    page = await post(world, "/dead/4/drop", {"agent": "scout"})
    assert "gave up" not in page


@pytest.mark.parametrize("kind", ["dead.retried", "dead.dropped", "retired"])
async def test_a_dead_letter_that_is_none_any_more_leaves_the_page(
    page_world: World, kind: str
) -> None:
    """Decided in a terminal, or its agent is retired."""
    world = page_world
    letter = {"sender": "hm1nd", "body": "hm"}
    world.broker.dead = [{"id": 4, "agent": "scout", "message": letter, "cause": "no"}]
    world.broker.emit("dead", {"message": 4, "attempts": 5, "cause": "no"})
    await world.until(lambda: bool(world.site.mirror.snapshot.dead))
    world.broker.dead = []
    world.broker.emit(kind, {"message": 4, "by": "ana"})
    await world.until(lambda: not world.site.mirror.snapshot.dead)


async def test_what_one_sends_pushes_nothing_out_of_the_inbox(page_world: World) -> None:
    world = page_world
    world.broker.message("scout", "operator", "please look at this")
    for n in range(250):
        world.broker.message("operator", "scout", f"order {n}")
    await world.until(lambda: "order 249" in str(world.site.mirror.snapshot.messages))
    assert [m.body for m in world.site.mirror.snapshot.inbox] == ["please look at this"]
    assert "please look at this" in await world.get("/api/v1/inbox")
    assert not [q for q in world.broker.called("messages") if "peer" in q], "looks at all there are"


async def test_unknown_fields_and_recipients(page_world: World) -> None:
    world = page_world
    await post(world, "/send", {"to": "scout", "body": "x", "by": "root"}, 422)
    page = await post(world, "/send", {"to": "nobody", "body": "my long text"}, 404)
    assert "there are hm1nd, scout" in page
    assert "my long text" in page
    assert world.broker.called("send") == [{"to": "nobody", "body": "my long text", "by": "damo"}]


async def test_with_a_process_away_the_page_says_so_and_keeps_the_text(page_world: World) -> None:
    world = page_world
    world.broker.message("scout", "operator", "still to be read")
    await world.until(lambda: bool(world.site.mirror.snapshot.inbox))
    await world.broker.stop()
    await world.until(lambda: "broker" in world.site.mirror.snapshot.away)
    page = await post(world, "/send", {"to": "scout", "body": "my long text"}, 503)
    assert "The broker is away, so nothing was done" in page
    assert "my long text" in page
    assert "still to be read" in page
    assert "the broker is away" in page
    agent = await world.get("/a/scout/")
    assert "no history to show" in agent
    await world.host.stop()
    await world.until(lambda: "reconciler" in world.site.mirror.snapshot.away)
    page = await post(world, "/spawn", {"name": "nurse", "prompt": "p"}, 503)
    assert "The reconciler is away" in page
    await world.broker.start()
    await world.host.start()
    await world.settled()
    page = await world.get("/")
    assert "is away" not in page


async def test_scripts_get_json(page_world: World) -> None:
    world = page_world
    async with world.http.post(
        f"{world.url}/send", data={"to": "scout", "body": "x"}, headers=JSON
    ) as answer:
        assert await answer.json() == {"ok": "Sent to scout."}
    async with world.http.post(
        f"{world.url}/send", data={"to": "x y", "body": "x"}, headers=JSON
    ) as answer:
        assert answer.status == 422
        assert "no agent name" in (await answer.json())["error"]
    await world.until(lambda: bool(world.site.mirror.snapshot.messages))
    async with world.http.get(f"{world.url}/api/swarm") as answer:
        state = await answer.json()
    have = ",".join(f"{name}:{digest}" for name, (digest, _) in state["sections"].items())
    async with world.http.get(f"{world.url}/api/swarm", params={"have": have}) as answer:
        assert (await answer.json())["sections"] == {}


async def test_a_proposals_own_page(page_world: World) -> None:
    world = page_world
    await with_proposal(world, 7)
    page = await world.get("/proposals/7")
    assert "agents/scout/agent.nix" in page
    async with world.http.get(f"{world.url}/proposals/99") as answer:
        assert answer.status == 404
        assert "there is no proposal 99" in await answer.text()
    async with world.http.get(f"{world.url}/a/nobody/") as answer:
        assert answer.status == 404
