"""Errors of calls over sockets. Programs that start often use them, so nothing large is imported."""

from __future__ import annotations

from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Ours, in the range JSON-RPC leaves to applications.
REFUSED = 1  # the request is understood and not allowed; the message says why
NOT_FOUND = 2
CONFLICT = 3  # the state moved since the caller looked; look again
BUSY = 4
UNAVAILABLE = 5  # a process that is needed is away; try again later


class RpcError(Exception):
    """An error that goes over the wire: a code, words for a person, and data."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


class PeerGone(RpcError):
    """The connection ended before the answer came; the request may have been done."""

    def __init__(self, what: str) -> None:
        super().__init__(UNAVAILABLE, f"the connection closed before {what} was answered")
