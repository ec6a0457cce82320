"""The agents' wishes to the reconciler: asked over requests.sock, answered in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hive_wire.link import Link
from hive_wire.rpc_errors import UNAVAILABLE, RpcError

SECONDS = 150.0  # an apply exports, imports and checks a commit before it is answered


class Requests:
    def __init__(self, path: Path) -> None:
        self._link = Link(path)

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        await self._link.run()

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The reconciler's answer. Raises RpcError with words for the model."""
        try:
            answer = await self._link.request(method, params, timeout=SECONDS)
        except TimeoutError:
            raise RpcError(
                UNAVAILABLE,
                "the host did not answer in time; it may still do it: "
                "look with list_agents before you ask again",
            ) from None
        except RpcError as error:
            if error.code == UNAVAILABLE:
                raise RpcError(
                    UNAVAILABLE,
                    f"the host's reconciler is away ({error.message}); try again in a minute",
                ) from None
            raise
        return answer if isinstance(answer, dict) else {}
