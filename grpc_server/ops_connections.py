"""What operators see and do about WebSocket connections: every bridge is asked by a row, and answers by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from domain.connections import SHOWN_MAX, BridgeWord, ConnectionLook
from grpc_server import translate
from grpc_server.calls import caller
from grpc_server.ports import BridgeDesk
from grpc_server.problems import Invalid, violation
from zmart.v1 import ops_service_pb2 as pb

ANSWER_S_MAX = 4.0
"""How long silent bridges are waited for; below the call's own deadline."""
LOOK_S = 0.05
"""How often is looked who has answered."""
SHOWN_DEFAULT = 50
REASON_BYTES_MAX = 100
"""What fits into a close frame with room to spare (RFC 6455, 5.5: 123)."""


class Connections:
    """Asks all bridges that live, and answers with what has come when all have, or after 4 s."""

    def __init__(self, desk: BridgeDesk, monotonic_s: Callable[[], float]) -> None:
        self._desk = desk
        self._monotonic_s = monotonic_s

    async def list(self, request: pb.ListConnectionsRequest) -> pb.ListConnectionsResponse:
        """Answer the connections furthest behind."""
        wallet = translate.address(request.user_pubkey, "user_pubkey") if request.user_pubkey else ""
        limit = min(request.limit or SHOWN_DEFAULT, SHOWN_MAX)
        words = await self._answers(await self._desk.order(False, wallet, limit, "", _operator()))
        shown = [(word, look) for word in words if word.answer for look in word.answer.shown]
        shown.sort(key=lambda pair: pair[1].backlog_bytes, reverse=True)
        return pb.ListConnectionsResponse(
            bridges=[_bridge(word) for word in words],
            connections=[_connection(word, look) for word, look in shown[:limit]],
            total_count=_matching(words),
        )

    async def kick(self, request: pb.KickConnectionsRequest) -> pb.KickConnectionsResponse:
        """Close a wallet's connections, wherever they are."""
        wallet = translate.address(request.user_pubkey, "user_pubkey")
        order_id = await self._desk.order(True, wallet, 0, _reason(request), _operator())
        words = await self._answers(order_id)
        return pb.KickConnectionsResponse(
            order_id=order_id, closed=_matching(words), bridges=[_bridge(word) for word in words]
        )

    async def _answers(self, order_id: str) -> Sequence[BridgeWord]:
        until_s = self._monotonic_s() + ANSWER_S_MAX
        while True:
            words = await self._desk.words(order_id)
            if all(word.answer for word in words) or self._monotonic_s() >= until_s:
                return words
            await asyncio.sleep(LOOK_S)


def _reason(request: pb.KickConnectionsRequest) -> str:
    reason = request.reason.strip()
    if not reason:
        raise violation(Invalid.TEXT_MISSING, "reason", "")
    if len(reason.encode()) > REASON_BYTES_MAX:
        raise violation(Invalid.TEXT_TOO_LONG, "reason", str(REASON_BYTES_MAX))
    if not reason.isprintable():
        raise violation(Invalid.TEXT_NOT_PRINTABLE, "reason", "")
    return reason


def _operator() -> str:
    """The id of the token that asks, which `zmart token` names."""
    return caller().credential_id or ""


def _matching(words: Sequence[BridgeWord]) -> int:
    return sum(word.answer.matching for word in words if word.answer)


def _bridge(word: BridgeWord) -> pb.Bridge:
    answered = word.answer is not None
    return pb.Bridge(
        host=word.host, pid=word.pid, answered=answered, connections=word.answer.connections if word.answer else 0
    )


def _connection(word: BridgeWord, look: ConnectionLook) -> pb.Connection:
    return pb.Connection(
        user_pubkey=look.wallet,
        channels=look.channels,
        open_seconds=look.open_s,
        backlog_bytes=look.backlog_bytes,
        host=word.host,
        pid=word.pid,
    )
