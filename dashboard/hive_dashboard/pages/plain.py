"""Pages without live parts: login, sessions, one proposal, errors."""

from __future__ import annotations

from collections.abc import Iterable

from ..auth.sessions import Session
from ..html import h, leet
from ..live.mirror import Review
from .approvals import card
from .common import AssetUrl, View, age, button, form, hidden, notices, page
from .need import away
from .shell import bar, log_out


def login_page(asset: AssetUrl, problem: str | None, after: str) -> str:
    body = h(
        "main.login",
        h("h1", leet("⬢ HYPERH1VE", "hyperhive: log in")),
        h(
            "div.notices",
            h("p.notice.s-bad", problem) if problem else None,
            id="notices",
            role="alert",
        ),
        h(
            "p",
            "Run ",
            h("code", "hive login"),
            " on the host and open the link that it prints. It works once, for two minutes.",
        ),
        form(
            "/login",
            h(
                "label",
                "or paste its code (what stands after #)",
                h(
                    "input",
                    type="password",
                    name="code",
                    required=True,
                    autocomplete="off",
                    id="code",
                ),
            ),
            hidden("next", after),
            button("➤ L0G IN", "Log in", "ok", primary=True),
            name="login",
            class_="col",
        ),
        id="main",
    )
    return page(asset, "log in · hyperhive", [body], script="login.js", body_class="plain")


def message_page(asset: AssetUrl, title: str, text: str) -> str:
    body = h(
        "main.login",
        h("h1", title),
        h("p", text),
        h("p", h("a.s-idle.c", "to the swarm", href="/")),
        id="main",
    )
    return page(asset, f"{title} · hyperhive", [body], body_class="plain")


def sessions_page(view: View, asset: AssetUrl, rows: Iterable[Session], own: str) -> str:
    lines = [
        h(
            "tr",
            h("td", row.user, h("span.dim", " view only") if row.view_only else None),
            h("td.dim", row.agent or "unknown browser"),
            h("td.num", age(row.created)),
            h("td.num", age(row.seen)),
            h(
                "td",
                h("span.chip", "this one") if row.id == own else None,
                form(
                    "/sessions/end",
                    hidden("session", row.label),
                    button("✕ 3ND", "End this session", "bad", small=True),
                    name=f"end-{row.label}",
                )
                if not view.view_only
                else None,
            ),
        )
        for row in rows
    ]
    return page(
        asset,
        "sessions · hyperhive",
        [
            bar(view, "sessions", log_out()),
            h(
                "main.plainpage",
                notices(view),
                h(
                    "section.pan",
                    h("header", h("h1", leet("SESSI0NS", "Sessions"))),
                    h(
                        "div.body.scroll",
                        h(
                            "table",
                            h(
                                "thead",
                                h(
                                    "tr",
                                    [
                                        h("th", t, scope="col")
                                        for t in ("user", "browser", "since", "last used", "end it")
                                    ],
                                ),
                            ),
                            h("tbody", lines),
                        ),
                    ),
                ),
                id="main",
            ),
        ],
        script="plain.js",
    )


def proposal_page(view: View, asset: AssetUrl, found: Review) -> str:
    proposal = found.detail.proposal
    ended = (
        h(
            "p.notice.s-idle",
            f"#{proposal.n} is {proposal.state}"
            + (f" by {proposal.by}" if proposal.by else "")
            + (f": “{proposal.reason}”" if proposal.reason else ""),
        )
        if proposal.state != "open"
        else None
    )
    return page(
        asset,
        f"#{proposal.n} · hyperhive",
        [
            bar(view, "proposal", log_out()),
            h(
                "main.plainpage",
                h("h1.sr", f"Proposal {proposal.n}"),
                notices(view),
                away(view),
                ended,
                h(
                    "section.pan.s-ok",
                    h("header", h("h2", leet(f"◆ #{proposal.n}", "What it changes"))),
                    h("div.body", card(view, proposal, found, opened=True, own=True)),
                ),
                id="main",
            ),
        ],
        script="plain.js",
    )
