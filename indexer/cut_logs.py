"""Makes good what a cut-off log does not say: from the instructions where that is exact, else from the accounts (C3).

No node has more of such a log. Our own calls, from within others too, are in the transaction all the same, one for each
event; a call whose event cannot be told exactly becomes a row of its own kind with a fault and the call's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chain.accounts import ChainAccounts, Touched
from chain.calls import Call, read_call
from chain.decoder import decode_event, encode_event
from chain.errors import Build
from chain.events import ChainEvent, SharesBought, SharesSold
from domain.ids import MarketId, Wallet
from domain.indexed import ChainVoteSeen, EventRecord, IndexedTransaction, MarketEffect, PositionTouched
from domain.observed import ObservedMarket, ObservedPosition, ObservedVote
from domain.tally import VoteType
from indexer.arrivals import Arrival, is_key
from indexer.cut_trades import TradeCall, TradeFound, find_trades
from indexer.deriving import Evidence, derived
from indexer.frames import Frames, frames_of
from indexer.ports import IndexStore
from indexer.reading import CUT_OFF, event_hash, record_of

_TRADES = ("buy_shares", "sell_shares")
_ACTORS = ("user", "resolver", "initiator", "creator", "authority", "admin", "backend_authority")


class CutLogs:
    """Raises `ChainUnavailable` or `OSError`: then the transaction comes back later."""

    def __init__(self, program_id: str, accounts: ChainAccounts, store: IndexStore) -> None:
        self._program_id = program_id
        self._accounts = accounts
        self._store = store

    async def completed(self, transaction: IndexedTransaction, arrival: Arrival) -> IndexedTransaction:
        """The transaction with all its events; `is_waiting` where others that are not written yet would tell more."""
        touched = await self._accounts.touched([key for key in arrival.keys if is_key(key)], transaction.slot)
        frames = frames_of(arrival, self._program_id)
        calls = _calls(frames, transaction, self._program_id)
        if frames is None or calls is None:
            return await self._by_accounts(transaction, touched)
        look = _Look(transaction, frames, calls, touched)
        trades: dict[int, TradeFound] = {}
        for market in look.traded_markets():
            trades |= await self._found(look, market)
        events = _events(arrival, look, trades, self._accounts.build)
        is_waiting = any(call.name in _TRADES and i not in trades for i, call in look.unlogged())
        return replace(transaction, events=events, is_waiting=is_waiting)

    async def _found(self, look: _Look, market: ObservedMarket) -> Mapping[int, TradeFound]:
        trades = look.trades_of(market)
        users = list(dict.fromkeys(Wallet(trade.user) for trade in trades))
        others = await self._store.trades_around(market.market_id, users, look.transaction, market.slot)
        return find_trades(trades, market, look.positions_in(market), others, look.frames)

    async def _by_accounts(self, transaction: IndexedTransaction, touched: Touched) -> IndexedTransaction:
        """What the accounts that it names show now, for a transaction whose calls cannot be read."""
        ids = {market.pda: market.market_id for market in touched.markets}
        named = {*(position.market for position in touched.positions), *(vote.market for vote in touched.votes)}
        ids |= await self._accounts.market_ids(sorted(named - ids.keys())) if named - ids.keys() else {}
        slot = transaction.slot
        observed = tuple(MarketEffect(market_id, slot) for market_id in dict.fromkeys(ids.values()))
        votes = tuple(
            MarketEffect(ids[vote.market], slot, _seen(transaction.signature, vote))
            for vote in touched.votes
            if vote.market in ids
        )
        positions = tuple(
            PositionTouched(ids[position.market], position.user, slot)
            for position in touched.positions
            if position.market in ids
        )
        return replace(transaction, effects=observed + votes, positions=positions)


def _seen(signature: str, vote: ObservedVote) -> ChainVoteSeen:
    return ChainVoteSeen(signature, vote.user, VoteType.DISPUTE if vote.is_dispute else VoteType.PROPOSAL)


@dataclass(frozen=True, slots=True)
class _Look:
    """One transaction, its calls in order, and what its accounts show now."""

    transaction: IndexedTransaction
    frames: Frames
    calls: Sequence[Call]
    touched: Touched

    @property
    def markets(self) -> Mapping[str, ObservedMarket]:
        return {market.pda: market for market in self.touched.markets}

    @property
    def positions(self) -> Mapping[tuple[str, str], ObservedPosition]:
        return {(position.market, position.user): position for position in self.touched.positions}

    def unlogged(self) -> list[tuple[int, Call]]:
        """Calls behind the cut, with the ordinals of their events."""
        logged = len(self.transaction.events)
        return list(enumerate(self.calls))[logged:]

    def traded_markets(self) -> list[ObservedMarket]:
        """Markets with a trade behind the cut."""
        addresses = dict.fromkeys(call.accounts["market"] for _, call in self.unlogged() if call.name in _TRADES)
        return [market for address in addresses if (market := self.markets.get(address)) is not None]

    def trades_of(self, market: ObservedMarket) -> list[TradeCall]:
        """All trades of the market in this transaction."""
        logged = {event.ordinal: decode_event(event.raw) for event in self.transaction.events}
        return [
            TradeCall(ordinal, call, event if isinstance(event, SharesBought | SharesSold) else None)
            for ordinal, call in enumerate(self.calls)
            if call.name in _TRADES and call.accounts["market"] == market.pda
            for event in [logged.get(ordinal)]
        ]

    def positions_in(self, market: ObservedMarket) -> dict[str, ObservedPosition]:
        """The market's positions among its accounts, by user."""
        return {user: position for (address, user), position in self.positions.items() if address == market.pda}


def _calls(frames: Frames | None, transaction: IndexedTransaction, program_id: str) -> Sequence[Call] | None:
    """Our own calls in order; None where one cannot be read, or they are not what the log says before the cut."""
    if frames is None:
        return None
    read = [read_call(frame.data, frame.accounts) for frame in frames.ran if frame.program == program_id]
    calls = [call for call in read if call is not None]
    logged = [event.event_type for event in transaction.events]
    if len(calls) < len(read) or [call.event for call in calls[: len(logged)]] != logged:
        return None
    return calls


def _events(arrival: Arrival, look: _Look, trades: Mapping[int, TradeFound], build: Build) -> tuple[EventRecord, ...]:
    """What the log has, and behind it what the calls tell."""
    transaction, found = look.transaction, list(look.transaction.events)
    seen = Evidence(arrival.block_time_s or 0, look.frames, look.markets, look.positions, trades, build)
    for ordinal, call in look.unlogged():
        event = None if arrival.block_time_s is None else derived(call, ordinal, seen)
        if event is None:
            found.append(_faulty(arrival, ordinal, call, look))
        else:
            found.append(_record(arrival, ordinal, event, transaction))
    return tuple(found)


def _record(arrival: Arrival, ordinal: int, event: ChainEvent, transaction: IndexedTransaction) -> EventRecord:
    return record_of(arrival, ordinal, encode_event(event), transaction.finality)


def _faulty(arrival: Arrival, ordinal: int, call: Call, look: _Look) -> EventRecord:
    """That there was such an event, with the call's bytes and what nobody can say kept out."""
    market = look.markets.get(call.accounts.get("market", ""))
    actor = next(Wallet(call.accounts[name]) for name in _ACTORS if name in call.accounts)
    return EventRecord(
        signature=arrival.signature,
        ordinal=ordinal,
        event_hash=event_hash(arrival.signature, ordinal, call.data),
        slot=arrival.slot,
        block_index=arrival.block_index,
        block_time_s=arrival.block_time_s,
        event_type=call.event,
        market_id=_market_id(call, market),
        wallet=actor,
        data={"fault": CUT_OFF, "event": call.event, "instruction": call.name, "arguments": _texts(call)},
        raw=call.data,
        fault=CUT_OFF,
        timestamp_s=arrival.block_time_s or 0,
        finality=look.transaction.finality,
    )


def _texts(call: Call) -> list[str | bool | None]:
    """Arguments in the program's order; numbers as text, because a browser's end at 2^53, and a hash as hex."""
    shown = [arg.hex() if isinstance(arg, bytes) else arg for arg in call.args]
    return [arg if arg is None or isinstance(arg, bool) else str(arg) for arg in shown]


def _market_id(call: Call, market: ObservedMarket | None) -> MarketId | None:
    if market is not None:
        return market.market_id
    return MarketId(call.args[0]) if call.name == "create_market" else None
