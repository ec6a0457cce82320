"""What passes between an agent and the model API: paths and headers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from multidict import CIMultiDict, CIMultiDictProxy

from .credentials import OAUTH_BETA, Credential

MAX_BODY = 32 << 20  # bytes of a request, the API's own limit

MESSAGES = "/v1/messages"
PATHS = (
    r"POST /v1/messages(?:/count_tokens)?"
    r"|(?:GET|HEAD) /v1/models(?:/(?!\.\.?(?:\?|$))[A-Za-z0-9._:@-]+)?"
    r"|HEAD /"
)
ALLOWED = re.compile(rf"(?:{PATHS})(?:\?[A-Za-z0-9=&._%+~-]*)?")

HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
# What the container must not decide: who pays, who asks, and how bytes are packed.
NOT_SENT = HOP_BY_HOP | frozenset(
    [
        "host",
        "authorization",
        "x-api-key",
        "cookie",
        "proxy-authorization",
        "accept-encoding",
        "expect",
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ]
)
RESET = "anthropic-ratelimit-unified-reset"
LONGEST_LIMIT = 8 * 86400.0  # seconds; a weekly one and a day
NOT_RETURNED = HOP_BY_HOP | frozenset(["set-cookie", "alt-svc", "proxy-authenticate"])


def allowed(method: str, target: str) -> bool:
    """Whether an agent may ask this. `target` is path and query as they came, not decoded."""
    return ALLOWED.fullmatch(f"{method} {target}") is not None


def request_headers(
    given: CIMultiDictProxy[str], credential: Credential | None
) -> CIMultiDict[str]:
    """The headers to send: the client's, without its credential, with ours."""
    headers = _without(given, NOT_SENT)
    headers["accept-encoding"] = "identity"  # so that usage can be read in passing
    if credential is not None:
        headers.update(credential.headers())
        if credential.kind == "oauth":
            headers["anthropic-beta"] = _with_beta(given.getall("anthropic-beta", ()))
    return headers


def response_headers(given: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers to return: status, retry-after, rate limits and request id go through."""
    return _without(given, NOT_RETURNED)


def retry_at(given: CIMultiDictProxy[str], now: float) -> float | None:
    """When a limit that was reached ends, in unix seconds; None when the answer does not say."""
    reset, after = given.get(RESET, ""), given.get("retry-after", "")
    if reset.isdecimal():
        until = float(reset)
    elif after.isdecimal():
        until = now + float(after)
    else:
        return None
    return until if now < until < now + LONGEST_LIMIT else None


def _without(given: CIMultiDictProxy[str], dropped: frozenset[str]) -> CIMultiDict[str]:
    named = {
        name.strip().lower()
        for value in given.getall("connection", ())
        for name in value.split(",")
    }
    return CIMultiDict(
        (name, value)
        for name, value in given.items()
        if name.lower() not in dropped and name.lower() not in named
    )


def _with_beta(values: Iterable[str]) -> str:
    betas = [beta.strip() for value in values for beta in value.split(",") if beta.strip()]
    return ",".join(dict.fromkeys([*betas, OAUTH_BETA]))
