"""A shard's core over one database, real or in memory, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import Sequence

from actors.messages import Answer, Batch
from actors.shard_core import ShardCore, ShardSettings
from domain.commands import AdoptMarket, Command
from domain.ids import VIRTUAL_SHARDS
from domain.market import Market
from domain.merkle import Frontier
from domain.observed import ChainClock, ObservedMarket
from domain.outcomes import Done
from domain.tally import Tally, VoteType, single
from domain.votelog import Fate, LoggedVote, leaf_of
from tests.support.markets import NOON_S, FiveMinutes, config, market_id
from tests.support.storage import Ground


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = float(NOON_S)

    def __call__(self) -> float:
        return self.s


class OneShard:
    """One shard that owns everything; `start` again is what a killed process and its successor come to."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.clock = HandClock()
        self.core: ShardCore
        self._batches = 0

    async def start(self) -> None:
        await self.ground.end_journals()
        self.core = ShardCore(await self.ground.journal(10.0), ShardSettings(FiveMinutes(), 10, self.clock, self.clock))
        await self.core.boot(range(VIRTUAL_SHARDS), "host", 1, 4_000_000)
        self.core.hear(ChainClock(10, int(self.clock.s)), config())

    async def send(self, *commands: Command) -> tuple[Answer, ...]:
        self._batches += 1
        return await self.core.handle(Batch("gateway", self._batches, self.core.epochs, commands))

    async def show(self, account: ObservedMarket) -> None:
        """The market's account is as given: adopted, or observed anew."""
        (answer,) = await self.send(AdoptMarket(account.market_id, account))
        assert isinstance(answer, Done)

    async def market(self, number: int = 1) -> Market:
        """The market as it is stored."""
        journal = self.core._journal
        ((found, _),) = await journal.load([market_id(number)])
        return found

    async def log(self, number: int = 1, kind: VoteType = VoteType.PROPOSAL) -> list[LoggedVote]:
        """The entries of a market's log, held against its stored tally and frontier."""
        entries = await self.ground.log(market_id(number), kind)
        stored = await self.market(number)
        assert stored.tally(kind) == recount(entries)
        counting = [each.entry.place for each in entries if each.fate is Fate.COUNTED]
        assert counting == sorted(each.entry.place for each in last_of_each_wallet(entries))
        assert stored.log(kind) == Frontier().plus_all(leaf_of(each.entry) for each in entries)
        return entries

    async def late(self, number: int = 1, kind: VoteType = VoteType.PROPOSAL) -> list[LoggedVote]:
        return await self.ground.late(market_id(number), kind)


def recount(entries: Sequence[LoggedVote]) -> Tally:
    """The tally of each wallet's last entry."""
    total = Tally()
    for entry in {each.entry.wallet: each.entry for each in entries}.values():
        total = total.plus(single(entry.choice, entry.weight))
    return total


def last_of_each_wallet(entries: Sequence[LoggedVote]) -> list[LoggedVote]:
    return list({each.entry.wallet: each for each in entries}.values())
