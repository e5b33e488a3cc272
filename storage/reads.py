"""Markets as they were last committed, for whoever shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.deadlines import Deadline
from domain.feed import market_channel, position_payload, snapshot_payload, votes_channel
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig
from domain.positions import StoredPosition
from storage import codec, projected
from storage.database import Database

PAGE_MAX = 1000
"""Rows of one answer; the API's own limit is lower."""
POSITIONS_MAX = 500
"""Positions in one snapshot: 120 KB, half of what a slow connection may have waiting."""


@dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """The state of one channel and its place in the feed, from one read of one row."""

    epoch: str
    seq: int
    market: Market

    @property
    def payload(self) -> Mapping[str, Any]:
        """The state in JSON values."""
        return snapshot_payload(self.market)


@dataclass(frozen=True, slots=True)
class PositionsSnapshot:
    """What a wallet holds and its channel's place in the feed, as of one moment."""

    epoch: str
    seq: int
    positions: Sequence[StoredPosition]
    is_whole: bool
    """False where there are more than `POSITIONS_MAX`, the newest trades first."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """The state in JSON values."""
        return {"positions": [position_payload(each) for each in self.positions], "is_whole": self.is_whole}


class MarketReads:
    """Reads through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, market_id: MarketId) -> tuple[Market, Deadline | None] | None:
        """One market with its next deadline, None when it is not known here."""
        rows = await self._database.fetch("load_markets", [market_id])
        return _with_deadline(rows[0]) if rows else None

    async def list(
        self, state: Lifecycle | None, after: tuple[int, MarketId] | None, limit: int
    ) -> Sequence[tuple[Market, Deadline | None]]:
        """Up to `limit` markets right after (created_at_s, market_id), newest first, of one state or of all."""
        created_at_s, market_id = after or (None, None)
        wanted = (state.name if state is not None else None, created_at_s, market_id, min(limit, PAGE_MAX))
        return [_with_deadline(row) for row in await self._database.fetch("list_markets", *wanted)]

    async def snapshot(self, channel: str) -> ChannelSnapshot | PositionsSnapshot | None:
        """The state behind a channel; None for a market or a kind that is not known here."""
        kind, _, market_id = channel.partition("_")
        if kind == "user":
            return await self._positions(Wallet(market_id.removesuffix("_positions")))
        name = {"market": market_channel, "votes": votes_channel}.get(kind)
        rows = await self._database.fetch("snapshot", market_id) if name else []
        if not rows:
            return None
        market = codec.market_of(rows[0])
        seq = market.market_seq if kind == "market" else market.votes_seq
        return ChannelSnapshot(rows[0]["epoch"], seq, market)

    async def _positions(self, wallet: Wallet) -> PositionsSnapshot:
        rows = await self._database.fetch("positions_snapshot", wallet, POSITIONS_MAX + 1)
        held = [projected.position_of(row) for row in rows if row["market_id"] is not None]
        is_whole = len(held) <= POSITIONS_MAX
        return PositionsSnapshot(rows[0]["epoch"], rows[0]["seq"], held[:POSITIONS_MAX], is_whole)

    async def many(self, market_ids: Sequence[str]) -> Sequence[tuple[str, Market]]:
        """The stored history's name and a market, for each that is known here."""
        rows = await self._database.fetch("load_standings", list(market_ids))
        return [(row["epoch"], codec.market_of(row)) for row in rows]

    async def config(self) -> ChainConfig | None:
        """The last GlobalConfig that was read, None before the first."""
        rows = await self._database.fetch("chain_config")
        return codec.config_of(rows[0]) if rows else None


def _with_deadline(row: codec.Row) -> tuple[Market, Deadline | None]:
    return codec.market_of(row), codec.deadline_of(row)
