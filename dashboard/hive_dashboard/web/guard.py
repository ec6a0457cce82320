"""What every request must pass before any page sees it.

The operator's browser visits other sites too, and agents may serve pages on sibling
ports, which share cookies with us: neither may speak here in the operator's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from ..settings import Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_REQUEST = 256 << 10  # bytes of a request's body
FORM, JSON = "application/x-www-form-urlencoded", "application/json"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: that makes the Origin of our own forms "null".
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Refused(Exception):
    """A request that is not let in: status and words for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def check(request: web.Request, settings: Settings, port: int) -> None:
    """Raises Refused. `port` is the one that we listen on."""
    host = request.headers.get("Host", "")
    if not settings.host_allowed(host, port):
        raise Refused(
            421,
            f"This dashboard does not answer to the name {host[:100]!r}. If the name is yours, "
            "say so: hive up --allowed-host NAME (without port), on NixOS dashboard.allowedHosts.",
        )
    if request.method in ("GET", "HEAD"):
        return
    if request.method != "POST":
        raise Refused(405, f"{request.method} is not used here.")
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    # same-site is not enough: another port of this host is same-site.
    if site is not None and site != "same-origin":
        raise Refused(403, "This form was sent from another site, so nothing was done.")
    if origin is not None and not _is_ours(origin, host, settings, port):
        raise Refused(403, "This form was sent from another origin, so nothing was done.")
    named = settings.proxy_header is not None and settings.proxy_header in request.headers
    if site is None and origin is None and (named or request.headers.get("Cookie")):
        raise Refused(403, "The browser did not say where this form came from; nothing was done.")
    if request.body_exists and request.content_type not in (FORM, JSON):
        raise Refused(415, f"Send a form ({FORM}) or {JSON}, not {request.content_type[:80]}.")


def _is_ours(origin: str, host: str, settings: Settings, port: int) -> bool:
    """Whether the form came from the very origin that was asked: not another port of it."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or parts.path:
        return False
    usual = {"http": ":80", "https": ":443"}[parts.scheme]
    same = parts.netloc.removesuffix(usual) == host.strip().lower().removesuffix(usual)
    return same and settings.host_allowed(host, port)


def harden(response: web.StreamResponse) -> None:
    """The headers that every answer carries."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
