"""The twin of `ballots.py`: votes on their way into the journal, over an overlay of the tables in memory."""

import uuid
from collections.abc import Mapping, Sequence

from domain.commands import CastVote, RecordChainVote
from domain.journal import Ballot, ChainBallot, Epochs, Merge, RecordedVote, Standing
from domain.tally import Tally, single
from domain.votelog import LogEntry, entry_of
from storage.fencing import check_fenced, one_of_each_place
from storage.memory_tables import Tables


class MemoryBallots:
    """The part of `actors.ports.JournalTransaction` that takes votes."""

    def __init__(self, tables: Tables, epochs: Epochs) -> None:
        self._tables = tables
        self._epochs = epochs

    async def insert_ballots(self, ballots: Sequence[Ballot]) -> frozenset[str]:
        """Insert what is new, by (wallet, request_id), and return the vote_ids that went in."""
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        ordered = sorted(ballots, key=lambda ballot: (ballot.vote.wallet, ballot.vote.request_id or ""))
        return frozenset(ballot.vote.vote_id for ballot in ordered if self._insert(ballot))

    async def recorded(self, votes: Sequence[CastVote]) -> Mapping[str, RecordedVote]:
        """For each vote (by vote_id) the stored vote in its way: of the same request first, else of the same place."""
        found = {vote.vote_id: self._in_the_way(vote) for vote in votes}
        return {vote_id: _recorded(self._tables.votes[at]) for vote_id, at in found.items() if at is not None}

    async def standings(self, entries: Sequence[LogEntry]) -> Sequence[Standing]:
        """For each entry its sequence, and the tally as its version left it; zeros for an unknown market."""
        return [self._standing(entry) for entry in entries]

    async def merge(self, ballots: Sequence[ChainBallot]) -> Mapping[str, Merge]:
        """Take in what is new and mark the API votes in its place as superseded."""
        check_fenced((ballot.vote.market_id for ballot in ballots), self._epochs)
        known = await self.known_chain_votes([ballot.vote for ballot in ballots])
        merges = {ballot.vote.vote_id: Merge(is_new=False) for ballot in ballots}
        for ballot in one_of_each_place(each for each in ballots if each.vote.vote_id not in known):
            check_uuid(ballot.vote.vote_id)
            if ballot.is_late:
                self._tables.late[ballot.vote.vote_id] = ballot
            else:
                merges[ballot.vote.vote_id] = self._merge(ballot)
        return merges

    async def known_chain_votes(self, votes: Sequence[RecordChainVote]) -> frozenset[str]:
        """Those of the vote_ids that are kept as late, or in whose place a chain vote counts."""
        return frozenset(vote.vote_id for vote in votes if vote.vote_id in self._tables.late or self._is_merged(vote))

    def _insert(self, ballot: Ballot) -> bool:
        vote = ballot.vote
        check_uuid(vote.vote_id)
        if vote.vote_id in self._tables.votes or self._in_the_way(vote) is not None:
            return False
        self._tables.votes[vote.vote_id] = ballot
        self._tables.places[vote.market_id, vote.wallet, vote.vote_type] = vote.vote_id
        if vote.request_id is not None:
            self._tables.requests[vote.wallet, vote.request_id] = vote.vote_id
        return True

    def _in_the_way(self, vote: CastVote) -> str | None:
        if vote.vote_id in self._tables.superseded:
            return vote.vote_id
        requested = self._tables.requests.get((vote.wallet, vote.request_id)) if vote.request_id is not None else None
        return requested or self._tables.places.get((vote.market_id, vote.wallet, vote.vote_type))

    def _is_merged(self, vote: RecordChainVote) -> bool:
        counted = self._tables.places.get((vote.market_id, vote.wallet, vote.vote_type))
        return counted is not None and isinstance(self._tables.votes[counted], ChainBallot)

    def _merge(self, ballot: ChainBallot) -> Merge:
        vote, place = ballot.vote, (ballot.vote.market_id, ballot.vote.wallet, ballot.vote.vote_type)
        before = self._tables.places.get(place)
        if before is not None:
            self._tables.superseded[before] = ballot
        self._tables.votes[vote.vote_id] = ballot
        self._tables.places[place] = vote.vote_id
        return Merge(True, None if before is None else _entry(self._tables.votes[before]))

    def _standing(self, asked: LogEntry) -> Standing:
        if asked.market_id not in self._tables.markets:
            return Standing(Tally(), 0)
        market, _ = self._tables.markets[asked.market_id]
        tally, sequence = market.tally(asked.vote_type), market.log(asked.vote_type).size
        for ballot in self._tables.votes.values():
            entry, since = _entry(ballot), self._tables.superseded.get(ballot.vote.vote_id)
            if (entry.market_id, entry.vote_type) != (asked.market_id, asked.vote_type):
                continue
            sequence -= entry.place > asked.place and entry.market_version <= market.version
            if since is None and asked.market_version < entry.market_version <= market.version:
                tally = tally.minus(single(entry.choice, entry.weight))
            elif since and entry.market_version <= asked.market_version < since.market_version <= market.version:
                tally = tally.plus(single(entry.choice, entry.weight))
        return Standing(tally, sequence)


def _entry(ballot: Ballot | ChainBallot) -> LogEntry:
    return entry_of(ballot.vote, ballot.accepted_at_ms, ballot.market_version)


def _recorded(ballot: Ballot | ChainBallot) -> RecordedVote:
    return RecordedVote(_entry(ballot), ballot.vote.request_id if isinstance(ballot.vote, CastVote) else None)


def check_uuid(text: str) -> None:
    """What PostgreSQL would refuse to take or give back in another spelling is a bug."""
    assert str(uuid.UUID(text)) == text, f"not a UUID in canonical form: {text}"
