"""Votes through the API: admit, insert, count what the database took, commit, answer.

The database alone says who voted before (T2). An exception out of here means that memory may differ from the journal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from actors.messages import Admit, Admitted, Answer, Broken, Count, Drafted, Failed, Take
from actors.ports import Ballot, Journal, JournalTransaction, RecordedVote
from actors.residents import Residents
from domain.commands import CastVote
from domain.ids import MarketId
from domain.outcomes import VoteTaken
from domain.refusals import AlreadyVoted, MarketNotFound, Refusal, RequestIdReused
from domain.rules import Now, Rules
from domain.votelog import leaf_of

STEPS_FIRST, STEPS_MAX = 4, 1024
"""Batches that go step by step after a try at once that was in vain, and after many: each such try is work for nothing
and a line in the database's log."""


class Caution:
    """Whether to expect that all votes of a batch are new: after each disappointment for twice as many batches not."""

    def __init__(self) -> None:
        self._steps, self._left = STEPS_FIRST, 0

    def dares(self) -> bool:
        """Say so for the next batch."""
        self._left = max(self._left - 1, -1)
        return self._left < 0

    def learn(self, went_well: bool) -> None:
        """Hear what came of daring."""
        if went_well:
            self._steps = STEPS_FIRST
        else:
            self._left, self._steps = self._steps, min(2 * self._steps, STEPS_MAX)


class Voting:
    """Takes the votes of a batch into the journal, in one transaction."""

    def __init__(self, journal: Journal, residents: Residents) -> None:
        self._journal = journal
        self._residents = residents
        self._caution = Caution()

    async def vote(self, votes: Mapping[int, CastVote]) -> dict[int, Answer]:
        """Take these votes and answer each; durable when this returns."""
        if not votes:
            return {}
        by_market = await self._residents.known(votes, may_be_new=False)
        answers: dict[int, Answer] = {
            index: MarketNotFound(vote.market_id) for index, vote in votes.items() if vote.market_id not in by_market
        }
        if not by_market:
            return answers
        rules, now, at_ms = self._residents.rules(), self._residents.now(), self._residents.wall_ms()
        said = self._ask(votes, by_market, at_ms, rules, now)
        ballots, refused = _sort_admissions(votes, by_market, said, at_ms, answers)
        if not ballots and not refused:
            return answers
        drafts = {market_id: draft for market_id, draft in said.items() if isinstance(draft, Drafted)}
        if drafts and not refused and await self._took_at_once(ballots, drafts, answers):
            return answers
        async with self._journal.transaction(self._residents.epochs_of(by_market)) as transaction:
            counted = await self._take(transaction, ballots, rules, now, answers)
            await _look_up(transaction, votes, {**refused, **_rejected(ballots, answers)}, answers)
        self._residents.keep(counted)
        return answers

    def _ask(
        self, votes: Mapping[int, CastVote], by_market: Mapping[MarketId, list[int]], at_ms: int, rules: Rules, now: Now
    ) -> dict[MarketId, Drafted | Admitted | Broken]:
        """What the markets say to these votes; drafts that count them only while all are expected to be new."""
        mine = {market_id: tuple([votes[index] for index in indexes]) for market_id, indexes in by_market.items()}
        if self._caution.dares():
            return self._residents.round({at: Take(each, at_ms, rules, now) for at, each in mine.items()})
        return self._residents.round({at: Admit(each, rules, now) for at, each in mine.items()})

    async def _took_at_once(
        self, ballots: Mapping[int, Ballot], drafts: Mapping[MarketId, Drafted], answers: dict[int, Answer]
    ) -> bool:
        """Have the journal take these drafts if all their votes are new; False when it did not, nothing is changed.

        Drafts that were not taken are replaced by those of `_take`; an actor keeps its last one.
        """
        epochs, changes = self._residents.epochs_of(drafts), [draft.change for draft in drafts.values() if draft.change]
        announces = self._residents.announce_wait_s() <= 0
        went_in = await self._journal.take(epochs, list(ballots.values()), changes, announces=announces)
        self._caution.learn(went_in)
        if went_in:
            self._residents.keep(list(drafts.values()))
            if announces:
                self._residents.announced()
            answers.update(_taken_answers(ballots, drafts))
        return went_in

    def _count(self, taken: Iterable[Ballot], rules: Rules, now: Now) -> dict[MarketId, Drafted]:
        by_market: dict[MarketId, list[Ballot]] = defaultdict(list)
        for ballot in taken:
            by_market[ballot.vote.market_id].append(ballot)
        return self._residents.count({at: Count(tuple(each), (), rules, now) for at, each in by_market.items()})

    async def _take(
        self,
        transaction: JournalTransaction,
        ballots: Mapping[int, Ballot],
        rules: Rules,
        now: Now,
        answers: dict[int, Answer],
    ) -> list[Drafted]:
        """Insert the ballots and save the versions that count those which went in; answers for these are set."""
        if not ballots:
            return []
        inserted = set(await transaction.insert_ballots(list(ballots.values())))
        taken: dict[int, Ballot] = {}
        for index, ballot in ballots.items():
            if ballot.vote.vote_id in inserted:
                inserted.remove(ballot.vote.vote_id)  # the same vote a second time in this batch is a repeat
                taken[index] = ballot
        drafts = self._count(taken.values(), rules, now)
        if drafts:
            await transaction.save([draft.change for draft in drafts.values() if draft.change])
        answers.update(_taken_answers(taken, drafts))
        return list(drafts.values())


def _taken_answers(taken: Mapping[int, Ballot], drafts: Mapping[MarketId, Drafted]) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}
    for index, ballot in taken.items():
        vote, draft = ballot.vote, drafts[ballot.vote.market_id]
        assert draft.market is not None
        sequence, leaf = draft.places[vote.vote_id]
        answers[index] = VoteTaken(vote.vote_id, draft.market.tally(vote.vote_type), False, sequence, leaf)
    return answers


async def _look_up(
    transaction: JournalTransaction,
    votes: Mapping[int, CastVote],
    open_questions: Mapping[int, Refusal | None],
    answers: dict[int, Answer],
) -> None:
    """Answer votes that did not go in: a repeat as the first time, else the refusal, else AlreadyVoted."""
    if not open_questions:
        return
    stored = await transaction.recorded([votes[index] for index in open_questions])
    repeats: dict[int, RecordedVote] = {}
    for index, refusal in open_questions.items():
        verdict = _verdict(votes[index], stored.get(votes[index].vote_id), refusal)
        if isinstance(verdict, RecordedVote):
            repeats[index] = verdict
        else:
            answers[index] = verdict
    standings = await transaction.standings([vote.entry for vote in repeats.values()]) if repeats else ()
    for (index, vote), standing in zip(repeats.items(), standings, strict=True):
        leaf = leaf_of(vote.entry)
        answers[index] = VoteTaken(vote.entry.vote_id, standing.tally, True, standing.sequence, leaf)


def _sort_admissions(
    votes: Mapping[int, CastVote],
    by_market: Mapping[MarketId, list[int]],
    said: Mapping[MarketId, Drafted | Admitted | Broken],
    accepted_at_ms: int,
    answers: dict[int, Answer],
) -> tuple[dict[int, Ballot], dict[int, Refusal]]:
    """Split votes into ballots to insert and refusals to look up; votes of a broken actor are answered at once."""
    ballots: dict[int, Ballot] = {}
    refused: dict[int, Refusal] = {}
    for market_id, indexes in by_market.items():
        admission = said[market_id]
        if isinstance(admission, Drafted):
            ballots.update(zip(indexes, admission.ballots, strict=True))
            continue
        if isinstance(admission, Broken):
            answers.update(dict.fromkeys(indexes, Failed(admission.incident)))
            continue
        for index, refusal in zip(indexes, admission.refusals, strict=True):
            if refusal is None:
                ballots[index] = Ballot(votes[index], admission.next_version, accepted_at_ms)
            else:
                refused[index] = refusal
    return ballots, refused


def _rejected(ballots: Mapping[int, Ballot], answers: Mapping[int, Answer]) -> dict[int, None]:
    return {index: None for index in ballots if index not in answers}


def _verdict(vote: CastVote, stored: RecordedVote | None, refusal: Refusal | None) -> RecordedVote | Refusal:
    """A stored vote of the same call or the same request_id and body is a repeat; another body is its own refusal."""
    if stored is None:
        return refusal or AlreadyVoted(vote.market_id)
    entry = stored.entry
    if entry.vote_id == vote.vote_id:
        return stored
    if vote.request_id is not None and stored.request_id == vote.request_id:
        same = (entry.market_id, entry.vote_type, entry.choice) == (vote.market_id, vote.vote_type, vote.choice)
        return stored if same else RequestIdReused(vote.market_id, vote.request_id)
    return refusal or AlreadyVoted(vote.market_id)
