"""Tallies and the wallets behind them as they were last committed, for the cache that copies them (T5)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from domain.ids import MarketId
from domain.market import Market
from domain.tally import VoteType
from storage import codec
from storage.database import Database

WALLETS_PER_PAGE = 1_000
FIRST = (-1, "00000000-0000-0000-0000-000000000000")
"""Comes before every vote."""


class TallyName(NamedTuple):
    """Which tally."""

    market_id: MarketId
    vote_type: VoteType


class StoredTally(NamedTuple):
    """A tally at a version of its market: exact weights, and how many wallets voted."""

    name: TallyName
    version: int
    yes: int
    no: int
    voters: int


class Advance(NamedTuple):
    """A tally, and the wallets whose vote came after version `since`: all of them unless there were too many."""

    tally: StoredTally
    since: int
    wallets: Sequence[str]


def tallies_of(market: Market) -> list[StoredTally]:
    """Both tallies of a market that was read as a whole."""
    tallies = [(TallyName(market.market_id, kind), market.tally(kind)) for kind in VoteType]
    return [StoredTally(name, market.version, tally.yes, tally.no, tally.voters) for name, tally in tallies]


class TallyReads:
    """Reads through the pool; every call raises StorageUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, known: Mapping[TallyName, int], wallets_max: int) -> list[Advance]:
        """Each tally with what came after the version in `known`; of markets that are not there, nothing."""
        if not known:
            return []
        wanted = codec.columns((name.market_id, name.vote_type.value, str(version)) for name, version in known.items())
        rows = await self._database.fetch("tallies_since", *wanted, wallets_max)
        return [_advance(row, known) for row in rows]

    async def wallets(self, tally: StoredTally) -> AsyncIterator[Sequence[str]]:
        """Every wallet with a counted vote up to the tally's version, a page at a time.

        A wallet that votes on chain meanwhile moves to a later version and may be missing here (P4).
        """
        after = FIRST
        while True:
            wanted = (tally.name.market_id, tally.name.vote_type.value, tally.version, *after, WALLETS_PER_PAGE)
            rows = await self._database.fetch("counted_wallets", *wanted)
            if not rows:
                return
            yield [row["user_pubkey"] for row in rows]
            after = (rows[-1]["market_version"], rows[-1]["vote_id"])

    async def page(self, after: MarketId, limit: int) -> list[StoredTally]:
        """The tallies of up to `limit` markets right after that one, in the order of their ids."""
        rows = await self._database.fetch("tallies_by_market", after, limit)
        return [tally for row in rows for tally in _both(row)]


def _advance(row: Any, known: Mapping[TallyName, int]) -> Advance:
    name = TallyName(MarketId(row["market_id"]), VoteType(row["vote_type"]))
    tally = StoredTally(name, row["version"], row["yes"], row["no"], row["voters"])
    return Advance(tally, known[name], row["wallets"])


def _both(row: Any) -> tuple[StoredTally, StoredTally]:
    market_id, version = MarketId(row["market_id"]), row["version"]
    proposal, dispute = (TallyName(market_id, kind) for kind in (VoteType.PROPOSAL, VoteType.DISPUTE))
    return (
        StoredTally(proposal, version, row["likes"], row["dislikes"], row["proposal_voters"]),
        StoredTally(dispute, version, row["support"], row["reject"], row["dispute_voters"]),
    )
