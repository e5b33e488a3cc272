"""Votes that the chain shows: merged with those through the API, the chain winning, nobody counted twice (D16, P4).

Every exception out of here means that memory may differ from the journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.messages import Admit, Admitted, Answer, Broken, Count, Drafted, Failed
from actors.ports import ChainBallot, Journal, JournalTransaction, Merge
from actors.residents import Residents
from domain.commands import RecordChainVote
from domain.ids import MarketId
from domain.outcomes import Done
from domain.refusals import MarketNotFound, Refusal
from domain.votelog import LogEntry


@dataclass(slots=True)
class _Sorted:
    """What the markets said to the chain votes of a batch."""

    ballots: dict[int, ChainBallot] = field(default_factory=dict)
    refused: dict[int, Refusal] = field(default_factory=dict)
    versions: dict[MarketId, int] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)


class Merging:
    """Takes the chain votes of a batch into the journal, in one transaction; repeating any of them changes nothing."""

    def __init__(self, journal: Journal, residents: Residents) -> None:
        self._journal = journal
        self._residents = residents

    async def merge(self, votes: Mapping[int, RecordChainVote]) -> dict[int, Answer]:
        """Take these votes and answer each; durable when this returns."""
        if not votes:
            return {}
        by_market = await self._residents.known(votes, may_be_new=False)
        unknown: dict[int, Answer] = {
            index: MarketNotFound(vote.market_id) for index, vote in votes.items() if vote.market_id not in by_market
        }
        if not by_market:
            return unknown
        found = self._admit(votes, by_market)
        async with self._journal.transaction(self._residents.epochs_of(by_market)) as transaction:
            merges = await transaction.merge(list(found.ballots.values()))
            drafts = await self._count(transaction, found, merges)
            earlier = await transaction.known_chain_votes([votes[index] for index in found.refused])
        self._residents.keep(list(drafts.values()))
        versions = found.versions | {at: draft.market.version for at, draft in drafts.items() if draft.market}
        done: dict[int, Answer] = {
            index: Done(versions[votes[index].market_id])
            for index in (*found.ballots, *found.refused)
            if index in found.ballots or votes[index].vote_id in earlier
        }
        return {**unknown, **found.answers, **found.refused, **done}

    def _admit(self, votes: Mapping[int, RecordChainVote], by_market: Mapping[MarketId, list[int]]) -> _Sorted:
        rules, now, at_ms = self._residents.rules(), self._residents.now(), self._residents.wall_ms()
        asked = {at: Admit(tuple(votes[index] for index in indexes), rules, now) for at, indexes in by_market.items()}
        found = _Sorted()
        for market_id, admission in self._residents.round(asked).items():
            _sort(found, votes, by_market[market_id], admission, at_ms)
        return found

    async def _count(
        self, transaction: JournalTransaction, found: _Sorted, merges: Mapping[str, Merge]
    ) -> dict[MarketId, Drafted]:
        """Save the versions that count what the database took."""
        ballots = {each.vote.vote_id: each for each in found.ballots.values()}  # a command may stand twice in a batch
        taken: dict[MarketId, list[ChainBallot]] = defaultdict(list)
        gone: dict[MarketId, list[LogEntry]] = defaultdict(list)
        for vote_id, merge in merges.items():
            if merge.is_new:
                market_id = ballots[vote_id].vote.market_id
                taken[market_id].append(ballots[vote_id])
                gone[market_id] += [merge.superseded] if merge.superseded else []
        rules, now = self._residents.rules(), self._residents.now()
        drafts = self._residents.count(
            {at: Count(tuple(each), tuple(gone[at]), rules, now) for at, each in taken.items()}
        )
        if drafts:
            await transaction.save([draft.change for draft in drafts.values() if draft.change])
        return drafts


def _sort(
    found: _Sorted,
    votes: Mapping[int, RecordChainVote],
    indexes: list[int],
    admission: Admitted | Broken,
    accepted_at_ms: int,
) -> None:
    if isinstance(admission, Broken):
        found.answers.update(dict.fromkeys(indexes, Failed(admission.incident)))
        return
    version = found.versions[admission.market_id] = admission.next_version - 1
    for index, refusal in zip(indexes, admission.refusals, strict=True):
        vote = votes[index]
        if refusal is not None:
            found.refused[index] = refusal
        elif vote.vote_id in admission.late:
            found.ballots[index] = ChainBallot(vote, version, accepted_at_ms, is_late=True)
        else:
            found.ballots[index] = ChainBallot(vote, version + 1, accepted_at_ms)
