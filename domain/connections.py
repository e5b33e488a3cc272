"""What operators ask of the WebSocket bridges, and what each bridge answers; they never know each other's address."""

from __future__ import annotations

from dataclasses import dataclass

SHOWN_MAX = 500
"""Connections in one bridge's answer: the furthest behind come first, so what is left out is well."""


@dataclass(frozen=True, slots=True)
class ConnectionLook:
    """One open connection; `wallet` is empty until its token is known."""

    wallet: str
    channels: int
    open_s: float
    backlog_bytes: int


@dataclass(frozen=True, slots=True)
class BridgeOrder:
    """List connections, or (`is_kick`) close a wallet's with 4001; an empty wallet means all, and is never kicked."""

    order_id: str
    is_kick: bool
    wallet: str
    limit: int
    reason: str


@dataclass(frozen=True, slots=True)
class BridgeAnswer:
    """What one bridge found: all its connections, those the order was about, and the slowest of them."""

    connections: int
    matching: int
    shown: tuple[ConnectionLook, ...]


@dataclass(frozen=True, slots=True)
class BridgeWord:
    """A bridge that lives or has answered; None: it has not answered yet."""

    bridge_id: str
    host: str
    pid: int
    answer: BridgeAnswer | None
