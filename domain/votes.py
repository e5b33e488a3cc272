"""A vote as it is stored, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.ids import MarketId, Wallet
from domain.tally import VoteType


@dataclass(frozen=True, slots=True)
class StoredVote:
    """One row of `vote_records`; `source` is `api` or `chain`, `market_version` that of the commit that took it."""

    vote_id: str
    market_id: MarketId
    wallet: Wallet
    vote_type: VoteType
    choice: bool
    weight: int
    weight_slot: int | None
    source: str
    transaction_signature: str | None
    market_version: int
    created_at: datetime
