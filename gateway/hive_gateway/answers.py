"""The gateway's own answers, shaped as the Messages API shapes errors."""

from __future__ import annotations

from aiohttp import web_response


def error(status: int, kind: str, message: str, *, retry: bool = True) -> web_response.Response:
    """An error of the gateway. `retry=False` tells the client's library not to try again."""
    body = {"type": "error", "error": {"type": kind, "message": f"hive gateway: {message}"}}
    headers = {} if retry else {"x-should-retry": "false"}
    return web_response.json_response(body, status=status, headers=headers)


def not_allowed(method: str, path: str) -> web_response.Response:
    asked = f"{method[:10]} {path[:100]!r}"
    return error(403, "permission_error", f"{asked} is not relayed to the model API", retry=False)


def not_configured(problem: str) -> web_response.Response:
    return error(401, "authentication_error", problem, retry=False)


def too_large(limit: int) -> web_response.Response:
    message = f"the request is over the limit of {limit >> 20} MiB"
    return error(413, "request_too_large", message, retry=False)


def unreachable(url: str, cause: str) -> web_response.Response:
    return error(502, "api_error", f"the model API at {url} cannot be reached: {cause}")
