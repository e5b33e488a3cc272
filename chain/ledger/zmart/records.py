"""zmart_core's accounts byte for byte (CI 4): discriminator, Borsh fields, and the slack the program allocates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from chain.ledger.borsh import BOOL, HASH, I64, KEY, U8, U16, U32, U64, BorshError, Kind, Layout, fixed, optional

DISCRIMINATOR_BYTES = 8

PROPOSAL_VOTE, DISPUTE_VOTE = range(2)
PROPOSED, APPROVED, ACTIVE, RESOLVING, DISPUTED, FINALIZED, CANCELLED = range(7)


def discriminator(space: str, name: str) -> bytes:
    """Anchor's tag: the first 8 bytes of sha256("space:name"); the spaces are account, event and global."""
    return hashlib.sha256(f"{space}:{name}".encode()).digest()[:DISCRIMINATOR_BYTES]


def stored(kind: Kind) -> Any:
    """A field of an account, zero when the account is created."""
    return field(default=kind.zero, metadata={"kind": kind})


@dataclass(slots=True)
class Record:
    """One account type; subclasses list their fields in byte order."""

    NAME: ClassVar[str]
    ALLOCATED_BYTES: ClassVar[int]

    @classmethod
    def tag(cls) -> bytes:
        """The account type's eight-byte discriminator."""
        return _tags[cls.NAME]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Decode account data after its discriminator; slack is ignored. Raises `BorshError`."""
        values, _ = _layout(cls).decode(data[DISCRIMINATOR_BYTES:])
        return cls(*values)

    def write_over(self, data: bytes) -> bytes:
        """The account's new data: the fields over the old bytes; what lies behind them stays, as Anchor leaves it."""
        body = self.tag() + _layout(type(self)).encode([getattr(self, item.name) for item in fields(self)])
        if len(body) > len(data):
            raise BorshError(f"{self.NAME} takes {len(body)} bytes of {len(data)}")
        return body + data[len(body) :]


@dataclass(slots=True)
class GlobalConfig(Record):
    """The protocol's settings; defaults are those `initialize_global_config` writes (CI 4.1)."""

    NAME: ClassVar[str] = "GlobalConfig"
    ALLOCATED_BYTES: ClassVar[int] = 206

    admin: bytes = stored(KEY)
    backend_authority: bytes = stored(KEY)
    protocol_fee_wallet: bytes = stored(KEY)
    protocol_fee_bps: int = stored(U16)
    resolver_reward_bps: int = stored(U16)
    liquidity_provider_fee_bps: int = stored(U16)
    proposal_approval_threshold: int = stored(U16)
    dispute_success_threshold: int = stored(U16)
    min_resolution_delay: int = stored(I64)
    dispute_period: int = stored(I64)
    min_resolver_reputation: int = stored(U16)
    is_paused: bool = stored(BOOL)
    reserved: bytes = stored(fixed(64))
    bump: int = stored(U8)


@dataclass(slots=True)
class Market(Record):
    """One market (CI 4.2); three Options make its Borsh length 473 to 483 of the 488 bytes."""

    NAME: ClassVar[str] = "MarketAccount"
    ALLOCATED_BYTES: ClassVar[int] = 488

    market_id: bytes = stored(KEY)
    creator: bytes = stored(KEY)
    state: int = stored(U8)
    b_parameter: int = stored(U64)
    initial_liquidity: int = stored(U64)
    current_liquidity: int = stored(U64)
    shares_yes: int = stored(U64)
    shares_no: int = stored(U64)
    total_volume: int = stored(U64)
    created_at: int = stored(I64)
    approved_at: int = stored(I64)
    activated_at: int = stored(I64)
    resolution_proposed_at: int = stored(I64)
    resolved_at: int = stored(I64)
    finalized_at: int = stored(I64)
    resolver: bytes = stored(KEY)
    proposed_outcome: bool | None = stored(optional(BOOL))
    final_outcome: bool | None = stored(optional(BOOL))
    ipfs_evidence_hash: bytes = stored(HASH)
    dispute_initiated_at: int = stored(I64)
    dispute_initiator: bytes = stored(KEY)
    accumulated_protocol_fees: int = stored(U64)
    accumulated_resolver_fees: int = stored(U64)
    accumulated_lp_fees: int = stored(U64)
    proposal_likes: int = stored(U32)
    proposal_dislikes: int = stored(U32)
    proposal_total_votes: int = stored(U32)
    resolution_agree: int = stored(U32)
    resolution_disagree: int = stored(U32)
    resolution_total_votes: int = stored(U32)
    dispute_agree: int = stored(U32)
    dispute_disagree: int = stored(U32)
    dispute_total_votes: int = stored(U32)
    was_disputed: bool = stored(BOOL)
    is_cancelled: bool = stored(BOOL)
    cancelled_at: int | None = stored(optional(I64))
    is_locked: bool = stored(BOOL)
    reserved: bytes = stored(fixed(119))
    bump: int = stored(U8)


@dataclass(slots=True)
class Position(Record):
    """One user's shares in one market (CI 4.3)."""

    NAME: ClassVar[str] = "UserPosition"
    ALLOCATED_BYTES: ClassVar[int] = 182

    market: bytes = stored(KEY)
    user: bytes = stored(KEY)
    shares_yes: int = stored(U64)
    shares_no: int = stored(U64)
    total_invested: int = stored(U64)
    trades_count: int = stored(U32)
    last_trade_at: int = stored(I64)
    has_claimed: bool = stored(BOOL)
    claimed_amount: int = stored(U64)
    reserved: bytes = stored(fixed(64))
    bump: int = stored(U8)


@dataclass(slots=True)
class VoteRecord(Record):
    """One wallet's vote of one type on one market (CI 4.4); it is never closed."""

    NAME: ClassVar[str] = "VoteRecord"
    ALLOCATED_BYTES: ClassVar[int] = 83

    market: bytes = stored(KEY)
    user: bytes = stored(KEY)
    vote_type: int = stored(U8)
    vote: bool = stored(BOOL)
    voted_at: int = stored(I64)
    bump: int = stored(U8)


_RECORDS: tuple[type[Record], ...] = (GlobalConfig, Market, Position, VoteRecord)
_tags = {record.NAME: discriminator("account", record.NAME) for record in _RECORDS}
_layouts = {record.NAME: Layout([item.metadata["kind"] for item in fields(record)]) for record in _RECORDS}


def _layout(record: type[Record]) -> Layout:
    return _layouts[record.NAME]
