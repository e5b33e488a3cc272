"""Proofs that a vote stands in its market's log, against a root that was published or the log as it is."""

from __future__ import annotations

from typing import NamedTuple

from domain.ids import MarketId, Wallet
from domain.market import Market
from domain.tally import VoteType
from domain.votelog import Fate, LogEntry, LoggedVote, leaf_of
from grpc_server.adoption import Adoption
from grpc_server.altered import AlteredVotes
from grpc_server.log_trees import LogTrees
from grpc_server.ports import VoteLog
from grpc_server.problems import AggregationNotFound, Rejected, VoteNotFound
from grpc_server.receipts import ReceiptDesk
from identity import LogPlace, Receipt


class ProofWanted(NamedTuple):
    """A vote by its id, or by type and wallet (the one that counts); an aggregation's id or the newest one's root."""

    market_id: MarketId
    vote_id: str | None
    vote_type: VoteType | None
    wallet: Wallet | None
    aggregation_id: str | None

    @property
    def vote(self) -> str:
        """What the caller named the vote by."""
        return self.vote_id or f"of {self.wallet} ({self.vote_type})"


class Commitment(NamedTuple):
    """A root of the log's first `size` entries, and the aggregation that published it, empty for the log as it is."""

    size: int
    root: bytes
    aggregation_id: str


class Proof(NamedTuple):
    """An entry, the way from its leaf to a root, and a fresh receipt."""

    entry: LogEntry
    path: tuple[bytes, ...]
    commitment: Commitment
    receipt: Receipt


class VoteProofs:
    """Proves votes. Raises what log and book raise."""

    def __init__(
        self, adoption: Adoption, votes: VoteLog, trees: LogTrees, desk: ReceiptDesk, altered: AlteredVotes
    ) -> None:
        self._adoption = adoption
        self._altered = altered
        self._votes = votes
        self._trees = trees
        self._desk = desk

    async def proof(self, wanted: ProofWanted) -> Proof:
        """The proof, made only of what has the root that was published; rejects with VotesAltered otherwise."""
        vote = await self._vote(wanted)
        market, _ = await self._adoption.read(wanted.market_id)
        if vote is None or vote.fate is Fate.LATE:
            raise Rejected(VoteNotFound(wanted.market_id, wanted.vote))
        entry, leaf = vote.entry, leaf_of(vote.entry)
        tree = await self._trees.tree(market, entry.vote_type)
        if (index := tree.index(leaf)) is None:
            raise await self._altered.found(entry.market_id, entry.vote_type, f"vote {entry.vote_id} has another leaf")
        commitment = await self._commitment(wanted, market, entry.vote_type, index + 1)
        if tree.root(commitment.size) != commitment.root:
            what = f"aggregation {commitment.aggregation_id} has another root"
            raise await self._altered.found(entry.market_id, entry.vote_type, what)
        receipt = await self._desk.receipt(LogPlace(entry.market_id, entry.vote_type, index + 1, leaf))
        return Proof(entry, tree.path(index, commitment.size), commitment, receipt)

    async def _vote(self, wanted: ProofWanted) -> LoggedVote | None:
        if wanted.vote_id is not None:
            return await self._votes.find(wanted.market_id, wanted.vote_id)
        assert wanted.vote_type is not None, "a vote is named by its id, or by type and wallet"
        assert wanted.wallet is not None, "a vote is named by its id, or by type and wallet"
        return await self._votes.of_wallet(wanted.market_id, wanted.vote_type, wanted.wallet)

    async def _commitment(self, wanted: ProofWanted, market: Market, vote_type: VoteType, sequence: int) -> Commitment:
        row = await self._votes.covering(market.market_id, vote_type, sequence, wanted.aggregation_id)
        if row is not None and row.votes_size is not None and row.votes_root is not None:
            return Commitment(row.votes_size, bytes.fromhex(row.votes_root), row.aggregation_id)
        if wanted.aggregation_id is not None:
            raise Rejected(AggregationNotFound(market.market_id, wanted.aggregation_id))
        now = market.log(vote_type)
        return Commitment(now.size, now.root(), "")
