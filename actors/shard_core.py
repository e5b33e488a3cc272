"""What a shard does with a batch: decide in the actors, commit once, keep, answer. No transport and no process here.

Order of a batch: first everything that is not a vote, then the votes that the chain shows, then those through the API.
Commands of one batch are concurrent (none of them has been answered), so any order is a right one.

Every exception out of this module means that memory may differ from the journal: the process that runs it must end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from actors.household import Household
from actors.inquiries import Inquiries
from actors.merging import Merging
from actors.messages import Answer, Asked, Batch, Broken, Draft, Drafted, Failed, WrongOwner
from actors.moves import repeated
from actors.ports import Journal, Spans
from actors.residents import ChainView, Residents, ShardSettings
from actors.voting import Voting
from domain.attempts import Attempts
from domain.commands import CastVote, Command, FireDeadline, RecordChainVote, Reload, SettleIntent
from domain.counting import recounted
from domain.deadlines import ClockName, Deadline
from domain.ids import MarketId, virtual_shard
from domain.observed import ChainClock, ChainConfig
from domain.outcomes import Done
from domain.refusals import (
    AlreadyInState,
    AlreadyVoted,
    MarketNotFound,
    RequestIdReused,
    TooManyAttempts,
    VotingClosing,
    WrongState,
)
from domain.standing import AskStanding

__all__ = ["ChainView", "ShardCore", "ShardSettings"]

SETTLEMENTS_MAX = 256
"""Ended attempts taken in at once."""
BROKEN_RETRY_S = 60
"""When a deadline is tried again whose market's actor broke."""
RELOADS_MAX = 256
"""Markets written past their actors that are taken in at once; the others come with the next turn."""

_UNTRACED: AbstractContextManager[None] = nullcontext()
_REFUSED_ATTEMPT = (WrongState, VotingClosing, AlreadyVoted, RequestIdReused)


@dataclass(slots=True)
class _Sorted:
    """The commands of a batch by who answers them; each with its place in the batch."""

    votes: dict[int, CastVote] = field(default_factory=dict)
    seen: dict[int, RecordChainVote] = field(default_factory=dict)
    asked: dict[int, AskStanding] = field(default_factory=dict)
    others: dict[int, Command] = field(default_factory=dict)

    def put(self, index: int, command: Asked) -> None:
        """Votes first, for there are most of them."""
        if isinstance(command, CastVote):
            self.votes[index] = command
        elif isinstance(command, RecordChainVote):
            self.seen[index] = command
        elif isinstance(command, AskStanding):
            self.asked[index] = command
        else:
            self.others[index] = command


class ShardCore:
    """Owns some virtual shards: their markets, their deadlines and the one connection that writes them."""

    def __init__(
        self,
        journal: Journal,
        settings: ShardSettings,
        household: Household | None = None,
        spans: Spans | None = None,
    ) -> None:
        self._spans = spans
        self._journal = journal
        self._settings = settings
        self.residents = Residents(journal, settings, household)
        self._voting = Voting(journal, self.residents)
        self._merging = Merging(journal, self.residents)
        self._attempts = Attempts()
        self._inquiries = Inquiries(journal, self.residents)
        self._outside: dict[MarketId, bool] = {}

    @property
    def epochs(self) -> dict[int, int]:
        """The ownership epoch of each virtual shard that this process owns."""
        return self.residents.epochs

    async def boot(
        self, virtual_shards: Sequence[int], host: str, port: int, pid: int, slot: str = ""
    ) -> dict[int, int]:
        """Take the locks, read GlobalConfig and the deadlines; markets themselves load on first touch."""
        self.residents.epochs = await self._journal.acquire(virtual_shards, host, port, pid)
        self._inquiries.settle_in(slot, host, pid)
        self.residents.chain.config = await self._journal.config()
        self.residents.alarms.load(await self._journal.deadlines(virtual_shards))
        return self.epochs

    async def handle(self, batch: Batch) -> tuple[Answer, ...]:
        """Carry out a batch and answer each command, in order; durable when this returns."""
        answers: list[Answer | None] = [None] * len(batch.commands)
        sorted_out, owned = _Sorted(), self._owned(batch.epochs)
        for index, command in enumerate(batch.commands):
            if virtual_shard(command.market_id) in owned:
                sorted_out.put(index, command)
            else:
                answers[index] = WrongOwner()
        votes = self._within_limit(sorted_out.votes, answers)
        others = sorted_out.others
        decided = await repeated(self._journal, others)
        decided.update(await self._decide({index: c for index, c in others.items() if index not in decided}))
        for some in (decided, await self._merging.merge(sorted_out.seen), await self._voting.vote(votes)):
            for index, answer in some.items():
                answers[index] = answer
        self._count_refused(votes, answers)
        for index, answer in (await self._inquiries.answer(sorted_out.asked, batch)).items():
            answers[index] = answer
        await self.residents.tidy()
        assert all(answer is not None for answer in answers), "a command without an answer"
        return tuple(answer for answer in answers if answer is not None)

    async def fire_due(self) -> int:
        """Fire what has fallen due on either clock, and return how many markets that were."""
        settings = self._settings
        due = self.residents.alarms.due(ClockName.WALL, settings.wall_s())
        chain_s = self.residents.chain.unix_s(settings.monotonic_s())
        if chain_s is not None and self.residents.chain.config is not None:
            await self._look_at_windows()
            due += self.residents.alarms.due(ClockName.CHAIN, chain_s)
        with self._firing(due):
            answers = await self._decide(dict(enumerate(FireDeadline(market_id) for market_id in due)))
        for index, answer in answers.items():
            if isinstance(answer, Failed):  # a bug of ours must not make a deadline be forgotten
                self.residents.alarms.set(due[index], Deadline(int(settings.wall_s()) + BROKEN_RETRY_S, ClockName.WALL))
        await self.residents.tidy()
        return len(due)

    def _firing(self, due: Sequence[MarketId]) -> AbstractContextManager[None]:
        """A span that begins a trace, around deadlines that fire together: one transaction is for all of them."""
        if self._spans is None or not due:
            return _UNTRACED
        return self._spans.work("deadlines", {"zmart.markets": len(due), "zmart.first_market_id": due[0]})

    async def beat(self, restarts: int, recent_losses: int) -> None:
        """Say in the database how this process stands; a sign of life that also shows whether the session lives."""
        await self._journal.beat(self._inquiries.beat(restarts, recent_losses))

    async def _look_at_windows(self) -> None:
        """Let every market that ends by the clock fire at once; one whose window is open sets its deadline anew."""
        if self.residents.windows_moved:
            for market_id in await self._journal.windowed(tuple(self.epochs)):
                self.residents.alarms.set(market_id, Deadline(0, ClockName.CHAIN))
            self.residents.windows_moved = False

    async def take_settlements(self) -> int:
        """Bring ended attempts to their markets, and return how many were taken in; the others come again."""
        settled = await self._journal.settlements(tuple(self.epochs), SETTLEMENTS_MAX)
        commands = [SettleIntent(settlement.intent.market_id, settlement) for settlement in settled]
        answers = await self._decide(dict(enumerate(commands)))
        await self.residents.tidy()
        return sum(isinstance(answer, Done) for answer in answers.values())

    async def take_outside(self) -> int:
        """Let markets that somebody else wrote be what is stored now, and return how many those were.

        The stored votes count when one of them changed. Where an actor has written the whole row in between, its
        version stands: two owners of a market are one too many.
        """
        for market_id, votes in self._journal.changed_outside().items():
            if virtual_shard(market_id) in self.epochs:
                self._outside[market_id] = votes or self._outside.get(market_id, False)
        changed = {market_id: self._outside.pop(market_id) for market_id in list(self._outside)[:RELOADS_MAX]}
        if changed:
            await self._reload(changed)
        return len(changed)

    async def _reload(self, changed: Mapping[MarketId, bool]) -> None:
        stored = {market.market_id: market for market, _ in await self._journal.load(list(changed))}
        sums = await self._journal.recount([market_id for market_id, votes in changed.items() if votes])
        for market_id in changed.keys() - stored.keys():
            self.residents.forget(market_id)
        commands = [
            Reload(
                market_id,
                recounted(market, sums) if changed[market_id] else market,
                was_asleep=market_id not in self.residents.household,
            )
            for market_id, market in stored.items()
        ]
        await self._decide(dict(enumerate(commands)))
        await self.residents.tidy()

    def hear(self, clock: ChainClock | None, config: ChainConfig | None) -> None:
        """Take in what the chain agent has read; an older reading never replaces a newer one."""
        self.residents.hear(clock, config)

    def monotonic_s(self) -> float:
        """The clock that carries the chain's time on between two readings."""
        return self._settings.monotonic_s()

    def _owned(self, epochs: Mapping[int, int]) -> frozenset[int]:
        """The virtual shards that are owned here under the epochs that the sender knew."""
        return frozenset([vshard for vshard, epoch in self.epochs.items() if epochs.get(vshard) == epoch])

    def _within_limit(self, votes: Mapping[int, CastVote], answers: list[Answer | None]) -> dict[int, CastVote]:
        """The votes whose wallets may still try; the others are answered here, unseen by their market."""
        now_s, within = int(self._settings.monotonic_s()), dict[int, CastVote]()
        for index, vote in votes.items():
            wait_s = self._attempts.wait_s(vote.market_id, vote.wallet, now_s)
            if wait_s:
                answers[index] = TooManyAttempts(vote.market_id, wait_s)
            else:
                within[index] = vote
        return within

    def _count_refused(self, votes: Mapping[int, CastVote], answers: Sequence[Answer | None]) -> None:
        """A vote that went in and a repeat of it are no spam; what was refused may be (T4)."""
        now_s = int(self._settings.monotonic_s())
        for index, vote in votes.items():
            if isinstance(answers[index], _REFUSED_ATTEMPT):
                self._attempts.note_refused(vote.market_id, vote.wallet, now_s)

    async def _decide(self, commands: Mapping[int, Command]) -> dict[int, Answer]:
        """Draft one version for each market, commit them all at once, and keep them."""
        if not commands:
            return {}
        by_market = await self.residents.known(commands, may_be_new=True)
        answers: dict[int, Answer] = {
            index: MarketNotFound(command.market_id)
            for index, command in commands.items()
            if command.market_id not in by_market
        }
        rules, now = self.residents.rules(), self.residents.now()
        drafts = self.residents.round(
            {
                market_id: Draft(tuple(commands[index] for index in indexes), rules, now)
                for market_id, indexes in by_market.items()
            }
        )
        written = [draft for draft in drafts.values() if isinstance(draft, Drafted)]
        if any(draft.change for draft in written):
            async with self._journal.transaction(self.residents.epochs_of(by_market)) as transaction:
                await transaction.save([draft.change for draft in written if draft.change])
        self.residents.keep(written)
        for market_id, indexes in by_market.items():
            answers.update(_control_answers(drafts[market_id], indexes))
        return answers


def _control_answers(draft: Drafted | Broken, indexes: Sequence[int]) -> dict[int, Answer]:
    if isinstance(draft, Broken):
        return dict.fromkeys(indexes, Failed(draft.incident))
    version = draft.market.version if draft.market else 0
    return {
        index: Done(version) if refusal is None or isinstance(refusal, AlreadyInState) else refusal
        for index, refusal in zip(indexes, draft.refusals, strict=True)
    }
