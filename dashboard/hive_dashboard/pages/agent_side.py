"""The panels beside an agent's log: what is wrong, its work, what it uses, its container."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..html import Child, Element, h, leet
from ..live.spending import Spent
from ..text import one_line, plural
from .agents import AgentView
from .common import View, age, button, count_text, form, gauge, hidden, size


def info(view: View, it: AgentView) -> Element:
    parts: list[Child] = [
        h("a.btn.sm.only-s", "‹ back to the log", href="#main"),
        _conditions(it) if it.troubles else None,
        _login(view, it) if _may_log_in(it) and not view.view_only else None,
        _work(view, it),
        _context(view, it),
        _tokens(view, it),
        _box(view, it) if it.host else None,
        _power(it) if not view.view_only else None,
    ]
    return h("aside.info", parts, id="sec-info", aria_label="agent details")


def _part(label: str, words: str, kind: str, *rows: Child) -> Element:
    return h(f"section.s-{kind}", h("h2", leet(label, words)), h("div.b.num", rows))


def _kv(key: Child, value: Child) -> Element:
    return h("div.kv", h("span", key), h("span.el", value))


def _conditions(it: AgentView) -> Element:
    return _part(
        "COND1TIONS",
        "Conditions",
        "bad",
        [
            h(
                "div.cond.s-bad",
                h("span.c", f"{c.type}/{c.reason}"),
                " ",
                one_line(c.message, 400),
                " ",
                age(c.since) if c.since else None,
            )
            for c in it.troubles
        ],
    )


def _may_log_in(it: AgentView) -> bool:
    """An agent without a network uses the gateway's credential, the rehearsal needs none."""
    if it.host is None or it.host.engine == "rehearsal":
        return False
    return it.state == "needs-login" or it.host.network not in (None, "none")


def _login(view: View, it: AgentView) -> Element:
    """Three steps: start, go there and come back with a code, or leave it."""
    url = view.snapshot.logins.get(it.uid or "")
    if url is None:
        start = form(
            f"/a/{it.name}/login/start",
            button("↪ L0G 1N", "Start a login for this agent", "you", small=True),
            name="login-start",
        )
        said = "needs a login" if it.state == "needs-login" else "its own account, kept in its box"
        return _part("L0G1N", "Login", "you", h("p.dim", said), start)
    where = (
        h("a.s-idle.c", url, href=url, rel="noopener noreferrer nofollow", target="_blank")
        if url.startswith("https://")
        else h("code", url)
    )
    at = h("b.hi", urlsplit(url).hostname or "no host")
    return _part(
        "L0G1N",
        "Login",
        "you",
        h("p", "1. Log in at ", at, ": ", where, class_="say"),
        form(
            f"/a/{it.name}/login/code",
            h(
                "label.dim",
                "2. Paste the code that you get",
                h(
                    "input",
                    type="password",
                    name="code",
                    autocomplete="off",
                    required=True,
                ),
            ),
            button("➤ S3ND", "Send the code", "you", small=True, primary=True),
            name="login-code",
            class_="col",
        ),
        form(
            f"/a/{it.name}/login/cancel",
            h("button.btn.sm.ghost", "leave it", type="submit"),
            name="login-cancel",
        ),
    )


def _work(view: View, it: AgentView) -> Element:
    status = it.status
    work = [p for p in view.snapshot.open if it.name in (p.agent, p.requester)]
    asks = [q for q in view.snapshot.questions if q.agent == it.name and q.state == "open"]
    return _part(
        "W0RK",
        "Work",
        "ok",
        [_kv(h("a.s-ok.c", f"◆ #{p.n}", href=f"/proposals/{p.n}"), "waits for you") for p in work],
        [
            _kv(h("a.s-you.c", f"? {one_line(q.text, 30)}", href=f"#askq-{q.id}"), "asks")
            for q in asks
        ],
        _kv("queued", status.queued if status else "unknown"),
        _kv("turn", status.turn or "none") if status else None,
        _kv("dead letters", status.dead) if status and status.dead else None,
    )


def _context(view: View, it: AgentView) -> Element | None:
    """What the conversation fills of the model's window, after the last turn."""
    spent = view.snapshot.spent.get(it.uid or "")
    if spent is None or spent.filled is None:
        return None
    words = f"{count_text(spent.context)} of {count_text(spent.window)} tokens"
    return _part(
        "C0NTEXT",
        "Context",
        "think",
        _kv(words, f"{spent.filled:.0%}"),
        gauge(spent.filled, f"context: {words}"),
    )


def _tokens(view: View, it: AgentView) -> Element:
    spent = view.snapshot.spent.get(it.uid or "")
    limit = it.host.usd_per_day if it.host else None
    if spent is None:
        return _part("T0KENS", "Tokens", "think", h("p.dim", "no turn in the last 24 hours"))
    cost = f"${spent.usd:.2f}" + (f" of ${limit:g} a day" if limit else "")
    return _part(
        "T0KENS / TURN",
        "Tokens of each turn",
        "think",
        _bars(spent),
        _kv("24 hours", f"{count_text(spent.tokens)} tok · {plural(spent.turns, 'turn')}"),
        _kv("cost", cost),
        _kv("failed", spent.failed) if spent.failed else None,
    )


def _bars(spent: Spent) -> Element:
    most = max(*spent.last, 1)
    bars = [
        h(
            "rect",
            x=i * 10,
            y=30 - max(1, round(30 * tokens / most)),
            width=8,
            height=max(1, round(30 * tokens / most)),
            class_="now" if i == len(spent.last) - 1 else None,
        )
        for i, tokens in enumerate(spent.last)
    ]
    return h(
        "svg.bars",
        bars,
        viewBox=f"0 0 {max(len(bars), 12) * 10} 30",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"tokens of the last {len(bars)} turns, at most {count_text(most)}",
    )


def _box(view: View, it: AgentView) -> Element:
    host = it.host
    assert host is not None
    memory = size(host.memory) if host.memory else "0"
    return _part(
        "B0X",
        "Container",
        "idle",
        _kv("container", host.container or it.name),
        _kv("engine", host.engine),
        _kv("model", host.model) if host.model else None,
        _kv("network", host.network) if host.network else None,
        _kv("state", host.state or host.desired),
        _kv("revision", (host.revision or "none")[:12]),
        _kv("in sync", "yes" if host.in_sync else "update pending"),
        _kv("tasks", host.tasks) if host.tasks else None,
        _kv("memory", memory + (f" / {size(host.memory_limit)}" if host.memory_limit else ""))
        if host.memory
        else None,
        _kv("page", f"port {door}") if (door := view.snapshot.doors.get(it.name)) else None,
        _kv("printed", h("a.s-idle.c", "journal", href=f"/a/{it.name}/journal")),
    )


def _power(it: AgentView) -> Element:
    stopped = it.host is not None and it.host.desired == "stopped"
    # By a person, or because its budget is used up: "go on" lifts both.
    paused = it.status is not None and (it.status.paused or it.state == "paused")
    wishes = (
        [("start", "▶ ST4RT", "Start", "ok")]
        if stopped
        else [("restart", "↻ R3START", "Restart", "think"), ("stop", "■ ST0P", "Stop", "bad")]
    )
    manager = it.host is not None and it.host.role == "manager"
    return _part(
        "P0WER",
        "Power",
        "off",
        h(
            "div.row.wrap",
            form(
                f"/a/{it.name}/power",
                [
                    button(label, words, kind, small=True, name="action", value=action)
                    for action, label, words, kind in wishes
                ],
                name="power",
                class_="row wrap",
            ),
            form(
                f"/a/{it.name}/{'unpause' if paused else 'pause'}",
                button("▶ G0 0N", "Let it go on", "ok", small=True)
                if paused
                else button("‖ P4USE", "Pause its turns", "idle", small=True),
                name="pause",
            ),
        ),
        h("p.dim", "start, stop, restart: by a commit; a running turn ends first"),
        None if manager else _retire(it),
    )


def _retire(it: AgentView) -> Element:
    return h(
        "details.reply",
        h("summary", leet("⌂ RET1RE…", f"Retire {it.name}")),
        form(
            f"/a/{it.name}/retire",
            hidden("reason", ""),
            h("p.dim", "makes a proposal; its files are kept until they are purged"),
            button("⌂ RET1RE", f"Propose to retire {it.name}", "bad", small=True),
            name="retire",
            class_="col",
        ),
        id="retire",
    )
