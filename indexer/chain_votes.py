"""Votes that were cast on chain: proven by their VoteRecord at finalized, weighed by their position.

An event says only that there was a vote. Counting waits for finality, because a counted vote is not taken back; the
record proves it against whoever knows the webhook's secret and nothing else (C1).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from chain.accounts import ChainAccounts, VoteKey
from domain.commands import RecordChainVote
from domain.ids import MarketId, Wallet
from domain.indexed import StoredEffect
from domain.observed import ObservedPosition, ObservedVote
from domain.tally import VoteType

VOTE_IDS = uuid.UUID("5f4dcc3b-6d2e-5c8f-9a41-7c1f2b9e0d33")
"""The namespace of chain votes' ids; it never changes, or votes would be recorded twice."""
PROPOSAL_WEIGHT = 1


def vote_id(signature: str, market_id: MarketId, wallet: Wallet, vote_type: VoteType) -> str:
    """The id of a vote on chain, the same at every sight of it."""
    return str(uuid.uuid5(VOTE_IDS, f"{signature}:{market_id}:{wallet}:{vote_type.value}"))


class ChainVotes:
    """Makes commands of votes that are final. Raises `ChainUnavailable`."""

    def __init__(self, accounts: ChainAccounts) -> None:
        self._accounts = accounts

    async def commands(self, effects: Sequence[StoredEffect], min_slot: int) -> Mapping[int, RecordChainVote]:
        """By effect id; a vote without a VoteRecord never happened and has no command.

        Positions keep their shares once trading has ended, so what they hold now is what they held at the vote (T8).
        """
        keys = {each.effect_id: _key(each) for each in effects}
        records = await self._accounts.votes(list(dict.fromkeys(keys.values())), min_slot, is_final=True)
        weighed = [(m, w) for m, w, vote_type in records if vote_type is VoteType.DISPUTE]
        positions = await self._accounts.positions(weighed, min_slot, is_final=True) if weighed else {}
        return {
            each.effect_id: _command(each, records[key], positions.get(key[:2]))
            for each in effects
            if (key := keys[each.effect_id]) in records
        }


def _key(stored: StoredEffect) -> VoteKey:
    vote = stored.effect.vote
    assert vote is not None, "only votes come here"
    return stored.effect.market_id, vote.wallet, vote.vote_type


def _command(stored: StoredEffect, record: ObservedVote, position: ObservedPosition | None) -> RecordChainVote:
    market_id, wallet, vote_type = _key(stored)
    assert stored.effect.vote is not None, "only votes come here"
    signature = stored.effect.vote.signature
    is_dispute = vote_type is VoteType.DISPUTE
    shares = position.shares_yes + position.shares_no if position else 0
    return RecordChainVote(
        market_id=market_id,
        vote_id=vote_id(signature, market_id, wallet, vote_type),
        wallet=wallet,
        vote_type=vote_type,
        choice=record.vote,
        weight=shares if is_dispute else PROPOSAL_WEIGHT,
        weight_slot=(position.slot if position else record.slot) if is_dispute else None,
        transaction_signature=signature,
        slot=stored.effect.slot,
        voted_at_s=record.voted_at_s,
    )
