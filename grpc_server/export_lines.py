"""The lines of an export (format zmart.votes.v1): canonical JSON, so that no byte of a line can change unseen.

The lines are made here and stored by whoever asks as they came, so there is one place that knows how they are spelled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from domain.market import Market
from domain.tally import word_of
from domain.votelog import Aggregation, LoggedVote, leaf_of
from identity import Receipt

FORMAT = "zmart.votes.v1"


def header(market: Market, program_id: str, exported_at_ms: int, receipt_keys: Mapping[str, bytes]) -> bytes:
    """The first line: what is exported, and the public keys of its receipts."""
    return _line(
        kind="header",
        format=FORMAT,
        market_id=market.market_id,
        pda=market.pda,
        program_id=program_id,
        exported_at_ms=exported_at_ms,
        receipt_keys={key_id: key.hex() for key_id, key in receipt_keys.items()},
    )


def vote(vote: LoggedVote, sequence: int | None = None, receipt: Receipt | None = None) -> bytes:
    """One vote; a late one has neither sequence nor receipt, and one that we cannot vouch for has no receipt."""
    entry = vote.entry
    return _line(
        kind="vote",
        market_id=entry.market_id,
        vote_type=entry.vote_type.value,
        wallet=entry.wallet,
        vote=word_of(entry.vote_type, entry.choice),
        weight=str(entry.weight),
        weight_slot=None if entry.weight_slot is None else str(entry.weight_slot),
        source=entry.source,
        transaction_signature=entry.transaction_signature,
        vote_id=entry.vote_id,
        accepted_at_ms=entry.accepted_at_ms,
        market_version=entry.market_version,
        wallet_signature=entry.wallet_signature,
        sequence=sequence,
        standing=vote.fate.value,
        leaf_hash=leaf_of(entry).hex(),
        receipt=_receipt(receipt) if receipt else None,
    )


def aggregation(row: Aggregation) -> bytes:
    """What was published of the votes, and what was sent on chain for them."""
    return _line(
        kind="aggregation",
        aggregation_id=row.aggregation_id,
        vote_type=row.vote_type.value,
        votes_size=row.votes_size,
        votes_root=row.votes_root,
        yes_votes=str(row.yes_votes),
        no_votes=str(row.no_votes),
        submitted_yes=row.submitted_yes,
        submitted_no=row.submitted_no,
        percentage_bps=row.percentage_bps,
        threshold_bps=row.threshold_bps,
        threshold_met=row.threshold_met,
        status=row.status,
        reason=row.reason,
        synthetic=row.is_synthetic,
        transaction_signature=row.transaction_signature,
    )


def end(votes: int, late: int, aggregations: int) -> bytes:
    """The last line, without which an export is not whole."""
    return _line(kind="end", votes=votes, late=late, aggregations=aggregations)


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "sequence": receipt.sequence,
        "leaf_hash": receipt.leaf_hash.hex(),
        "batch_index": receipt.batch_index,
        "batch_size": receipt.seal.size,
        "batch_path": [step.hex() for step in receipt.batch_path],
        "key_id": receipt.seal.key_id,
        "signature": receipt.seal.signature.hex(),
    }


def _line(**values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
