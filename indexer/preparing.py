"""What a log does not tell, read from the chain before anything is written: who lives where, and what was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chain.accounts import ChainAccounts
from domain.ids import MarketId, Wallet
from domain.indexed import (
    ChainVoteSeen,
    EventRecord,
    Finality,
    IndexedTransaction,
    MarketEffect,
    PositionTouched,
)
from domain.tally import VoteType
from indexer.arrivals import Arrival, is_key
from indexer.ports import IndexStore
from indexer.reading import effects_of, read_arrival, unresolved_address

ADDRESSES_KEPT = 100_000
"""Market addresses that are remembered, about 20 MB."""


class Preparer:
    """Makes arrivals ready to be written. Raises `ChainUnavailable` or `OSError`: then the arrivals come back later."""

    def __init__(self, program_id: str, accounts: ChainAccounts, store: IndexStore) -> None:
        self._program_id = program_id
        self._accounts = accounts
        self._store = store
        self._market_ids: dict[Wallet, MarketId] = {}

    async def prepare(self, arrivals: Sequence[Arrival], source: str, finality: Finality) -> list[IndexedTransaction]:
        """Read the logs, name the markets, and look at the accounts where a log was cut off."""
        keys = {arrival.signature: arrival.keys for arrival in arrivals}
        readings = [read_arrival(arrival, self._program_id, source, finality) for arrival in arrivals]
        transactions = await self._named([reading.transaction for reading in readings])
        return [
            await self._completed(transaction, keys[transaction.signature])
            if transaction.is_incomplete
            else replace(transaction, effects=tuple(effects_of(transaction.events)))
            for transaction in transactions
        ]

    async def _named(self, transactions: Sequence[IndexedTransaction]) -> Sequence[IndexedTransaction]:
        """Fill in the market of events that name its address only; one that nobody knows stays without."""
        wanted = {address for t in transactions for event in t.events if (address := unresolved_address(event))}
        if not wanted:
            return transactions
        await self._learn([address for address in wanted if address not in self._market_ids])
        return [replace(t, events=tuple(self._with_market(event) for event in t.events)) for t in transactions]

    def _with_market(self, event: EventRecord) -> EventRecord:
        address = unresolved_address(event)
        return event if address is None else replace(event, market_id=self._market_ids.get(address))

    async def _learn(self, addresses: Sequence[Wallet]) -> None:
        """From our tables, then from the chain, whose answer is kept."""
        if not addresses:
            return
        found = dict(await self._store.market_ids(addresses))
        unknown = [address for address in addresses if address not in found]
        if unknown:
            read = await self._accounts.market_ids(unknown)
            await self._store.learn_addresses(read)
            found |= read
        self._remember(found)

    def _remember(self, found: Mapping[Wallet, MarketId]) -> None:
        if len(self._market_ids) + len(found) > ADDRESSES_KEPT:
            self._market_ids.clear()  # they are a look-up away
        self._market_ids.update(found)

    async def _completed(self, transaction: IndexedTransaction, keys: Sequence[str]) -> IndexedTransaction:
        """What a transaction changed whose log was cut off: no node has more of that log (C3), the accounts have."""
        addresses = [key for key in keys if is_key(key)]
        touched = await self._accounts.touched(addresses, transaction.slot)
        market_ids = {market.pda: market.market_id for market in touched.markets}
        named = {*(position.market for position in touched.positions), *(vote.market for vote in touched.votes)}
        await self._learn([address for address in named if address not in market_ids])
        market_ids = {**self._market_ids, **market_ids}
        seen = dict.fromkeys(market.market_id for market in touched.markets)
        observed = tuple(MarketEffect(market_id, transaction.slot) for market_id in seen)
        votes = tuple(
            MarketEffect(
                market_ids[vote.market],
                transaction.slot,
                ChainVoteSeen(
                    transaction.signature, vote.user, VoteType.DISPUTE if vote.is_dispute else VoteType.PROPOSAL
                ),
            )
            for vote in touched.votes
            if vote.market in market_ids
        )
        positions = tuple(
            PositionTouched(market_ids[position.market], position.user, transaction.slot)
            for position in touched.positions
            if position.market in market_ids
        )
        return replace(transaction, effects=observed + votes, positions=positions)
