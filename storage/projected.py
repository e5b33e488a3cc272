"""Positions, trades, events and discrepancies as rows and back, for the statements of the indexer's outward half."""

import json
from collections.abc import Callable
from typing import Any

from domain.discrepancies import DiscrepancyPlace, StoredDiscrepancy
from domain.event_listing import EventPlace, IndexedEvent
from domain.feed import position_payload
from domain.positions import Holding, PositionRead, StoredPosition, Trade
from domain.reconciliation import Difference, Suspicion
from storage.codec import Row, printable


def trade_row(trade: Trade) -> tuple[str, ...]:
    """The columns of `add_trades`, in its order."""
    return (
        trade.transaction_signature,
        str(trade.event_index),
        *trade.holding,
        _word(trade.is_buy),
        _word(trade.outcome),
        *(str(number) for number in (trade.shares, trade.amount, trade.new_price_yes, trade.slot, trade.at_s)),
    )


def read_row(read: PositionRead) -> tuple[str, ...]:
    """The columns of `save_positions`, in its order."""
    amounts = (read.shares_yes, read.shares_no, read.total_invested, read.trades_count, read.last_trade_at_s)
    return (
        *read.holding,
        read.pda,
        *(str(amount) for amount in amounts),
        _word(read.has_claimed),
        str(read.claimed_amount),
        str(read.slot),
        json.dumps(position_payload(read)),
    )


def holding_of(row: Row) -> Holding:
    """Which position a row is about."""
    return Holding(row["market_id"], row["user_pubkey"])


def position_of(row: Row) -> StoredPosition:
    """The position in a row of `position_row`."""
    return StoredPosition(
        holding=holding_of(row),
        slot=row["slot"],
        touched_slot=row["touched_slot"],
        shares_yes=row["shares_yes"],
        shares_no=row["shares_no"],
        total_invested=row["total_invested"],
        trades_count=row["trades_count"],
        last_trade_at_s=row["last_trade_at_s"],
        has_claimed=row["has_claimed"],
        claimed_amount=row["claimed_amount"],
        pda=row["pda"],
    )


def event_of(row: Row, read_json: Callable[[str], Any]) -> IndexedEvent:
    """The event in a row of `event_row`."""
    place = (row["block_slot"], row["block_index"], row["transaction_signature"], row["event_index"])
    return IndexedEvent(
        place=EventPlace(*place),
        event_type=row["event_type"],
        market_id=row["market_id"],
        wallet=row["user_pubkey"],
        data=read_json(row["event_data"]),
        timestamp=row["timestamp"],
        commitment=row["commitment"],
    )


def difference_row(difference: Difference) -> tuple[str, ...]:
    """The columns that discrepancies and suspicions share, in their order."""
    return (
        difference.market_id,
        difference.wallet or "",
        difference.field,
        printable(difference.database_value),
        printable(difference.chain_value),
        str(difference.slot),
    )


def suspicion_row(suspicion: Suspicion) -> tuple[str, ...]:
    """The columns of `keep_suspicions`, in its order."""
    return (*difference_row(suspicion.difference), _word(suspicion.reported))


def suspicion_of(row: Row) -> Suspicion:
    """The suspicion in a row."""
    words = (row["field"], row["database_value"], row["chain_value"])
    return Suspicion(
        Difference(row["market_id"], row["user_pubkey"] or None, *words, row["observed_slot"]), row["reported"]
    )


def discrepancy_of(row: Row) -> StoredDiscrepancy:
    """The discrepancy in a row of `list_discrepancies`."""
    return StoredDiscrepancy(
        place=DiscrepancyPlace(row["detected_at_us"], row["id"]),
        market_id=row["market_id"],
        wallet=row["user_pubkey"],
        field=row["field"],
        database_value=row["database_value"],
        chain_value=row["chain_value"],
        slot=row["observed_slot"],
        repaired=row["repaired"],
        detected_at=row["detected_at"],
    )


def _word(flag: bool) -> str:
    return "true" if flag else "false"
