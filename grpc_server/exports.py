"""Exports of all votes of a market: a page is read when the one before was taken, and all are of one version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from domain.ids import MarketId
from domain.market import Market
from domain.tally import VoteType
from domain.votelog import LoggedVote, leaf_of
from grpc_server import export_lines
from grpc_server.adoption import Adoption
from grpc_server.altered import AlteredVotes
from grpc_server.log_trees import LogTree, LogTrees
from grpc_server.ports import VoteLog, VotePlace
from grpc_server.problems import Busy, Rejected, VotesAltered
from identity import LogPlace, ReceiptSigner

PAGE = 64
"""Lines of one message: 80 KiB, about 2 ms of work, and six hashes for each receipt's path."""
EXPORTS_MAX = 16
"""Exports under way. One that nobody reads holds its place and a page until its connection is too old (11 minutes)."""


@dataclass(slots=True)
class _Count:
    votes: int = 0
    late: int = 0
    aggregations: int = 0


class VoteExports:
    """Streams the lines of exports; one without its last line is not whole. Raises what the log raises."""

    def __init__(
        self,
        adoption: Adoption,
        votes: VoteLog,
        trees: LogTrees,
        signer: ReceiptSigner,
        altered: AlteredVotes,
        program_id: str,
        now_s: Callable[[], int],
    ) -> None:
        self._adoption = adoption
        self._votes = votes
        self._trees = trees
        self._signer = signer
        self._altered = altered
        self._program_id = program_id
        self._now_s = now_s
        self._under_way = 0

    async def lines(self, market_id: MarketId) -> AsyncIterator[bytes]:
        """Whole lines, some at a time. Rejects with MarketNotFound, or with Busy before anything was read."""
        if self._under_way >= EXPORTS_MAX:
            raise Rejected(Busy(EXPORTS_MAX))
        self._under_way += 1
        try:
            market, _ = await self._adoption.read(market_id)
            async for part in self._parts(market):
                yield part
        finally:
            self._under_way -= 1

    async def _parts(self, market: Market) -> AsyncIterator[bytes]:
        """The market as it was read first says how far everything goes."""
        count = _Count()
        yield export_lines.header(market, self._program_id, self._now_s() * 1000, self._signer.public_keys)
        for vote_type in VoteType:
            async for part in self._log(market, vote_type, count):
                yield part
        for vote_type in VoteType:
            async for part in self._late(market, vote_type, count):
                yield part
        async for part in self._aggregations(market, count):
            yield part
        yield export_lines.end(count.votes, count.late, count.aggregations)

    async def _log(self, market: Market, vote_type: VoteType, count: _Count) -> AsyncIterator[bytes]:
        """All entries of this version, however many the log has by now."""
        if not market.log(vote_type).size:
            return
        tree = await self._vouched(market, vote_type)
        after, read = None, 0
        while page := await self._votes.entries(market.market_id, vote_type, after, PAGE, market.version):
            yield await self._page(page, read, tree)
            read += len(page)
            after = VotePlace(*page[-1].entry.place)
        count.votes += read

    async def _vouched(self, market: Market, vote_type: VoteType) -> LogTree | None:
        """The tree whose leaves we sign for; None when what is stored is not what was taken: nothing is signed then."""
        try:
            return await self._trees.tree(market, vote_type)
        except Rejected as rejected:
            if isinstance(rejected.problem, VotesAltered):
                return None
            raise

    async def _page(self, votes: Sequence[LoggedVote], read: int, tree: LogTree | None) -> bytes:
        """Lines of entries; a receipt says that an entry is the one that was taken: it is held against the tree."""
        places = [
            LogPlace(vote.entry.market_id, vote.entry.vote_type, sequence, leaf_of(vote.entry))
            for sequence, vote in enumerate(votes, start=read + 1)
        ]
        sure = [place for place in places if tree is not None and tree.leaf(place.sequence - 1) == place.leaf_hash]
        if tree is not None and len(sure) < len(places):
            await self._altered.found(places[0].market_id, places[0].vote_type, "a vote has another leaf than before")
        receipts = {receipt.sequence: receipt for receipt in (self._signer.issue(sure) if sure else ())}
        return b"".join(
            export_lines.vote(vote, place.sequence, receipts.get(place.sequence))
            for vote, place in zip(votes, places, strict=True)
        )

    async def _late(self, market: Market, vote_type: VoteType, count: _Count) -> AsyncIterator[bytes]:
        after: VotePlace | None = None
        while votes := await self._votes.late(market.market_id, vote_type, after, PAGE):
            yield b"".join(map(export_lines.vote, votes))
            count.late += len(votes)
            after = VotePlace(*votes[-1].entry.place)

    async def _aggregations(self, market: Market, count: _Count) -> AsyncIterator[bytes]:
        """Those of this version: one that was planned meanwhile counts votes that are not in this export."""
        after = 0
        while rows := await self._votes.aggregations(market.market_id, after, PAGE):
            ours = [row for row in rows if (row.votes_size or 0) <= market.log(row.vote_type).size]
            if ours:
                yield b"".join(map(export_lines.aggregation, ours))
            count.aggregations += len(ours)
            after = rows[-1].number
