"""The indexer's values as rows and back; rows are what the statements of `queries.sql` name."""

import json
from collections.abc import Mapping
from typing import Any

from domain.indexed import (
    ChainVoteSeen,
    DeadLetter,
    EventRecord,
    Finality,
    InboxBody,
    IndexedTransaction,
    LetterKind,
    MarketEffect,
    StoredEffect,
    WantedTransaction,
)
from domain.tally import VoteType
from storage.bodies import unpacked
from storage.codec import printable

Row = Mapping[str, Any]
ERROR_CHARS_MAX = 500


def words(error: str) -> str:
    """An error's words as a row can hold them: short, and without what is no Unicode text."""
    return printable(error[:ERROR_CHARS_MAX].encode("utf-8", "replace").decode())


def transaction_row(transaction: IndexedTransaction) -> tuple[str | None, ...]:
    """The columns of `take_transactions`, in its order."""
    return (
        transaction.signature,
        str(transaction.slot),
        _number(transaction.block_index),
        _number(transaction.block_time_s),
        None if transaction.err is None else words(transaction.err),
        transaction.finality.value,
        transaction.source,
        str(len(transaction.events)),
        "true" if transaction.is_incomplete else "false",
    )


def event_row(event: EventRecord) -> tuple[str | None, ...]:
    """The columns of `take_events`, in its order."""
    return (
        event.signature,
        str(event.ordinal),
        event.event_hash,
        str(event.slot),
        _number(event.block_index),
        _number(event.block_time_s),
        event.event_type,
        event.market_id,
        event.wallet,
        json.dumps(event.data),
        event.raw.hex(),
        event.fault,
        event.finality.value,
        str(event.timestamp_s),
    )


def event_of(row: Row) -> EventRecord:
    """The event in a row."""
    return EventRecord(
        signature=row["transaction_signature"],
        ordinal=row["event_index"],
        event_hash=row["event_hash"],
        slot=row["block_slot"],
        block_index=row["block_index"],
        block_time_s=row["block_time_s"],
        event_type=row["event_type"],
        market_id=row["market_id"],
        wallet=row["user_pubkey"],
        data=json.loads(row["event_data"]),
        raw=row["raw"],
        fault=row["fault"],
        timestamp_s=row["timestamp_s"],
        finality=Finality(row["commitment"]),
    )


def wanted_row(wanted: WantedTransaction) -> tuple[str | None, ...]:
    """The columns of `want_transactions`, in its order."""
    return wanted.signature, _number(wanted.slot), wanted.source


def wanted_of(row: Row) -> WantedTransaction:
    """The signature in a row of `lease_wanted`."""
    return WantedTransaction(row["signature"], row["slot"], row["source"], row["attempts"], row["age_s"])


def body_of(row: Row) -> InboxBody:
    """The body in a row of `lease_bodies`."""
    return InboxBody(row["id"], row["source"], unpacked(row["body"]), row["attempts"], row["traceparent"])


def effect_row(effect: MarketEffect) -> tuple[str | None, ...]:
    """The columns of `add_effects`, in its order."""
    vote = effect.vote
    named = (None, None, None) if vote is None else (vote.signature, vote.wallet, vote.vote_type.value)
    return effect.market_id, str(effect.slot), *named


def effect_of(row: Row) -> StoredEffect:
    """The effect in a row of `lease_effects`."""
    vote = None
    if row["transaction_signature"] is not None:
        vote = ChainVoteSeen(row["transaction_signature"], row["user_pubkey"], VoteType(row["vote_type"]))
    return StoredEffect(row["id"], MarketEffect(row["market_id"], row["slot"], vote), row["attempts"])


def effect_body(effect: MarketEffect) -> bytes:
    """An effect as the body of a dead letter."""
    return json.dumps(effect_row(effect)).encode()


def effect_of_body(body: bytes) -> MarketEffect:
    """The reverse of `effect_body`."""
    market_id, slot, signature, wallet, vote_type = json.loads(body)
    vote = None if signature is None else ChainVoteSeen(signature, wallet, VoteType(vote_type))
    return MarketEffect(market_id, int(slot), vote)


def letter_of(row: Row) -> DeadLetter:
    """The dead letter in a row."""
    return DeadLetter(row["id"], LetterKind(row["kind"]), unpacked(row["body"]), row["error"], row["created_at"])


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)
