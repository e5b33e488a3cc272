"""Many accounts of the program in few questions: markets, positions and votes, at confirmed or finalized."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from solders.account import Account
from solders.account_decoder import UiAccountEncoding
from solders.commitment_config import CommitmentLevel
from solders.pubkey import Pubkey
from solders.rpc.config import RpcAccountInfoConfig
from solders.rpc.requests import GetMultipleAccounts
from solders.rpc.responses import GetMultipleAccountsResp

from chain.errors import Build
from chain.program import DISPUTE_VOTE, PROPOSAL_VOTE, UndecodableAccount, ZmartProgram
from chain.rpc import Asking
from domain.ids import MarketId, Wallet, base58_encode
from domain.observed import ObservedMarket, ObservedPosition, ObservedVote
from domain.tally import VoteType

ACCOUNTS_MAX = 100
"""Accounts in one question, the node's own limit."""
_MARKET_ID = slice(8, 40)
"""Where a MarketAccount has its market_id (CI 4.2)."""
_VOTE_TYPES = {VoteType.PROPOSAL: PROPOSAL_VOTE, VoteType.DISPUTE: DISPUTE_VOTE}

_log = structlog.get_logger(__name__)

PositionKey = tuple[MarketId, Wallet]
VoteKey = tuple[MarketId, Wallet, VoteType]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Touched:
    """The accounts of the program among some addresses."""

    markets: list[ObservedMarket] = field(default_factory=list)
    positions: list[ObservedPosition] = field(default_factory=list)
    votes: list[ObservedVote] = field(default_factory=list)


class ChainAccounts:
    """Reads by the hundred. Every method raises `ChainUnavailable`; what is absent or no record of ours is left out.

    `min_slot` makes a node that is behind refuse, so that no answer is older than what was asked about.
    """

    def __init__(self, rpc: Asking, program: ZmartProgram) -> None:
        self._rpc = rpc
        self._program = program

    @property
    def build(self) -> Build:
        """Which build of the program this is, as its interface definition says."""
        return self._program.interface.build

    async def markets(
        self, market_ids: Sequence[MarketId], min_slot: int | None = None, is_final: bool = False
    ) -> Mapping[MarketId, ObservedMarket]:
        """The markets that exist, by id."""
        addresses = [self._program.market_address(market_id)[0] for market_id in market_ids]

        def decode(market_id: MarketId, _: Pubkey, account: Account, slot: int) -> ObservedMarket:
            return self._program.market(market_id, account.data, slot, account.lamports)

        return await self._decoded(market_ids, addresses, decode, min_slot, is_final)

    async def positions(
        self, keys: Sequence[PositionKey], min_slot: int | None = None, is_final: bool = False
    ) -> Mapping[PositionKey, ObservedPosition]:
        """The positions that exist, by market and user."""
        addresses = [self._position_address(market_id, user) for market_id, user in keys]

        def decode(_: PositionKey, address: Pubkey, account: Account, slot: int) -> ObservedPosition:
            return self._program.position(address, account.data, slot)

        return await self._decoded(keys, addresses, decode, min_slot, is_final)

    async def votes(
        self, keys: Sequence[VoteKey], min_slot: int | None = None, is_final: bool = False
    ) -> Mapping[VoteKey, ObservedVote]:
        """The VoteRecords that exist, by market, voter and type."""
        addresses = [self._vote_address(*key) for key in keys]

        def decode(_: VoteKey, address: Pubkey, account: Account, slot: int) -> ObservedVote:
            return self._program.vote(address, account.data, slot)

        return await self._decoded(keys, addresses, decode, min_slot, is_final)

    async def market_ids(self, addresses: Sequence[Wallet]) -> Mapping[Wallet, MarketId]:
        """Which market lives at each address, for those where one does."""
        read = await self.read([Pubkey.from_string(address) for address in addresses], None, False)
        found: dict[Wallet, MarketId] = {}
        for address, (account, slot) in zip(addresses, read, strict=True):
            market = self._market_at(account, slot)
            if market is not None and market.pda == address:
                found[address] = market.market_id
        return found

    async def touched(self, addresses: Sequence[str], min_slot: int) -> Touched:
        """Every market, position and vote among these addresses, as of `min_slot` or later."""
        touched = Touched()
        keys = [Pubkey.from_string(address) for address in addresses]
        for address, (account, slot) in zip(keys, await self.read(keys, min_slot, False), strict=True):
            if account is not None:
                self._sort_in(touched, address, account, slot)
        return touched

    async def _decoded(
        self,
        keys: Sequence[K],
        addresses: Sequence[Pubkey],
        decode: Callable[[K, Pubkey, Account, int], V],
        min_slot: int | None,
        is_final: bool,
    ) -> Mapping[K, V]:
        """What is decoded of each address, by its key; what cannot be is logged."""
        found: dict[K, V] = {}
        read = await self.read(addresses, min_slot, is_final)
        for key, address, (account, slot) in zip(keys, addresses, read, strict=True):
            if account is None:
                continue
            try:
                found[key] = decode(key, address, account, slot)
            except UndecodableAccount as fault:
                _log.error("account.undecodable", address=fault.address, fault=fault.fault)
        return found

    def _sort_in(self, touched: Touched, address: Pubkey, account: Account, slot: int) -> None:
        """Try the three kinds; their discriminators keep them apart."""
        market = self._market_at(account, slot)
        if market is not None:
            touched.markets.append(market)
            return
        try:
            touched.positions.append(self._program.position(address, account.data, slot))
        except UndecodableAccount:
            try:
                touched.votes.append(self._program.vote(address, account.data, slot))
            except UndecodableAccount:
                return  # GlobalConfig, which the desk reads by itself

    def _market_at(self, account: Account | None, slot: int) -> ObservedMarket | None:
        if account is None:
            return None
        try:
            market_id = MarketId(base58_encode(account.data[_MARKET_ID]))
            return self._program.market(market_id, account.data, slot, account.lamports)
        except UndecodableAccount:
            return None

    def _position_address(self, market_id: MarketId, user: Wallet) -> Pubkey:
        return self._program.position_address(self._program.market_address(market_id)[0], user)[0]

    def _vote_address(self, market_id: MarketId, voter: Wallet, vote_type: VoteType) -> Pubkey:
        market = self._program.market_address(market_id)[0]
        return self._program.vote_address(market, voter, _VOTE_TYPES[vote_type])[0]

    async def read(
        self, addresses: Sequence[Pubkey], min_slot: int | None, is_final: bool
    ) -> list[tuple[Account | None, int]]:
        """Each account of the program with the slot it was read at; None for what is absent or another program's."""
        commitment = CommitmentLevel.Finalized if is_final else CommitmentLevel.Confirmed
        config = RpcAccountInfoConfig(
            encoding=UiAccountEncoding.Base64, commitment=commitment, min_context_slot=min_slot
        )
        parts = [addresses[start : start + ACCOUNTS_MAX] for start in range(0, len(addresses), ACCOUNTS_MAX)]
        answers = await asyncio.gather(
            *(self._rpc.ask(GetMultipleAccounts(part, config), GetMultipleAccountsResp) for part in parts)
        )
        return [
            (
                account if account is not None and account.owner == self._program.program_id else None,
                answer.context.slot,
            )
            for answer in answers
            for account in answer.value
        ]
