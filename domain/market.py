"""The market: its state, what a command means for it, and what an event does to it.

`decide(market, command, rules, now)` answers events or one refusal and changes nothing.
`evolve(market, event)` is total over the events that `decide` gives for that market and never fails on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from domain import events as ev
from domain.commands import AdoptMarket, CastVote, Command, DescribeMarket, FireDeadline, ObserveMarket, SettleIntent
from domain.ids import MarketId, Wallet
from domain.intents import Action, Intent, IntentStatus, Settlement
from domain.lifecycle import Lifecycle
from domain.observed import ObservedMarket
from domain.refusals import AlreadyInState, MarketNotFound, NotTheCreator, Refusal, VotingClosing, WrongState
from domain.rules import Now, Rules
from domain.tally import Tally, VoteType

VOTABLE_STATE = {VoteType.PROPOSAL: Lifecycle.PROPOSED, VoteType.DISPUTE: Lifecycle.DISPUTED}
RETRY_DELAYS_S = (300, 600, 1200)
"""Wait after the first, second, third failed attempt; the last one repeats (T14)."""


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
    confirmed_likes: int = 0
    """The last pair that this backend submitted and the chain confirmed (decisions P7)."""
    confirmed_dislikes: int = 0
    approval_ready: bool = False
    voting_closed: bool = False
    """Set with the tallies that precede an approval, so that both tallies agree exactly (decisions P2)."""
    intent: Intent | None = None
    failures: int = 0
    next_attempt_at_s: int = 0
    version: int = 0
    market_seq: int = 0
    votes_seq: int = 0

    def tally(self, vote_type: VoteType) -> Tally:
        """The tally of one vote type."""
        return self.proposal if vote_type is VoteType.PROPOSAL else self.dispute

    @property
    def unsubmitted(self) -> bool:
        """Whether there are tallies that differ from the last pair that the chain confirmed."""
        return self.proposal.voters > 0 and (self.proposal.yes, self.proposal.no) != (
            self.confirmed_likes,
            self.confirmed_dislikes,
        )


def decide(market: Market | None, command: Command, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """What `command` means for `market`; None is a market that is not known here."""
    if isinstance(command, AdoptMarket):
        return _adopt(market, command)
    if market is None:
        return MarketNotFound(command.market_id)
    match command:
        case CastVote():
            return _cast(market, command)
        case DescribeMarket():
            return _describe(market, command)
        case ObserveMarket():
            return _observe(market, command.observed)
        case FireDeadline():
            return _fire(market, rules, now)
        case SettleIntent():
            return _settle(market, command, rules, now)
        case _:
            assert_never(command)


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
            return _observed(market, event.observed)
        case ev.IntentPlanned():
            return replace(market, intent=event.intent, voting_closed=event.closes_voting)
        case ev.TalliesConfirmed():
            return replace(
                market,
                intent=None,
                failures=0,
                next_attempt_at_s=0,
                confirmed_likes=event.likes,
                confirmed_dislikes=event.dislikes,
                voting_closed=False,
            )
        case ev.TalliesUndone():
            return replace(market, confirmed_likes=event.likes, confirmed_dislikes=event.dislikes)
        case ev.ApprovalBecameReady():
            return replace(market, approval_ready=True)
        case ev.ApprovalNoLongerReady():
            return replace(market, approval_ready=False)
        case ev.ApprovalConfirmed():
            return replace(market, intent=None, failures=0, next_attempt_at_s=0)
        case ev.AttemptFailed():
            return replace(
                market,
                intent=None,
                voting_closed=False,
                failures=market.failures + 1,
                next_attempt_at_s=event.next_attempt_at_s,
            )
        case ev.VoteAdmitted() | ev.AggregationSkipped():
            return market
        case _:
            assert_never(event)


def approvable(market: Market, rules: Rules) -> bool:
    """Whether the confirmed tallies would pass `approve_proposal` and the quorum is there (P1, T20)."""
    return rules.config is not None and _passes(Tally(market.confirmed_likes, market.confirmed_dislikes), rules)


def _passes(tally: Tally, rules: Rules) -> bool:
    assert rules.config is not None
    return tally.total >= rules.min_proposal_votes and tally.meets(rules.config.proposal_threshold_bps)


def _adopt(market: Market | None, command: AdoptMarket) -> tuple[ev.Event, ...] | Refusal:
    if market is None:
        return (ev.MarketAdopted(command.observed),)
    return _observe(market, command.observed)


def _cast(market: Market, command: CastVote) -> tuple[ev.Event, ...] | Refusal:
    """Refusals in fixed order: the market's state, then voting closing; what is stored decides the rest."""
    wanted = VOTABLE_STATE[command.vote_type]
    if market.state is not wanted:
        return WrongState(market.market_id, market.state, wanted)
    if market.voting_closed:
        return VotingClosing(market.market_id)
    return (ev.VoteAdmitted(command),)


def _describe(market: Market, command: DescribeMarket) -> tuple[ev.Event, ...] | Refusal:
    if not command.by_admin and command.by != market.creator:
        return NotTheCreator(market.market_id)
    if (command.question, command.category) == (market.question, market.category):
        return AlreadyInState(market.market_id)
    return (ev.MarketDescribed(command.question, command.category),)


def _observe(market: Market, observed: ObservedMarket) -> tuple[ev.Event, ...] | Refusal:
    if observed.slot <= market.observed_slot:
        return AlreadyInState(market.market_id)
    if _observed(market, observed) == replace(market, observed_slot=observed.slot):
        return AlreadyInState(market.market_id)
    return (ev.MarketObserved(observed),)


def _fire(market: Market, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """A deadline: send changed tallies, or the approval that they allow; a busy market keeps its attempt."""
    if market.state is not Lifecycle.PROPOSED or market.intent is not None or rules.config is None:
        return AlreadyInState(market.market_id)
    if not rules.config.may_aggregate or now.wall_s < market.next_attempt_at_s:
        return AlreadyInState(market.market_id)
    if market.unsubmitted:
        return (_plan_tallies(market, rules, now),)
    if approvable(market, rules) and rules.config.may_approve:
        return (_plan_approval(market, now),)
    return (ev.AggregationSkipped("unchanged"),)


def _plan_tallies(market: Market, rules: Rules, now: Now) -> ev.IntentPlanned:
    assert rules.config is not None
    tally = market.proposal
    closes = rules.config.may_approve and _passes(tally, rules)
    intent = Intent(now.new_id(), market.market_id, Action.AGGREGATE_PROPOSAL, market.failures + 1, tally.yes, tally.no)
    return ev.IntentPlanned(intent, closes, tally.percentage_bps, rules.config.proposal_threshold_bps)


def _plan_approval(market: Market, now: Now) -> ev.IntentPlanned:
    intent = Intent(now.new_id(), market.market_id, Action.APPROVE, market.failures + 1)
    return ev.IntentPlanned(intent, True, 0, 0)


def _settle(market: Market, command: SettleIntent, rules: Rules, now: Now) -> tuple[ev.Event, ...] | Refusal:
    """The end of an attempt: what the account shows first, then what the attempt itself means."""
    settlement = command.settlement
    is_current = market.intent is not None and market.intent.intent_id == settlement.intent.intent_id
    if not is_current and settlement.status in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED):
        return AlreadyInState(market.market_id)
    seen: tuple[ev.Event, ...] = ()
    if settlement.observed is not None:
        observation = _observe(market, settlement.observed)
        seen = observation if isinstance(observation, tuple) else ()
    if not is_current:
        return seen + _undone(market, settlement, rules) or AlreadyInState(market.market_id)
    if settlement.status in (IntentStatus.CONFIRMED, IntentStatus.FINALIZED):
        return seen + _confirmed(market, settlement.intent, rules, now)
    delay_s = RETRY_DELAYS_S[min(market.failures, len(RETRY_DELAYS_S) - 1)]
    reason = settlement.error_name or settlement.status.value
    return (*seen, ev.AttemptFailed(settlement.intent, reason, now.wall_s + delay_s))


def _confirmed(market: Market, intent: Intent, rules: Rules, now: Now) -> tuple[ev.Event, ...]:
    if intent.action is Action.APPROVE:
        return (ev.ApprovalConfirmed(intent),)
    landed: tuple[ev.Event, ...] = (ev.TalliesConfirmed(intent, intent.yes, intent.no),)
    if rules.config is None or not _passes(Tally(intent.yes, intent.no), rules):
        return (*landed, ev.ApprovalNoLongerReady()) if market.approval_ready else landed
    if not market.approval_ready:
        landed = (*landed, ev.ApprovalBecameReady(rules.config.may_approve))
    goes_on = market.voting_closed and rules.config.may_approve
    return (*landed, _plan_approval(market, now)) if goes_on else landed


def _undone(market: Market, settlement: Settlement, rules: Rules) -> tuple[ev.Event, ...]:
    """A confirmed attempt whose slot was dropped (ADR 0009): forget its pair, so that the next tick sends again."""
    intent, observed = settlement.intent, settlement.observed
    is_held = (market.confirmed_likes, market.confirmed_dislikes) == (intent.yes, intent.no)
    if intent.action is not Action.AGGREGATE_PROPOSAL or not is_held:
        return ()
    likes, dislikes = (observed.proposal_likes, observed.proposal_dislikes) if observed else (0, 0)
    if (likes, dislikes) == (intent.yes, intent.no):
        return ()  # somebody else has written the same pair since
    undone = ev.TalliesUndone(intent, likes, dislikes)
    if market.approval_ready and not approvable(evolve(market, undone), rules):
        return (undone, ev.ApprovalNoLongerReady())
    return (undone,)


def _adopted(observed: ObservedMarket) -> Market:
    return Market(
        market_id=observed.market_id,
        pda=observed.pda,
        creator=observed.creator,
        confirmed_likes=observed.proposal_likes,
        confirmed_dislikes=observed.proposal_dislikes,
        **_chain_facts(observed),
    )


def _observed(market: Market, observed: ObservedMarket) -> Market:
    return replace(market, **_chain_facts(observed))


def _chain_facts(observed: ObservedMarket) -> dict[str, Any]:
    return {
        "state": observed.state,
        "observed_slot": observed.slot,
        **{name: getattr(observed, name) for name in _COPIED},
    }


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
    if event.vote_type is VoteType.PROPOSAL:
        return replace(market, proposal=market.proposal.plus(event.counted))
    return replace(market, dispute=market.dispute.plus(event.counted))
