"""What a command means for a market: events or one refusal; nothing is changed here.

The rules of what is sent to the chain, and of how that ends, are in `domain.aggregation`.
"""

from __future__ import annotations

from typing import assert_never

from domain import aggregation, stuck, transitions
from domain import events as ev
from domain.commands import (
    AdoptMarket,
    AggregateNow,
    CastVote,
    Command,
    DescribeMarket,
    FireDeadline,
    MoveMarket,
    ObserveMarket,
    RecordChainVote,
    Reload,
    SettleIntent,
)
from domain.market import VOTABLE_STATE, Market
from domain.observations import observe, without_unexplained
from domain.refusals import AlreadyInState, MarketNotFound, NotTheCreator, Refusal, VotingClosing, WrongState
from domain.rules import Now, Rules

Decision = tuple[ev.Event, ...] | Refusal


def decide(market: Market | None, command: Command, rules: Rules, now: Now) -> Decision:
    """What `command` means for `market`; None is a market that is not known here."""
    if isinstance(command, AdoptMarket):
        return _adopt(market, command, rules)
    if market is None:
        return MarketNotFound(command.market_id)
    match command:
        case CastVote():
            return _cast(market, command)
        case RecordChainVote():
            return _record(market, command)
        case DescribeMarket():
            return _describe(market, command)
        case ObserveMarket():
            look = aggregation.correct if command.corrects_tallies else observe
            seen = look(market, command.observed, rules)
            return without_unexplained(seen) if command.is_repair else seen
        case FireDeadline():
            return stuck.noticed(market, rules, now, aggregation.fire(market, rules, now))
        case AggregateNow():
            return aggregation.aggregate_now(market, rules, now)
        case MoveMarket():
            return transitions.move(market, command, rules, now)
        case SettleIntent():
            return aggregation.settle(market, command.settlement, rules, now)
        case Reload():
            return _reload(market, command)
        case _:
            assert_never(command)


def _adopt(market: Market | None, command: AdoptMarket, rules: Rules) -> Decision:
    if market is None:
        return (ev.MarketAdopted(command.observed),)
    return observe(market, command.observed, rules)


def _cast(market: Market, command: CastVote) -> Decision:
    """Refusals in fixed order: the market's state, then voting closing; what is stored decides the rest."""
    wanted = VOTABLE_STATE[command.vote_type]
    if market.state is not wanted:
        return WrongState(market.market_id, market.state, wanted)
    if market.voting_closed:
        return VotingClosing(market.market_id)
    return (ev.VoteAdmitted(command),)


def _record(market: Market, command: RecordChainVote) -> Decision:
    """A vote that stands on chain: counted, kept as late, or asked for again when the market knows more."""
    wanted = VOTABLE_STATE[command.vote_type]
    if market.state is wanted:
        return VotingClosing(market.market_id) if market.voting_closed else (ev.VoteAdmitted(command),)
    if market.state < wanted and not market.dispute_initiated_at_s:
        return WrongState(market.market_id, market.state, wanted)
    return (ev.ChainVoteCameLate(command),)


def _reload(market: Market, command: Reload) -> Decision:
    if command.stored == market and not command.was_asleep:
        return AlreadyInState(market.market_id)
    return (ev.MarketReloaded(command.stored, command.was_asleep),)


def _describe(market: Market, command: DescribeMarket) -> Decision:
    if not command.by_admin and command.by != market.creator:
        return NotTheCreator(market.market_id)
    if (command.question, command.category) == (market.question, market.category):
        return AlreadyInState(market.market_id)
    return (ev.MarketDescribed(command.question, command.category),)
