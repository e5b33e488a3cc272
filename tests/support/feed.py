"""In-memory twins of what the bridge needs of its neighbours, and a client that reads like a browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from domain.ids import base58_encode
from tests.support.eventually import WAIT_S_MAX

WALLET = base58_encode(bytes([7]) * 32)
OTHER_WALLET = base58_encode(bytes([8]) * 32)
MARKET = base58_encode(bytes([1]) * 32)
OTHER_MARKET = base58_encode(bytes([2]) * 32)
UNKNOWN_MARKET = base58_encode(bytes([3]) * 32)
NOW_S = 1_760_000_000
NOW = datetime.fromtimestamp(NOW_S, UTC)


@dataclass(frozen=True)
class Row:
    """One outbox row."""

    id: int
    channel: str
    seq: int
    type: str
    payload: Mapping[str, Any]
    created_at: datetime
    epoch: str
    votes_seq: int | None = None

    @property
    def payload_json(self) -> str:
        return json.dumps(self.payload)


@dataclass(frozen=True)
class State:
    """One channel's state and its position."""

    epoch: str
    seq: int
    payload: Mapping[str, Any]


@dataclass
class Book:
    """Outbox and snapshots over one set of channels: a commit changes the state and owes one message."""

    epoch: str = "e1"
    states: dict[str, State] = field(default_factory=dict)
    pending: list[Row] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    """The channels whose snapshot was read, in order."""
    filler: str = ""
    """Makes every message this much larger."""
    failures: int = 0
    """So many calls from now on find the database out of reach."""
    _last_id: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, *channels: str) -> None:
        """Markets that have told nothing yet."""
        for channel in channels:
            self.states[channel] = State(self.epoch, 0, {"likes": 0})

    def commit(self, channel: str, kind: str = "VOTE_UPDATE") -> Row:
        """One more like: state and message in one step."""
        before = self.states[channel]
        payload = {"likes": before.payload["likes"] + 1, "filler": self.filler}
        self.states[channel] = State(self.epoch, before.seq + 1, payload)
        self._last_id += 1
        created_at = NOW + timedelta(milliseconds=self._last_id)
        row = Row(self._last_id, channel, before.seq + 1, kind, payload, created_at, self.epoch)
        self.pending.append(row)
        self._news.set()
        return row

    def lose_history(self, epoch: str) -> None:
        """The database was restored: sequences start over under another epoch; old rows may still be in the outbox."""
        self.epoch = epoch
        self.states = {channel: State(epoch, 0, state.payload) for channel, state in self.states.items()}

    async def unpublished(self, limit: int) -> Sequence[Row]:
        """Outbox."""
        self._reach()
        self._news.clear()
        return self.pending[:limit]

    async def mark_published(self, ids: Sequence[int]) -> None:
        """Outbox."""
        self._reach()
        self.pending = [row for row in self.pending if row.id not in ids]

    async def wait(self, timeout_s: float) -> None:
        """Outbox."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def snapshot(self, channel: str) -> State | None:
        """Snapshots."""
        self._reach()
        self.reads.append(channel)
        return self.states.get(channel)

    async def progress(self, channels: Sequence[str]) -> Mapping[str, State]:
        """Progress: every vote is open."""
        self._reach()
        return {channel: self.states[channel] for channel in channels if channel in self.states}

    def _reach(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionResetError("the database is out of reach")


@dataclass(frozen=True)
class Pass:
    """A caller."""

    wallet: str = WALLET
    expires_at_s: int = NOW_S + 3_600


class Passes:
    """Tokens that were issued by the test; a refusal quotes the token, as careless libraries do."""

    def __init__(self, **issued: Pass) -> None:
        self.issued = issued or {"good": Pass()}

    def verify(self, token: str) -> Pass:
        """Tokens."""
        if token not in self.issued:
            raise ValueError(f"unknown token {token}")
        return self.issued[token]


class Browser:
    """A client that keeps everything it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(WAIT_S_MAX):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        self.told.append(message)
        return message

    async def expect(self, *types: str) -> list[dict[str, Any]]:
        """The next messages, which must have these types in this order."""
        messages = [await self.next() for _ in types]
        assert [message["type"] for message in messages] == list(types), messages
        return messages

    async def until(self, **fields: Any) -> dict[str, Any]:
        """Read on to the first message with these fields."""
        while True:
            message = await self.next()
            if fields.items() <= message.items():
                return message

    async def say(self, action: str, **fields: Any) -> None:
        """Send one action."""
        await self.socket.send(json.dumps({"action": action, **fields}))

    async def closed(self) -> tuple[int | None, str | None]:
        """Read to the end; the close code and reason."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        return self.socket.close_code, self.socket.close_reason
