"""What a log does not tell, read from the chain before anything is written: who lives where, and what was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from chain.accounts import ChainAccounts
from chain.rpc import ChainUnavailable, RpcRefused
from domain.ids import MarketId, Wallet
from domain.indexed import EventRecord, Finality, IndexedTransaction
from indexer.arrivals import Arrival
from indexer.cut_logs import CutLogs
from indexer.ports import IndexStore
from indexer.reading import effects_of, read_arrival, unresolved_address

ADDRESSES_KEPT = 100_000
"""Market addresses that are remembered, about 20 MB."""

log = structlog.get_logger("indexer")


class Preparer:
    """Makes arrivals ready to be written. Raises `ChainUnavailable` or `OSError`: then the arrivals come back later."""

    def __init__(self, program_id: str, accounts: ChainAccounts, store: IndexStore) -> None:
        self._program_id = program_id
        self._accounts = accounts
        self._store = store
        self._cut_logs = CutLogs(program_id, accounts, store)
        self._market_ids: dict[Wallet, MarketId] = {}

    async def prepare(
        self, arrivals: Sequence[Arrival], source: str, finality: Finality, *, puts_off: bool = False
    ) -> list[IndexedTransaction]:
        """Read the logs, make good those that were cut off, and name the markets.

        With `puts_off` a cut-off log whose accounts nobody can show waits, and holds up no other.
        """
        by_signature = {arrival.signature: arrival for arrival in arrivals}
        read = [read_arrival(arrival, self._program_id, source, finality).transaction for arrival in arrivals]
        whole = [
            await self._completed(transaction, by_signature[transaction.signature], puts_off)
            if transaction.is_incomplete
            else transaction
            for transaction in read
        ]
        return [t if t.effects else replace(t, effects=tuple(effects_of(t.events))) for t in await self._named(whole)]

    async def _completed(self, transaction: IndexedTransaction, arrival: Arrival, puts_off: bool) -> IndexedTransaction:
        try:
            return await self._cut_logs.completed(transaction, arrival)
        except (ChainUnavailable, RpcRefused) as outage:
            if not puts_off:
                raise
            log.warning("cut_log.waits", signature=transaction.signature, error=str(outage))
            return replace(transaction, is_waiting=True)

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
