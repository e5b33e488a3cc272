"""Lets markets hear: accounts are read, commands go to the actors, and rows go once the actors have committed.

At least once, in the order of slots within a market; every command may be repeated. A market is read once for all that
a batch has for it (T43: the actor ignores what is older than what it knows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from chain.accounts import ChainAccounts
from chain.history import ChainHistory
from chain.rpc import ChainUnavailable, RpcRefused
from domain.commands import AdoptMarket
from domain.ids import MarketId
from domain.indexed import MarketEffect, StoredEffect
from domain.journal import AlertNote
from domain.outcomes import Done, Outcome
from domain.refusals import AlreadyInState, MarketNotFound, VotingClosing, WrongState
from indexer.chain_votes import ChainVotes
from indexer.ports import IndexStore, MarketBroke, Markets, MarketsAway

BATCH_MAX = 500
"""Effects taken at once; the accounts of their markets are read by the hundred."""
ATTEMPTS_MAX = 10
"""Tries after which an effect is given up; what merely has to wait does not count."""
RETRY_S = 0.5
RETRY_S_MAX = 60.0
OUTAGE_S = 1.0
FINAL_S = 0.5
"""How often a vote is looked at that is not final yet; that takes 32 slots, 13 s."""
NOT_YET_S = 2.0
"""How soon a vote is repeated that its market cannot take yet: it is sending tallies, or has to look at the chain."""

log = structlog.get_logger("indexer")


@dataclass(slots=True)
class Ends:
    """What came of a batch: done, to be repeated after so many seconds, or failed by a bug of ours."""

    done: list[int] = field(default_factory=list)
    waiting: dict[int, float] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    more: list[MarketEffect] = field(default_factory=list)
    """To be heard before what waits is repeated."""


class Herald:
    """Works off what markets are to hear; one of several."""

    def __init__(
        self, store: IndexStore, history: ChainHistory, accounts: ChainAccounts, markets: Markets, lease_s: float
    ) -> None:
        self._store = store
        self._history = history
        self._accounts = accounts
        self._markets = markets
        self._votes = ChainVotes(accounts)
        self._lease_s = lease_s

    async def step(self) -> bool:
        """Work one batch off; False when nothing was due. An outage of the chain gives the batch back."""
        stored = await self._store.lease_effects(BATCH_MAX, self._lease_s)
        if not stored:
            return False
        await self._attempt(stored)
        return True

    async def _attempt(self, stored: Sequence[StoredEffect]) -> None:
        """All at once; when that fails for no outage, each alone, so that one bad effect holds nobody up."""
        ends = Ends()
        try:
            await self._work(stored, ends)
        except (ChainUnavailable, RpcRefused) as outage:
            log.warning("effects.wait", effects=len(stored), error=str(outage))
            ended = {*ends.done, *ends.waiting, *ends.failed}
            ends.waiting |= {each.effect_id: OUTAGE_S for each in stored if each.effect_id not in ended}
        except OSError:
            raise
        except Exception as fault:
            log.exception("effects.failed", effects=len(stored))
            if len(stored) > 1:
                for each in stored:
                    await self._attempt([each])
                return
            ends = Ends(failed={stored[0].effect_id: repr(fault)})
        await self._write(stored, ends)

    async def _work(self, stored: Sequence[StoredEffect], ends: Ends) -> None:
        tip = await self._history.confirmed_slot()
        due = [each for each in stored if each.effect.slot <= tip]
        for each in stored:
            if each.effect.slot > tip:  # no chain was there yet: a node is behind, or somebody made this up
                ends.failed[each.effect_id] = f"slot {each.effect.slot} is not confirmed"
        await self._observe([each for each in due if each.effect.vote is None], ends)
        await self._count([each for each in due if each.effect.vote is not None], ends)

    async def _observe(self, observations: Sequence[StoredEffect], ends: Ends) -> None:
        """Read each market once, and tell its actor; a market that is not on chain has nothing to hear."""
        by_market: dict[MarketId, list[int]] = {}
        for each in observations:
            by_market.setdefault(each.effect.market_id, []).append(each.effect_id)
        if not by_market:
            return
        slot = max(each.effect.slot for each in observations)
        found = await self._accounts.markets(list(by_market), min_slot=slot)
        for market_id in by_market.keys() - found.keys():
            log.warning("market.absent", market_id=market_id, slot=slot)
            ends.done += by_market[market_id]
        commands = [AdoptMarket(market_id, observed) for market_id, observed in found.items()]
        outcomes = await self._markets.submit_many(commands)
        for command, outcome in zip(commands, outcomes, strict=True):
            self._sort_in(by_market[command.market_id], outcome, ends)

    async def _count(self, votes: Sequence[StoredEffect], ends: Ends) -> None:
        """Hand over the votes that are final by now; one that left no VoteRecord never happened."""
        if not votes:
            return
        final = await self._final(votes)
        settled = {each.effect_id for each in final}
        ends.waiting |= {each.effect_id: FINAL_S for each in votes if each.effect_id not in settled}
        if not final:
            return
        commands = await self._votes.commands(final, max(each.effect.slot for each in final))
        for each in final:
            if each.effect_id not in commands:
                log.error("vote.absent", market_id=each.effect.market_id, slot=each.effect.slot)
                ends.done.append(each.effect_id)
        outcomes = await self._markets.submit_many(list(commands.values()))
        slots = {each.effect_id: each.effect.slot for each in final}
        for (effect_id, command), outcome in zip(commands.items(), outcomes, strict=True):
            if isinstance(outcome, MarketNotFound | WrongState | VotingClosing):
                ends.waiting[effect_id] = NOT_YET_S
                ends.more.append(MarketEffect(command.market_id, slots[effect_id]))
            else:
                self._sort_in([effect_id], outcome, ends)

    async def _final(self, votes: Sequence[StoredEffect]) -> Sequence[StoredEffect]:
        """Votes whose own transaction is final: a fork may bring the same vote in another one, and that one counts."""
        finalized_slot = await self._history.finalized_slot()
        settled = await self._store.finalized([each.effect.vote.signature for each in votes if each.effect.vote])
        return [
            each
            for each in votes
            if each.effect.slot <= finalized_slot and each.effect.vote and each.effect.vote.signature in settled
        ]

    def _sort_in(self, effect_ids: Sequence[int], outcome: Outcome | MarketsAway | MarketBroke, ends: Ends) -> None:
        match outcome:
            case Done() | AlreadyInState():
                ends.done += effect_ids
            case MarketsAway():
                ends.waiting |= dict.fromkeys(effect_ids, OUTAGE_S)
            case _:
                ends.failed |= dict.fromkeys(effect_ids, repr(outcome))

    async def _write(self, stored: Sequence[StoredEffect], ends: Ends) -> None:
        by_id = {each.effect_id: each for each in stored}
        poison = {i: why for i, why in ends.failed.items() if by_id[i].attempts >= ATTEMPTS_MAX}
        again = {i: _pause_s(by_id[i].attempts) for i in ends.failed.keys() - poison.keys()}
        async with self._store.transaction() as opened:
            await opened.add_effects(ends.more)
            await opened.finish_effects([*ends.done, *poison])
            await opened.defer_effects(ends.waiting, "not yet", is_attempt=False)
            await opened.defer_effects(again, next(iter(ends.failed.values()), ""), is_attempt=True)
            for effect_id, why in poison.items():
                await opened.bury_effect(by_id[effect_id].effect, why)
            await opened.raise_alerts(_alerts(by_id, poison))


def _pause_s(attempts: int) -> float:
    return float(min(RETRY_S * 2**attempts, RETRY_S_MAX))


def _alerts(by_id: Mapping[int, StoredEffect], poison: Mapping[int, str]) -> list[AlertNote]:
    return [
        AlertNote(
            "effect_dead_letter",
            "HIGH",
            f"effect_dead_letter:{by_id[effect_id].effect.market_id}",
            by_id[effect_id].effect.market_id,
            {"error": why, "mend": "zmart index dead-letters"},
        )
        for effect_id, why in poison.items()
    ]
