"""From a transaction's log to its events as rows: which lines are ours, what they say, whom they name. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from chain.decoder import EVENT_FIELDS, decode_event
from chain.events import ChainEvent, DisputeVoteSubmitted, MarketCancelled, ProposalVoteSubmitted, UndecodableEvent
from chain.logs import ParsedLog, parse_log
from domain.ids import MarketId, Wallet
from domain.indexed import ChainVoteSeen, EventRecord, Finality, IndexedTransaction, MarketEffect
from domain.tally import VoteType
from indexer.arrivals import UNIX_S_MAX, Arrival

UNDECODABLE = "Undecodable"
"""The event_type of an accepted line that is no event we know."""
CUT_OFF = "log cut off"
"""The fault of an event of which the log was lost and the rest of its transaction does not tell all."""
_WALLETS = ("user", "creator", "resolver", "initiator", "approved_by", "cancelled_by", "paused_by", "admin")
"""Fields that name who acted, the first that an event has."""
_VOTES = {ProposalVoteSubmitted.NAME: VoteType.PROPOSAL, DisputeVoteSubmitted.NAME: VoteType.DISPUTE}


@dataclass(frozen=True, slots=True)
class Reading:
    """An arrival as a transaction, with what its log lacks."""

    transaction: IndexedTransaction
    log: ParsedLog


def read_arrival(arrival: Arrival, program_id: str, source: str, finality: Finality) -> Reading:
    """The transaction with its events; a failed one has none (CI 7.2, 2)."""
    log = parse_log(arrival.logs, program_id, has_failed=arrival.err is not None)
    transaction = IndexedTransaction(
        signature=arrival.signature,
        slot=arrival.slot,
        block_index=arrival.block_index,
        block_time_s=arrival.block_time_s,
        err=arrival.err,
        finality=finality,
        source=source,
        events=tuple(record_of(arrival, line.ordinal, line.raw, finality) for line in log.lines),
        is_incomplete=log.is_incomplete,
    )
    return Reading(transaction, log)


def record_of(arrival: Arrival, ordinal: int, raw: bytes, finality: Finality) -> EventRecord:
    """The event in these bytes as a row, or the row of bytes that are none."""
    event = decode_event(raw)
    market_id, wallet, at_s = _names(event)
    data = _fault_json(event) if isinstance(event, UndecodableEvent) else _event_json(event)
    return EventRecord(
        signature=arrival.signature,
        ordinal=ordinal,
        event_hash=event_hash(arrival.signature, ordinal, raw),
        slot=arrival.slot,
        block_index=arrival.block_index,
        block_time_s=arrival.block_time_s,
        event_type=UNDECODABLE if isinstance(event, UndecodableEvent) else event.NAME,
        market_id=market_id,
        wallet=wallet,
        data=data,
        raw=raw,
        fault=event.fault.value if isinstance(event, UndecodableEvent) else None,
        timestamp_s=_timestamp(at_s, arrival.block_time_s),
        finality=finality,
    )


def effects_of(events: tuple[EventRecord, ...]) -> Iterator[MarketEffect]:
    """What markets are to hear of new events: one observation of each market, and every vote, in order."""
    newest: dict[MarketId, int] = {}
    for event in events:
        if event.market_id is not None and event.event_type not in _VOTES:
            newest[event.market_id] = max(event.slot, newest.get(event.market_id, 0))
    for market_id, slot in newest.items():
        yield MarketEffect(market_id, slot)
    for event in events:
        vote_type = _VOTES.get(event.event_type)
        if vote_type is not None and event.market_id is not None and event.wallet is not None:
            yield MarketEffect(event.market_id, event.slot, ChainVoteSeen(event.signature, event.wallet, vote_type))


def unresolved_address(event: EventRecord) -> Wallet | None:
    """The market's address where an event names that instead of the market (CI 7)."""
    return Wallet(event.data["market"]) if event.market_id is None and "market" in event.data else None


def event_hash(signature: str, ordinal: int, raw: bytes) -> str:
    """SHA-256 of signature, ordinal and bytes, hex (T32)."""
    return hashlib.sha256(signature.encode() + ordinal.to_bytes(4, "little") + raw).hexdigest()


def _names(event: ChainEvent | UndecodableEvent) -> tuple[MarketId | None, Wallet | None, int | None]:
    """The market, who acted, and when, as far as the event says."""
    if isinstance(event, UndecodableEvent):
        return None, None, None
    wallet = next((getattr(event, name) for name in _WALLETS if hasattr(event, name)), None)
    return getattr(event, "market_id", None), wallet, getattr(event, "at_s", None)


def _timestamp(at_s: int | None, block_time_s: int | None) -> int:
    """The event's own time where a calendar has it, else its block's (T48); 0 where nobody tells."""
    if at_s is not None and 0 <= at_s <= UNIX_S_MAX:
        return at_s
    return block_time_s or 0


_WIDE = {"Q", "q"}
"""Kinds of 64 bits: decimal text in JSON, because a browser's numbers end at 2^53."""


def _texts(kind: str) -> Callable[[Any], Any]:
    if kind in _WIDE:
        return str
    return _hash_text if kind == "h" else lambda value: value


def _hash_text(raw: bytes) -> str:
    """An IPFS hash is ASCII; whatever else somebody put there is shown as hex."""
    text = raw.decode("ascii", "replace")
    return text if text.isprintable() and "�" not in text else raw.hex()


def _shapes() -> Iterator[tuple[type[ChainEvent], list[tuple[str, str, Callable[[Any], Any]]]]]:
    for build, kinds in EVENT_FIELDS:
        names = [field.name for field in fields(build)]
        time_name = "cancelled_at" if build is MarketCancelled else "timestamp"
        shown = [time_name if name == "at_s" else name for name in names]
        yield build, [(name, as_, _texts(kind)) for name, as_, kind in zip(names, shown, kinds, strict=True)]


_SHAPES = dict(_shapes())


def _event_json(event: ChainEvent) -> Mapping[str, Any]:
    """The event with the program's own names of its fields."""
    return {shown: text(getattr(event, name)) for name, shown, text in _SHAPES[type(event)]}


def _fault_json(event: UndecodableEvent) -> Mapping[str, Any]:
    return {"fault": event.fault.value, "event": event.name, "bytes": len(event.raw)}
