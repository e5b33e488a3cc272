"""The market: its state, and what an event does to it.

`evolve(market, event)` is total over the events that `domain.decisions.decide` gives for that market and never fails
on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass, replace
from operator import attrgetter
from typing import Any, assert_never

from domain import events as ev
from domain.ids import MarketId, Wallet
from domain.intents import ACTS_IN, Expectation, Intent
from domain.lifecycle import Lifecycle
from domain.merkle import Frontier
from domain.observed import ObservedMarket
from domain.tally import Tally, VoteType

VOTABLE_STATE = {VoteType.PROPOSAL: Lifecycle.PROPOSED, VoteType.DISPUTE: Lifecycle.DISPUTED}


@dataclass(frozen=True, slots=True)
class Market:
    """One market as its actor holds it; times are Unix seconds with 0 for unset, amounts are chain integers."""

    market_id: MarketId
    pda: Wallet
    creator: Wallet
    state: Lifecycle
    observed_slot: int
    b_parameter: int
    initial_liquidity: int
    current_liquidity: int
    shares_yes: int
    shares_no: int
    total_volume: int
    created_at_s: int
    approved_at_s: int = 0
    activated_at_s: int = 0
    resolution_proposed_at_s: int = 0
    resolved_at_s: int = 0
    finalized_at_s: int = 0
    dispute_initiated_at_s: int = 0
    cancelled_at_s: int = 0
    proposed_outcome: bool | None = None
    final_outcome: bool | None = None
    question: str = ""
    category: str = ""
    proposal: Tally = field(default_factory=Tally)
    dispute: Tally = field(default_factory=Tally)
    proposal_log: Frontier = field(default_factory=Frontier)
    """Every vote that was ever counted, superseded ones included (`domain/votelog.py`)."""
    dispute_log: Frontier = field(default_factory=Frontier)
    confirmed_likes: int = 0
    """The last pair that this backend submitted and the chain confirmed (decisions P7)."""
    confirmed_dislikes: int = 0
    approval_ready: bool = False
    voting_closed: bool = False
    """Set with the tallies that precede an approval or the end of a dispute, so that both tallies agree (P2)."""
    effect_unseen: bool = False
    """Something that moves the market was confirmed and no read has shown it yet: till then voting stays closed."""
    expectation: Expectation | None = None
    """What the last plan to end the dispute was made with; the outcome on chain is compared with it."""
    skip_reason: str = ""
    """Why nothing was sent at the last tick; the same reason is noted once until something is planned or moves."""
    intent: Intent | None = None
    failures: int = 0
    next_attempt_at_s: int = 0
    active_at_s: int = 0
    """When the chain last showed something new about the market, in chain time."""
    stuck_told_at_s: int = 0
    """The last instant, in chain time, at which people were told that the market is stuck; 0 since it last moved."""
    pool_lamports: int = 0
    """What the account holds above its rent, as last read."""
    resolver_fees: int = 0
    """What of it the first claim pays to the resolver."""
    version: int = 0
    market_seq: int = 0
    votes_seq: int = 0

    def tally(self, vote_type: VoteType) -> Tally:
        """The tally of one vote type."""
        return self.proposal if vote_type is VoteType.PROPOSAL else self.dispute

    def log(self, vote_type: VoteType) -> Frontier:
        """The log of one vote type."""
        return self.proposal_log if vote_type is VoteType.PROPOSAL else self.dispute_log

    @property
    def confirmed(self) -> Tally:
        """The pair that the chain is known to hold."""
        return Tally(self.confirmed_likes, self.confirmed_dislikes)

    @property
    def is_upheld(self) -> bool:
        """Whether the dispute is being ended by a vote that nobody cast (decisions P5)."""
        sent = self.expectation
        return sent is not None and not self.dispute.total and sent.yes + sent.no > 0

    @property
    def unsubmitted(self) -> bool:
        """Whether there are tallies that differ from the last pair that the chain confirmed."""
        return self.proposal.voters > 0 and (self.proposal.yes, self.proposal.no) != (
            self.confirmed_likes,
            self.confirmed_dislikes,
        )


_fields = [field.name for field in fields(Market)]
_values = attrgetter(*_fields)
_Blank = make_dataclass("_Blank", _fields, slots=True)
"""A market in the making: the same places in memory, and not frozen yet."""


def changed(market: Market, **changes: object) -> Market:
    """What `dataclasses.replace` gives, in 2 us instead of 9: every batch of votes makes two copies of a market."""
    copy: Any = _Blank(*_values(market))
    for name, value in changes.items():
        setattr(copy, name, value)
    copy.__class__ = Market
    assert isinstance(copy, Market)
    return copy


def evolve(market: Market | None, event: ev.Event) -> Market:
    """The market after `event`."""
    if isinstance(event, ev.MarketAdopted):
        return _adopted(event.observed)
    assert market is not None, f"{type(event).__name__} before the market was adopted"
    match event:
        case ev.VotesCounted():
            return _counted(market, event)
        case ev.MarketDescribed():
            return replace(market, question=event.question, category=event.category)
        case ev.MarketObserved():
            return _seen(market, observed_as(market, event.observed))
        case ev.MarketReloaded():
            return event.stored
        case ev.IntentPlanned():
            return _planned(market, event)
        case ev.TalliesConfirmed():
            landed = replace(market, confirmed_likes=event.likes, confirmed_dislikes=event.dislikes)
            return _ended(landed)
        case ev.TalliesUndone() | ev.TalliesCorrected():
            return replace(market, confirmed_likes=event.likes, confirmed_dislikes=event.dislikes)
        case ev.ApprovalBecameReady():
            return replace(market, approval_ready=True)
        case ev.ApprovalNoLongerReady():
            return replace(market, approval_ready=False)
        case (
            ev.ApprovalConfirmed()
            | ev.TransitionConfirmed()
            | ev.FinalizationConfirmed()
            | ev.AttemptFailed()
            | ev.AttemptTooEarly()
        ):
            return _settled(market, event)
        case ev.AggregationSkipped() | ev.StuckNoticed():
            return _noted(market, event)
        case ev.VoteAdmitted() | ev.ChainVoteCameLate() | ev.FinalizationMismatched() | ev.StateUnexplained():
            return market
        case _:
            assert_never(event)


def _noted(market: Market, event: ev.AggregationSkipped | ev.StuckNoticed) -> Market:
    if isinstance(event, ev.StuckNoticed):
        return replace(market, stuck_told_at_s=event.at_s)
    return replace(market, skip_reason=event.reason.value)


def _planned(market: Market, event: ev.IntentPlanned) -> Market:
    return replace(
        market,
        intent=event.intent,
        voting_closed=event.closes_voting or market.effect_unseen,
        expectation=event.expects or market.expectation,
        skip_reason="",
    )


def _settled(
    market: Market,
    event: ev.ApprovalConfirmed
    | ev.TransitionConfirmed
    | ev.FinalizationConfirmed
    | ev.AttemptFailed
    | ev.AttemptTooEarly,
) -> Market:
    ended = _ended(market)
    match event:
        case ev.AttemptFailed():
            return replace(ended, failures=event.failures, next_attempt_at_s=event.next_attempt_at_s, expectation=None)
        case ev.AttemptTooEarly():
            return replace(ended, failures=market.failures, next_attempt_at_s=event.next_attempt_at_s)
        case _:
            is_unseen = market.state in ACTS_IN[event.intent.action]
            return replace(ended, effect_unseen=is_unseen, voting_closed=is_unseen)


def _ended(market: Market) -> Market:
    """No attempt is open any more; votes are taken again unless an effect is still to be seen (decisions P2)."""
    return replace(market, intent=None, failures=0, next_attempt_at_s=0, voting_closed=market.effect_unseen)


def _seen(before: Market, market: Market) -> Market:
    """Another state is a new chapter: failures, closed voting and reasons belonged to the one before."""
    if market.state is before.state:
        return replace(market, effect_unseen=False)
    return replace(
        market,
        effect_unseen=False,
        voting_closed=False,
        expectation=market.expectation if market.state is Lifecycle.FINALIZED else None,
        failures=0,
        next_attempt_at_s=0,
        skip_reason="",
    )


def _adopted(observed: ObservedMarket) -> Market:
    return Market(
        market_id=observed.market_id,
        pda=observed.pda,
        creator=observed.creator,
        confirmed_likes=observed.proposal_likes,
        confirmed_dislikes=observed.proposal_dislikes,
        active_at_s=last_mark_s(observed),
        **_chain_facts(observed),
    )


def last_mark_s(seen: Market | ObservedMarket) -> int:
    """The latest of the times that the account itself has noted."""
    return max(int(getattr(seen, name)) for name in _MARKS)


def observed_as(market: Market, observed: ObservedMarket) -> Market:
    """The market as a read of its account shows it."""
    return replace(market, **_chain_facts(observed))


def _chain_facts(observed: ObservedMarket) -> dict[str, Any]:
    return {
        "state": observed.state,
        "observed_slot": observed.slot,
        **{name: getattr(observed, name) for name in _COPIED},
        **{name: read for name in _MAY_LACK if (read := getattr(observed, name)) is not None},
    }


_MARKS = (
    "created_at_s",
    "approved_at_s",
    "activated_at_s",
    "resolution_proposed_at_s",
    "resolved_at_s",
    "dispute_initiated_at_s",
    "finalized_at_s",
    "cancelled_at_s",
)
_MAY_LACK = ("pool_lamports", "resolver_fees")
_COPIED = (
    "b_parameter",
    "initial_liquidity",
    "current_liquidity",
    "shares_yes",
    "shares_no",
    "total_volume",
    "created_at_s",
    "approved_at_s",
    "activated_at_s",
    "resolution_proposed_at_s",
    "resolved_at_s",
    "finalized_at_s",
    "dispute_initiated_at_s",
    "cancelled_at_s",
    "proposed_outcome",
    "final_outcome",
)


def _counted(market: Market, event: ev.VotesCounted) -> Market:
    tally, log = market.tally(event.vote_type).plus(event.counted), market.log(event.vote_type).plus_all(event.leaves)
    if event.vote_type is VoteType.PROPOSAL:
        return changed(market, proposal=tally, proposal_log=log)
    return changed(market, dispute=tally, dispute_log=log)
