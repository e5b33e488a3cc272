"""The markets that live in a shard, and what every decision about them needs: rules, times, epochs, alarms."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from actors.alarms import Alarms
from actors.household import Household
from actors.messages import Broken, Count, Drafted, Keep
from actors.ports import AlertNote, Journal
from actors.troubles import market_actor_broken
from domain.commands import AdoptMarket, Command
from domain.deadlines import ClockName
from domain.ids import MarketId, virtual_shard
from domain.observed import ChainClock, ChainConfig
from domain.rules import STUCK_AFTER_S, Now, Rules, Schedule, ZeroVotes

ANNOUNCE_S = 0.05
"""The shortest pause between two hints to the notifier: each is a transaction, or makes one slower, and it carries 500
rows at a time."""

log = structlog.get_logger("shard")
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
    zero_votes: ZeroVotes = ZeroVotes.UPHOLD
    stuck_after_s: int = STUCK_AFTER_S


class Residents:
    """Wakes markets from the journal, passes messages to their actors and keeps what was committed."""

    def __init__(self, journal: Journal, settings: ShardSettings, household: Household | None = None) -> None:
        self._journal = journal
        self._settings = settings
        self.household = household or Household()
        self.alarms = Alarms()
        self.chain = ChainView()
        self.epochs: dict[int, int] = {}
        self._bugs: dict[str, AlertNote] = {}
        self.planned_work = False
        """Set when a commit has planned a transaction; whoever tells the chain agent clears it."""
        self.has_news = False
        """Set when a commit has written to the outbox and not woken the notifier."""
        self._announced_at_s = -ANNOUNCE_S
        self.windows_moved = True
        """Set at the start and when GlobalConfig differs: every open window is looked at before anything else fires."""

    async def known(self, commands: Mapping[int, _C], *, may_be_new: bool) -> dict[MarketId, list[int]]:
        """Which commands go to which market, all of these markets awake; unknown ones only if a command adopts them."""
        by_market: dict[MarketId, list[int]] = defaultdict(list)
        for index, command in commands.items():
            by_market[command.market_id].append(index)
        asleep = [market_id for market_id in by_market if market_id not in self.household]
        found = {market.market_id: (market, due) for market, due in await self._journal.load(asleep)} if asleep else {}
        adopted = {
            command.market_id for command in commands.values() if may_be_new and isinstance(command, AdoptMarket)
        }
        states: dict[MarketId, Any] = {
            market_id: found.get(market_id, (None, None))
            for market_id in asleep
            if market_id in found or market_id in adopted
        }
        self.household.install(states)
        return {market_id: indexes for market_id, indexes in by_market.items() if market_id in self.household}

    def round(self, messages: Mapping[MarketId, Any]) -> dict[MarketId, Any]:
        """One message to each market and each one's answer; a market that broke is named in the log and loads anew."""
        answers = self.household.round(messages)
        for market_id, answer in answers.items():
            if isinstance(answer, Broken):
                incident = self._settings.new_id()
                log.error("market actor broke", market_id=market_id, error=answer.error, incident=incident)
                answers[market_id] = replace(answer, incident=incident)
                self._note_bug(market_id, answer.error, incident)
                self.household.evict(market_id)
        return answers

    def count(self, messages: Mapping[MarketId, Count]) -> dict[MarketId, Drafted]:
        """Drafts of the versions that count these votes, whose rows are in the open transaction already.

        A bug here must undo those rows, so it ends the process like any doubt.
        """
        drafts = self.round(messages)
        for draft in drafts.values():
            assert isinstance(draft, Drafted) and draft.change is not None, f"votes that cannot be counted: {draft}"
        return drafts

    def keep(self, drafts: Sequence[Drafted]) -> None:
        """These drafts are durable: they are the markets now, with their deadlines."""
        kept = Keep()
        self.household.notify({draft.market_id: kept for draft in drafts})
        for draft in drafts:
            self.alarms.set(draft.market_id, draft.deadline)
            if draft.change is not None:
                self.planned_work = self.planned_work or bool(draft.change.planned)
                self.has_news = self.has_news or bool(draft.change.feed)
            if draft.market is None:  # looked at in vain: nothing to stay awake for
                self.household.evict(draft.market_id)

    def announce_wait_s(self) -> float:
        """How long until the notifier may be woken again; 0 or less for now."""
        return self._announced_at_s + ANNOUNCE_S - self._settings.monotonic_s()

    def announced(self) -> None:
        """The notifier was woken after all that is kept."""
        self.has_news = False
        self._announced_at_s = self._settings.monotonic_s()

    def forget(self, market_id: MarketId) -> None:
        """The market is not stored any more: it has no actor and no deadline."""
        self.alarms.set(market_id, None)
        if market_id in self.household:
            self.household.evict(market_id)

    async def tidy(self) -> None:
        """Let markets that nobody touched for long fall asleep, and tell of bugs; call between two batches."""
        self.household.passivate()
        await self.tell_of_bugs()

    async def tell_of_bugs(self) -> None:
        """Raise the alerts of actors that broke, once their commands are done with."""
        if self._bugs:
            bugs, self._bugs = self._bugs, {}
            await self._journal.raise_alerts(tuple(bugs.values()))

    def _note_bug(self, market_id: MarketId, error: str, incident: str) -> None:
        note = market_actor_broken(market_id, error, incident)
        self._bugs[note.dedupe_key] = note

    def epochs_of(self, markets: Iterable[MarketId]) -> dict[int, int]:
        """What a transaction that writes these markets is fenced by."""
        return {vshard: self.epochs[vshard] for vshard in {virtual_shard(market_id) for market_id in markets}}

    def rules(self) -> Rules:
        """What decisions depend on, as known right now."""
        settings = self._settings
        return Rules(
            self.chain.config,
            settings.schedule,
            settings.min_proposal_votes,
            settings.zero_votes,
            settings.stuck_after_s,
        )

    def now(self) -> Now:
        """Before the first reading of the chain clock the wall clock stands in; nothing fires on it (see fire_due)."""
        wall_s = int(self._settings.wall_s())
        chain_s = self.chain.unix_s(self._settings.monotonic_s())
        return Now(wall_s if chain_s is None else chain_s, wall_s, self._settings.new_id, chain_s is not None)

    def hear(self, clock: ChainClock | None, config: ChainConfig | None) -> None:
        """Take in what was read of the chain; an older reading never replaces a newer one."""
        chain = self.chain
        if clock is not None and (chain.clock is None or clock.slot >= chain.clock.slot):
            chain.clock, chain.read_at_s = clock, self._settings.monotonic_s()
        known = chain.config
        if config is not None and (known is None or config.slot >= known.slot):
            self.windows_moved = self.windows_moved or known is None or replace(config, slot=known.slot) != known
            chain.config = config

    def lag_s(self) -> int:
        """For how long the earliest deadline has been due, on whichever clock; 0 while none is."""
        now = self.now()
        times = ((ClockName.CHAIN, now.chain_s), (ClockName.WALL, now.wall_s))
        lags = [now_s - at_s for clock, now_s in times if (at_s := self.alarms.next_at_s(clock)) is not None]
        return max(0, *lags, 0)

    def wall_ms(self) -> int:
        """Unix milliseconds, the time at which votes are accepted."""
        return int(self._settings.wall_s() * 1000)
