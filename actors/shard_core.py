"""What a shard does with a batch: decide in the actors, commit once, keep, answer. No transport and no process here.

Order of a batch: first everything that is not a vote, then all votes. Commands of one batch are concurrent (none of
them has been answered), so any order is a right one, and votes need only the state to be decided.

Every exception out of this module means that memory may differ from the journal: the process that runs it must end.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from actors.alarms import Alarms
from actors.household import Household
from actors.messages import Admit, Admitted, Answer, Batch, Broken, Count, Draft, Drafted, Failed, Keep, WrongOwner
from actors.ports import AlertNote, Ballot, Journal, JournalTransaction, RecordedVote
from actors.troubles import market_actor_broken
from domain.attempts import Attempts
from domain.commands import AdoptMarket, CastVote, Command, FireDeadline, SettleIntent
from domain.deadlines import ClockName, Deadline
from domain.ids import MarketId, virtual_shard
from domain.observed import ChainClock, ChainConfig
from domain.outcomes import Done, VoteTaken
from domain.refusals import (
    AlreadyInState,
    AlreadyVoted,
    MarketNotFound,
    Refusal,
    RequestIdReused,
    TooManyAttempts,
    VotingClosing,
    WrongState,
)
from domain.rules import Now, Rules, Schedule
from domain.tally import Tally

SETTLEMENTS_MAX = 256
"""Ended attempts taken in at once."""
BROKEN_RETRY_S = 60
"""When a deadline is tried again whose market's actor broke."""

log = structlog.get_logger("shard")
_REFUSED_ATTEMPT = (WrongState, VotingClosing, AlreadyVoted, RequestIdReused)
_C = TypeVar("_C", bound=Command)


@dataclass(slots=True)
class ChainView:
    """What the shard knows of the chain: GlobalConfig, and the clock carried on from its last reading."""

    config: ChainConfig | None = None
    clock: ChainClock | None = None
    read_at_s: float = 0.0

    def unix_s(self, monotonic_s: float) -> int | None:
        """Chain time now, or None before the first reading; never runs ahead by more than the reading is old."""
        if self.clock is None:
            return None
        return self.clock.unix_s + int(monotonic_s - self.read_at_s)


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """What the rules need besides the chain."""

    schedule: Schedule
    min_proposal_votes: int
    wall_s: Callable[[], float]
    monotonic_s: Callable[[], float]
    new_id: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))


class ShardCore:
    """Owns some virtual shards: their markets, their deadlines and the one connection that writes them."""

    def __init__(self, journal: Journal, settings: ShardSettings, household: Household | None = None) -> None:
        self._journal = journal
        self._settings = settings
        self._household = household or Household()
        self.alarms = Alarms()
        self.chain = ChainView()
        self.epochs: dict[int, int] = {}
        self._attempts = Attempts()
        self._bugs: dict[str, AlertNote] = {}
        self.planned_work = False
        """Set when a commit has planned a transaction; whoever tells the chain agent clears it."""
        self.has_news = False
        """Set when a commit has written to the outbox; whoever wakes the notifier clears it."""

    async def boot(self, virtual_shards: Sequence[int], host: str, port: int, pid: int) -> dict[int, int]:
        """Take the locks, read GlobalConfig and the deadlines; markets themselves load on first touch."""
        self.epochs = await self._journal.acquire(virtual_shards, host, port, pid)
        self.chain.config = await self._journal.config()
        self.alarms.load(await self._journal.deadlines(virtual_shards))
        return self.epochs

    async def handle(self, batch: Batch) -> tuple[Answer, ...]:
        """Carry out a batch and answer each command, in order; durable when this returns."""
        answers: list[Answer | None] = [None] * len(batch.commands)
        mine: dict[int, Command] = {}
        for index, command in enumerate(batch.commands):
            if self._owns(command.market_id, batch.epochs):
                mine[index] = command
            else:
                answers[index] = WrongOwner()
        votes = self._within_limit(mine, answers)
        others = {index: command for index, command in mine.items() if not isinstance(command, CastVote)}
        for index, answer in {**await self._decide(others), **await self._vote(votes)}.items():
            answers[index] = answer
        self._count_refused(votes, answers)
        await self._tidy()
        assert all(answer is not None for answer in answers), "a command without an answer"
        return tuple(answer for answer in answers if answer is not None)

    async def fire_due(self) -> int:
        """Fire what has fallen due on either clock, and return how many markets that were."""
        settings = self._settings
        due = self.alarms.due(ClockName.WALL, settings.wall_s())
        chain_s = self.chain.unix_s(settings.monotonic_s())
        if chain_s is not None and self.chain.config is not None:
            due += self.alarms.due(ClockName.CHAIN, chain_s)
        answers = await self._decide(dict(enumerate(FireDeadline(market_id) for market_id in due)))
        for index, answer in answers.items():
            if isinstance(answer, Failed):  # a bug of ours must not make a deadline be forgotten
                self.alarms.set(due[index], Deadline(int(settings.wall_s()) + BROKEN_RETRY_S, ClockName.WALL))
        await self._tell_of_bugs()
        return len(due)

    async def take_settlements(self) -> int:
        """Bring ended attempts to their markets, and return how many were taken in; the others come again."""
        settled = await self._journal.settlements(tuple(self.epochs), SETTLEMENTS_MAX)
        commands = [SettleIntent(settlement.intent.market_id, settlement) for settlement in settled]
        answers = await self._decide(dict(enumerate(commands)))
        await self._tell_of_bugs()
        return sum(isinstance(answer, Done) for answer in answers.values())

    def hear(self, clock: ChainClock | None, config: ChainConfig | None) -> None:
        """Take in what the chain agent has read; an older reading never replaces a newer one."""
        if clock is not None and (self.chain.clock is None or clock.slot >= self.chain.clock.slot):
            self.chain.clock, self.chain.read_at_s = clock, self._settings.monotonic_s()
        if config is not None and (self.chain.config is None or config.slot >= self.chain.config.slot):
            self.chain.config = config

    def monotonic_s(self) -> float:
        """The clock that carries the chain's time on between two readings."""
        return self._settings.monotonic_s()

    def _owns(self, market_id: MarketId, epochs: Mapping[int, int]) -> bool:
        vshard = virtual_shard(market_id)
        return vshard in self.epochs and epochs.get(vshard) == self.epochs[vshard]

    def _within_limit(self, mine: Mapping[int, Command], answers: list[Answer | None]) -> dict[int, CastVote]:
        """The votes whose wallets may still try; the others are answered here, unseen by their market."""
        now_s, votes = int(self._settings.monotonic_s()), dict[int, CastVote]()
        for index, command in mine.items():
            if isinstance(command, CastVote):
                wait_s = self._attempts.wait_s(command.market_id, command.wallet, now_s)
                if wait_s:
                    answers[index] = TooManyAttempts(command.market_id, wait_s)
                else:
                    votes[index] = command
        return votes

    def _count_refused(self, votes: Mapping[int, CastVote], answers: Sequence[Answer | None]) -> None:
        """A vote that went in and a repeat of it are no spam; what was refused may be (T4)."""
        now_s = int(self._settings.monotonic_s())
        for index, vote in votes.items():
            if isinstance(answers[index], _REFUSED_ATTEMPT):
                self._attempts.note_refused(vote.market_id, vote.wallet, now_s)

    # --- everything but votes -------------------------------------------------------------------------------------

    async def _decide(self, commands: Mapping[int, Command]) -> dict[int, Answer]:
        """Draft one version for each market, commit them all at once, and keep them."""
        by_market = await self._known(commands, may_be_new=True)
        answers: dict[int, Answer] = {
            index: MarketNotFound(command.market_id)
            for index, command in commands.items()
            if command.market_id not in by_market
        }
        rules, now = self._rules(), self._now()
        drafts = self._round(
            {
                market_id: Draft(tuple(commands[index] for index in indexes), rules, now)
                for market_id, indexes in by_market.items()
            }
        )
        written = [draft for draft in drafts.values() if isinstance(draft, Drafted)]
        if any(draft.change for draft in written):
            async with self._journal.transaction(self._epochs_of(by_market)) as transaction:
                await transaction.save([draft.change for draft in written if draft.change])
        self._keep(written)
        for market_id, indexes in by_market.items():
            answers.update(_control_answers(drafts[market_id], indexes))
        return answers

    # --- votes ----------------------------------------------------------------------------------------------------

    async def _vote(self, votes: Mapping[int, CastVote]) -> dict[int, Answer]:
        """Admit, insert, count what the database took, commit, keep; the database alone says who voted before (T2)."""
        by_market = await self._known(votes, may_be_new=False)
        answers: dict[int, Answer] = {
            index: MarketNotFound(vote.market_id) for index, vote in votes.items() if vote.market_id not in by_market
        }
        if not by_market:
            return answers
        rules, now = self._rules(), self._now()
        admissions = self._round(
            {
                market_id: Admit(tuple(votes[index] for index in indexes), rules, now)
                for market_id, indexes in by_market.items()
            }
        )
        ballots, refused = _sort_admissions(votes, by_market, admissions, answers)
        if not ballots and not refused:
            return answers
        async with self._journal.transaction(self._epochs_of(by_market)) as transaction:
            counted = await self._take(transaction, ballots, rules, now, answers)
            await self._look_up(transaction, votes, {**refused, **_rejected(ballots, answers)}, answers)
        self._keep(counted)
        return answers

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
        inserted = await transaction.insert_ballots(list(ballots.values()))
        taken = {index: ballot for index, ballot in ballots.items() if ballot.vote.vote_id in inserted}
        by_market: dict[MarketId, list[CastVote]] = defaultdict(list)
        for ballot in taken.values():
            by_market[ballot.vote.market_id].append(ballot.vote)
        drafts = self._round({market_id: Count(tuple(v), rules, now) for market_id, v in by_market.items()})
        for draft in drafts.values():
            # Rows are in this transaction already: a bug here must undo them, so it ends the process like any doubt.
            assert isinstance(draft, Drafted) and draft.change is not None, f"votes that cannot be counted: {draft}"
        if drafts:
            await transaction.save([draft.change for draft in drafts.values()])
        for index, ballot in taken.items():
            market = drafts[ballot.vote.market_id].market
            answers[index] = VoteTaken(ballot.vote.vote_id, market.tally(ballot.vote.vote_type), replayed=False)
        return list(drafts.values())

    async def _look_up(
        self,
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
        wanted = [(vote.market_id, vote.vote_type, vote.market_version) for vote in repeats.values()]
        tallies: Sequence[Tally] = await transaction.tallies_at(wanted) if wanted else ()
        for (index, vote), tally in zip(repeats.items(), tallies, strict=True):
            answers[index] = VoteTaken(vote.vote_id, tally, replayed=True)

    # --- residents ------------------------------------------------------------------------------------------------

    async def _known(self, commands: Mapping[int, _C], *, may_be_new: bool) -> dict[MarketId, list[int]]:
        """Which commands go to which market, all of these markets awake; unknown ones only if a command adopts them."""
        by_market: dict[MarketId, list[int]] = defaultdict(list)
        for index, command in commands.items():
            by_market[command.market_id].append(index)
        asleep = [market_id for market_id in by_market if market_id not in self._household]
        found = {market.market_id: (market, due) for market, due in await self._journal.load(asleep)} if asleep else {}
        adopted = {
            command.market_id for command in commands.values() if may_be_new and isinstance(command, AdoptMarket)
        }
        states: dict[MarketId, Any] = {
            market_id: found.get(market_id, (None, None))
            for market_id in asleep
            if market_id in found or market_id in adopted
        }
        self._household.install(states)
        return {market_id: indexes for market_id, indexes in by_market.items() if market_id in self._household}

    def _round(self, messages: Mapping[MarketId, Any]) -> dict[MarketId, Any]:
        answers = self._household.round(messages)
        for market_id, answer in answers.items():
            if isinstance(answer, Broken):
                incident = self._settings.new_id()
                log.error("market actor broke", market_id=market_id, error=answer.error, incident=incident)
                answers[market_id] = replace(answer, incident=incident)
                self._note_bug(market_id, answer.error, incident)
                self._household.evict(market_id)
        return answers

    def _note_bug(self, market_id: MarketId, error: str, incident: str) -> None:
        note = market_actor_broken(market_id, error, incident)
        self._bugs[note.dedupe_key] = note

    async def _tell_of_bugs(self) -> None:
        """Raise the alerts of actors that broke, once their commands are done with."""
        if self._bugs:
            bugs, self._bugs = self._bugs, {}
            await self._journal.raise_alerts(tuple(bugs.values()))

    def _keep(self, drafts: Sequence[Drafted]) -> None:
        self._household.round({draft.market_id: Keep() for draft in drafts})
        for draft in drafts:
            self.alarms.set(draft.market_id, draft.deadline)
            self.planned_work = self.planned_work or bool(draft.change and draft.change.planned)
            self.has_news = self.has_news or bool(draft.change and draft.change.feed)
            if draft.market is None:  # looked at in vain: nothing to stay awake for
                self._household.evict(draft.market_id)

    async def _tidy(self) -> None:
        self._household.passivate()
        await self._tell_of_bugs()

    def _epochs_of(self, markets: Iterable[MarketId]) -> dict[int, int]:
        return {vshard: self.epochs[vshard] for vshard in {virtual_shard(market_id) for market_id in markets}}

    def _rules(self) -> Rules:
        return Rules(self.chain.config, self._settings.schedule, self._settings.min_proposal_votes)

    def _now(self) -> Now:
        """Before the first reading of the chain clock the wall clock stands in; nothing fires on it (see fire_due)."""
        wall_s = int(self._settings.wall_s())
        chain_s = self.chain.unix_s(self._settings.monotonic_s())
        return Now(wall_s if chain_s is None else chain_s, wall_s, self._settings.new_id)


def _control_answers(draft: Drafted | Broken, indexes: Sequence[int]) -> dict[int, Answer]:
    if isinstance(draft, Broken):
        return dict.fromkeys(indexes, Failed(draft.incident))
    version = draft.market.version if draft.market else 0
    return {
        index: Done(version) if refusal is None or isinstance(refusal, AlreadyInState) else refusal
        for index, refusal in zip(indexes, draft.refusals, strict=True)
    }


def _sort_admissions(
    votes: Mapping[int, CastVote],
    by_market: Mapping[MarketId, Sequence[int]],
    admissions: Mapping[MarketId, Admitted | Broken],
    answers: dict[int, Answer],
) -> tuple[dict[int, Ballot], dict[int, Refusal]]:
    """Split votes into ballots to insert and refusals to look up; votes of a broken actor are answered at once."""
    ballots: dict[int, Ballot] = {}
    refused: dict[int, Refusal] = {}
    for market_id, indexes in by_market.items():
        admission = admissions[market_id]
        if isinstance(admission, Broken):
            answers.update(dict.fromkeys(indexes, Failed(admission.incident)))
            continue
        for index, refusal in zip(indexes, admission.refusals, strict=True):
            if refusal is None:
                ballots[index] = Ballot(votes[index], admission.next_version)
            else:
                refused[index] = refusal
    return ballots, refused


def _rejected(ballots: Mapping[int, Ballot], answers: Mapping[int, Answer]) -> dict[int, None]:
    return {index: None for index in ballots if index not in answers}


def _verdict(vote: CastVote, stored: RecordedVote | None, refusal: Refusal | None) -> RecordedVote | Refusal:
    """A stored vote of the same call or the same request_id and body is a repeat; another body is its own refusal."""
    if stored is not None and stored.vote_id == vote.vote_id:
        return stored
    if stored is not None and vote.request_id is not None and stored.request_id == vote.request_id:
        same = (stored.market_id, stored.vote_type, stored.choice) == (vote.market_id, vote.vote_type, vote.choice)
        return stored if same else RequestIdReused(vote.market_id, vote.request_id)
    return refusal or AlreadyVoted(vote.market_id)
