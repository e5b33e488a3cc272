"""Votes on their way into the journal, inside a shard's transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from domain.commands import CastVote, RecordChainVote
from domain.journal import Ballot, ChainBallot, Epochs, Merge, RecordedVote, Standing
from domain.tally import Tally
from domain.votelog import LogEntry
from storage import codec, vote_rows
from storage.fencing import check_fenced, one_of_each_place
from storage.outages import JournalLost, outages
from storage.queries import sql


class PostgresBallots:
    """The part of `actors.ports.JournalTransaction` that takes votes: one open transaction, fenced for some shards."""

    def __init__(self, connection: asyncpg.Connection, epochs: Epochs) -> None:
        self._connection = connection
        self._epochs = epochs

    async def insert_ballots(self, ballots: Sequence[Ballot]) -> frozenset[str]:
        """Insert what is new and return the vote_ids that went in.

        Rows go in by (wallet, request_id), so that two shards which meet on the index of requests wait in one order
        and cannot deadlock; of two ballots for one place the first in that order wins.
        """
        if not ballots:
            return frozenset()
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        ordered = sorted(ballots, key=lambda ballot: (ballot.vote.wallet, ballot.vote.request_id or ""))
        rows = await self._write("insert_ballots", [vote_rows.ballot_row(ballot) for ballot in ordered])
        inserted = frozenset(row["id"] for row in rows)
        assert inserted <= {ballot.vote.vote_id for ballot in ballots}, "a vote_id is not a UUID in canonical form"
        return inserted

    async def recorded(self, votes: Sequence[CastVote]) -> Mapping[str, RecordedVote]:
        """For each vote (by vote_id) the stored vote in its way: of the same request first, else of the same place."""
        if not votes:
            return {}
        asked = [(v.vote_id, v.market_id, v.wallet, v.vote_type.value, v.request_id) for v in votes]
        rows = await self._write("recorded_votes", asked)
        return {row["wanted_id"]: vote_rows.recorded_of(row) for row in rows}

    async def standings(self, entries: Sequence[LogEntry]) -> Sequence[Standing]:
        """For each entry its sequence, and the tally as its version left it; zeros for an unknown market."""
        if not entries:
            return []
        asked = list(dict.fromkeys(_asked(entry) for entry in entries))  # repeats of one batch ask for the same
        found = {
            asked[row["place"] - 1]: Standing(
                Tally(row["yes"], row["no"], row["yes_voters"], row["no_voters"]), row["sequence"]
            )
            for row in await self._write("standings", asked)
        }
        return [found.get(_asked(entry), Standing(Tally(), 0)) for entry in entries]

    async def merge(self, ballots: Sequence[ChainBallot]) -> Mapping[str, Merge]:
        """Take in what is new and move the API votes in its place aside; three statements when anything is new."""
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        known = await self.known_chain_votes([ballot.vote for ballot in ballots])
        new = one_of_each_place(ballot for ballot in ballots if ballot.vote.vote_id not in known)
        merges = {ballot.vote.vote_id: Merge(is_new=False) for ballot in ballots}
        counted = sorted((each for each in new if not each.is_late), key=lambda each: each.vote.wallet)
        gone = {
            row["superseded_by"]: vote_rows.recorded_of(row)
            for row in await self._write("supersede_votes", [vote_rows.supersede_row(ballot) for ballot in counted])
        }
        for ballot in counted:
            before = gone.get(ballot.vote.vote_id)
            merges[ballot.vote.vote_id] = Merge(is_new=True, superseded=before.entry if before else None)
        requests = {vote_id: before.request_id for vote_id, before in gone.items()}
        rows = [(*vote_rows.chain_ballot_row(each), requests.get(each.vote.vote_id)) for each in counted]
        await self._write("insert_chain_ballots", rows)
        await self._write("keep_late", [vote_rows.chain_ballot_row(ballot) for ballot in new if ballot.is_late])
        return merges

    async def known_chain_votes(self, votes: Sequence[RecordChainVote]) -> frozenset[str]:
        """Those of the vote_ids that are kept as late, or in whose place a chain vote counts."""
        asked = [(v.vote_id, v.market_id, v.wallet, v.vote_type.value) for v in votes]
        return frozenset(row["vote_id"] for row in await self._write("known_chain_votes", asked))

    async def _write(self, name: str, rows: Sequence[Sequence[str | None]]) -> list[Any]:
        """One statement for all rows, and none for no rows."""
        return await fetched(self._connection, name, *codec.columns(rows)) if rows else []


async def fetched(connection: asyncpg.Connection, name: str, *arguments: Any) -> list[Any]:
    """The rows of the named statement on a shard's session; raises JournalLost."""
    with outages(name, JournalLost):
        return list(await connection.fetch(sql(name), *arguments))


def _asked(entry: LogEntry) -> tuple[str, str, str, str]:
    return entry.market_id, entry.vote_type.value, str(entry.market_version), entry.vote_id
