"""`logsSubscribe` over a WebSocket: which signatures named the program just now. A hint, never a promise (C2).

Servers drop notifications, lag and close; whoever listens looks at the history after each reconnect.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

OPEN_S_MAX = 5.0
PING_S = 20.0
"""Some providers close after ten silent minutes (C2)."""
MESSAGE_BYTES_MAX = 1024 * 1024
"""A log has 10 kB at most."""

_log = structlog.get_logger(__name__)


class SubscriptionEnded(Exception):
    """The server is not there, refused or went away; subscribe again, and look at the history."""


class LogSubscription:
    """One subscription to the logs that mention a program, at confirmed."""

    def __init__(self, url: str, program_id: str) -> None:
        self._url = url
        self._program_id = program_id

    async def hints(self) -> AsyncIterator[tuple[str, int] | None]:
        """None once subscribed, then (signature, slot) of each transaction, failed ones too; ends by raising.

        Raises `SubscriptionEnded`.
        """
        try:
            async with connect(
                self._url, open_timeout=OPEN_S_MAX, ping_interval=PING_S, max_size=MESSAGE_BYTES_MAX
            ) as socket:
                await self._subscribe(socket)
                yield None
                async for frame in socket:
                    hint = _hint(json.loads(frame))
                    if hint is not None:
                        yield hint
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException, ValueError) as fault:
            raise SubscriptionEnded(f"{type(fault).__name__}: {fault}") from fault
        raise SubscriptionEnded("the server closed")

    async def _subscribe(self, socket: ClientConnection) -> None:
        params = [{"mentions": [self._program_id]}, {"commitment": "confirmed"}]
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "logsSubscribe", "params": params}))
        async with asyncio.timeout(OPEN_S_MAX):
            answer = json.loads(await socket.recv())
        if "result" not in answer:
            raise ValueError(f"refused: {answer.get('error')}")


def _hint(message: Any) -> tuple[str, int] | None:
    """What a notification names; None for any other message."""
    try:
        result = message["params"]["result"]
        signature, slot = result["value"]["signature"], result["context"]["slot"]
    except (KeyError, TypeError):
        return None
    return (signature, slot) if isinstance(signature, str) and isinstance(slot, int) else None
