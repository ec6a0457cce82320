"""What a proposal shows beside its effect: what forbids it, and what happens here and now."""

from support.pushing import pushed

from hive_reconciler.app.commands.review import proposal_text
from hive_reconciler.model.plan_text import plan_text


async def test_a_card_says_what_forbids_its_approval(swarm, tmp_path):
    asked = await swarm.host.request(
        "spawn", {"name": "big", "description": "x", "settings": {"limits.memory": "6G"}}
    )
    shown = await swarm.host.request("proposal", {"n": asked["proposal"]})
    assert shown["checks"] == []
    assert "hive approve" in proposal_text(shown)

    def tighter(clone):
        text = clone.read("hive.toml")
        clone.write("hive.toml", text.replace('max_memory = "8G"', 'max_memory = "4G"'))

    await swarm.approve(await pushed(swarm.layout, swarm.host, tmp_path, "less", tighter))
    shown = await swarm.host.request("proposal", {"n": asked["proposal"]})
    (problem,) = shown["checks"]
    assert "limits.memory = 6G is above 4G" in problem
    text = proposal_text(shown)
    assert f"cannot be approved as it is:\n  ✕ {problem}" in text
    assert "hive approve" not in text


async def test_a_program_is_shown_as_one(swarm, tmp_path):
    def program(clone):
        clone.write("agents/hm1nd/new.sh", "x")
        (clone.path / "agents/hm1nd/new.sh").chmod(0o755)
        (clone.path / "agents/hm1nd/prompt.md").chmod(0o755)

    n = await pushed(swarm.layout, swarm.host, tmp_path, "program", program)
    text = proposal_text(await swarm.host.request("proposal", {"n": n}))
    assert "added agents/hm1nd/new.sh (+1 -0)\n  mode 000000 → 100755" in text
    assert "changed agents/hm1nd/prompt.md (+0 -0)\n  mode 100644 → 100755" in text


async def test_the_live_plan_of_a_start_is_an_approved_change(swarm):
    await swarm.spawn("scout")
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: ("stop", "h-scout") in swarm.runtime.done)
    tip = await swarm.hive.tip()
    plan = await swarm.host.request("plan", {"rev": f"{tip}~1"})
    assert "Approved changes:" in plan_text(plan)
    assert "Drift" not in plan_text(plan)


async def test_status_names_the_templates(swarm):
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    assert (await swarm.host.request("status"))["templates"] == ["worker"]


async def test_without_nix_the_card_says_so(swarm):
    await swarm.until(lambda: swarm.core.picture.desired is not None)
    asked = await swarm.host.request("spawn", {"name": "scout", "description": "x"})
    assert asked["message"].endswith("Its Nix files are not built here: no nix in this test")
    shown = await swarm.host.request("proposal", {"n": asked["proposal"]})
    assert shown["build"]["state"] == "not-built"
    assert "Nix: not built here: no nix in this test" in proposal_text(shown)
    await swarm.approve(asked["proposal"])
