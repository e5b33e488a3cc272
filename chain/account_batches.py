"""Many accounts in one read: markets and positions by the hundred, at confirmed or at finalized (T45)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog
from solders.account import Account
from solders.pubkey import Pubkey

from chain.accounts import ACCOUNTS_MAX, ChainAccounts
from chain.program import UndecodableAccount, ZmartProgram
from domain.ids import MarketId, Wallet
from domain.observed import ObservedMarket
from domain.positions import Holding, PositionRead

T = TypeVar("T")
K = TypeVar("K")
_log = structlog.get_logger(__name__)


class AccountBatches:
    """Reads of up to ACCOUNTS_MAX accounts, all as of one slot. Every method raises `ChainUnavailable`.

    An account that cannot be decoded is left out of the answer and logged: one forged or foreign account must not keep
    the others from being read.
    """

    def __init__(self, accounts: ChainAccounts, program: ZmartProgram) -> None:
        self._accounts = accounts
        self._program = program

    async def markets(
        self, ids: Sequence[MarketId], min_slot: int | None = None, is_final: bool = False
    ) -> tuple[int, Mapping[MarketId, ObservedMarket | None]]:
        """The slot of the read and each market, None where there is no account."""
        addresses = [self._program.market_address(market_id)[0] for market_id in ids]
        slot, accounts = await self._at_once(addresses, min_slot, is_final)

        def market(market_id: MarketId, account: Account | None) -> ObservedMarket | None:
            return None if account is None else self._program.market(market_id, account.data, slot, account.lamports)

        return slot, dict(self._decoded(ids, accounts, market))

    async def positions(
        self, holdings: Sequence[Holding], min_slot: int | None = None, is_final: bool = False
    ) -> tuple[int, Mapping[Holding, PositionRead]]:
        """The slot of the read and each position, all zero where there is no account."""
        markets = {holding: self._program.market_address(holding.market_id)[0] for holding in holdings}
        addresses = [self._program.position_address(markets[holding], holding.wallet)[0] for holding in holdings]
        slot, accounts = await self._at_once(addresses, min_slot, is_final)
        places = dict(zip(holdings, addresses, strict=True))

        def position(holding: Holding, account: Account | None) -> PositionRead:
            empty = PositionRead(holding, slot, Wallet(str(markets[holding])))
            return empty if account is None else self._position(empty, places[holding], account)

        return slot, dict(self._decoded(holdings, accounts, position))

    def _position(self, empty: PositionRead, address: Pubkey, account: Account) -> PositionRead:
        seen = self._program.position(address, account.data, empty.slot)
        return replace(
            empty,
            shares_yes=seen.shares_yes,
            shares_no=seen.shares_no,
            total_invested=seen.total_invested,
            trades_count=seen.trades_count,
            last_trade_at_s=seen.last_trade_at_s,
            has_claimed=seen.has_claimed,
            claimed_amount=seen.claimed_amount,
        )

    async def _at_once(
        self, addresses: Sequence[Pubkey], min_slot: int | None, is_final: bool
    ) -> tuple[int, Sequence[Account | None]]:
        assert 0 < len(addresses) <= ACCOUNTS_MAX, "one question, so that one slot holds for all"
        read = await self._accounts.read(addresses, min_slot, is_final)
        return read[0][1], [account for account, _ in read]

    def _decoded(
        self,
        keys: Sequence[K],
        accounts: Sequence[Account | None],
        decode: Callable[[K, Account | None], T],
    ) -> Iterator[tuple[K, T]]:
        for key, account in zip(keys, accounts, strict=True):
            try:
                yield key, decode(key, account)
            except UndecodableAccount as fault:
                _log.warning("account.undecodable", address=fault.address, fault=fault.fault)
