"""Merkle trees of vote logs in memory, so that a proof costs a few hashes and not a walk through all votes.

A log only grows, and so does its tree here: whatever is complete never changes, so one tree answers for every size that
the log ever had. What is not in memory is read page by page.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from domain.ids import MarketId
from domain.market import Market
from domain.merkle import EMPTY_ROOT, HASH_BYTES, node_hash
from domain.tally import VoteType
from domain.votelog import leaf_of
from grpc_server.altered import AlteredVotes
from grpc_server.ports import VoteLog, VotePlace
from grpc_server.problems import Busy, Rejected

PAGE = 256
"""Entries of one read: about 2 ms of hashing, after which other calls get their turn."""
LEAVES_MAX = 1_000_000
"""Leaves of all trees in memory, 64 MB; beyond, the trees that were not used for longest go, never the one in use."""
TREES_MAX = 1024
"""Trees in memory, however small: one costs 2 KB without its leaves."""
GROWING_MAX = 2
"""Trees that are being read at once; a market of 100,000 votes takes about a second of this process."""
WAITING_MAX = 64
"""Calls that grow a tree or wait for their turn; one more is refused at once."""


class LogTree:
    """The complete nodes of a log's tree, level by level, 64 bytes a leaf, and where reading goes on."""

    def __init__(self) -> None:
        self._levels = [bytearray()]
        self.last: VotePlace | None = None
        self.turn = asyncio.Lock()

    @property
    def size(self) -> int:
        """Leaves in it."""
        return len(self._levels[0]) // HASH_BYTES

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Put leaf hashes behind those that are there."""
        for leaf in leaves:
            level, node = 0, leaf
            self._levels[0] += leaf
            while not len(self._levels[level]) // HASH_BYTES & 1:
                node = node_hash(bytes(self._levels[level][-2 * HASH_BYTES : -HASH_BYTES]), node)
                level += 1
                if level == len(self._levels):
                    self._levels.append(bytearray())
                self._levels[level] += node

    def leaf(self, index: int) -> bytes:
        """The leaf hash at `index`, from 0."""
        return self._complete(0, index)

    def index(self, leaf: bytes) -> int | None:
        """Where a leaf hash stands, from 0; a search of 3 MB for 100,000 leaves takes 0.2 ms."""
        at = self._levels[0].find(leaf)
        while at >= 0 and at % HASH_BYTES:
            at = self._levels[0].find(leaf, at + 1)
        return at // HASH_BYTES if at >= 0 else None

    def root(self, size: int) -> bytes:
        """The root of the first `size` leaves."""
        return self._node((size - 1).bit_length(), 0, size) if size else EMPTY_ROOT

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        """The hashes that lead from leaf `index` to the root of the first `size` leaves, lowest first."""
        siblings = ((level, (index >> level) ^ 1) for level in range((size - 1).bit_length()))
        return tuple(self._node(level, at, size) for level, at in siblings if at << level < size)

    def _node(self, level: int, at: int, size: int) -> bytes:
        """The node over the leaves from `at` * 2^level on, as it is in a tree of `size`: an odd one is promoted."""
        if (at + 1) << level <= size:
            return self._complete(level, at)
        left = self._node(level - 1, 2 * at, size)
        if (2 * at + 1) << (level - 1) >= size:
            return left
        return node_hash(left, self._node(level - 1, 2 * at + 1, size))

    def _complete(self, level: int, at: int) -> bytes:
        return bytes(self._levels[level][at * HASH_BYTES : (at + 1) * HASH_BYTES])


class LogTrees:
    """The trees that were used last. Raises what the log raises."""

    def __init__(self, log: VoteLog, altered: AlteredVotes, leaves_max: int = LEAVES_MAX) -> None:
        self._log = log
        self._altered = altered
        self._leaves_max = leaves_max
        self._trees: OrderedDict[tuple[MarketId, VoteType], LogTree] = OrderedDict()
        self._places = asyncio.Semaphore(GROWING_MAX)
        self._waiting = 0

    async def tree(self, market: Market, vote_type: VoteType) -> LogTree:
        """The tree of a log, at least as large as this version of the market has it, with the root that it has there.

        Rejects with VotesAltered when the stored votes have another one, and forgets them, so that a repair is seen.
        A tree that takes longer than its caller waits goes on from there at the next call.
        """
        key, wanted = (market.market_id, vote_type), market.log(vote_type)
        tree = self._trees.setdefault(key, LogTree())
        self._trees.move_to_end(key)
        if tree.size < wanted.size:
            await self._grow(tree, market, vote_type)
        if tree.size < wanted.size or tree.root(wanted.size) != wanted.root():
            self._trees.pop(key, None)
            raise await self._altered.found(market.market_id, vote_type, "the log has not the root of its tallies")
        return tree

    async def _grow(self, tree: LogTree, market: Market, vote_type: VoteType) -> None:
        if self._waiting >= WAITING_MAX:
            raise Rejected(Busy(WAITING_MAX))
        self._waiting += 1
        try:
            async with tree.turn, self._places:
                while await self._read(tree, market, vote_type):
                    pass
        finally:
            self._waiting -= 1
            self._make_room()

    async def _read(self, tree: LogTree, market: Market, vote_type: VoteType) -> bool:
        """Put the next page on; False when there is none in this version of the market."""
        left = market.log(vote_type).size - tree.size
        if left <= 0:
            return False
        entries = await self._log.entries(market.market_id, vote_type, tree.last, min(PAGE, left), market.version)
        tree.extend(leaf_of(logged.entry) for logged in entries)
        if entries:
            tree.last = VotePlace(*entries[-1].entry.place)
        return bool(entries)

    def _make_room(self) -> None:
        """Forget the trees that were not used for longest; the newest stays, however large it is."""
        leaves = sum(tree.size for tree in self._trees.values())
        while len(self._trees) > 1 and (leaves > self._leaves_max or len(self._trees) > TREES_MAX):
            _, forgotten = self._trees.popitem(last=False)
            leaves -= forgotten.size
