"""Votes, resolution, disputes, settings on the ledger: boundaries to the second, and the quirks Q1 to Q14 of CI 9."""

from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction

from chain.events import (
    ConfigUpdated,
    DisputeAggregated,
    DisputeInitiated,
    DisputeVoteSubmitted,
    MarketActivated,
    MarketCreated,
    MarketFinalized,
    MarketResolved,
    ProposalAggregated,
    ProposalVoteSubmitted,
    ProtocolPauseStatusChanged,
)
from chain.ledger.zmart.records import CANCELLED, DISPUTED, FINALIZED, PROPOSED, RESOLVING
from chain.program import DISPUTE_VOTE, PROPOSAL_VOTE, ConfigChange
from tests.support.stage import DISPUTE_PERIOD_S, HASH, MARKET, SOL, START_S, MakeStage, Stage, wallet

TEN_YEARS_S = 315_360_000
IN_USE = ("AccountAlreadyInUse", {"InstructionError": [0, {"Custom": 0}]})


@pytest.fixture
def trading(stage: Stage) -> Stage:
    stage.activate()
    return stage


@pytest.fixture
def resolving(trading: Stage) -> Stage:
    trading.resolve(True)
    return trading


@pytest.fixture
def disputed(resolving: Stage) -> Stage:
    resolving.dispute()
    return resolving


def proposal_vote(stage: Stage, vote: bool = True) -> Instruction:
    return stage.program.submit_proposal_vote(wallet(stage.alice), MARKET, vote)


def dispute_vote(stage: Stage, vote: bool = True) -> Instruction:
    return stage.program.submit_dispute_vote(wallet(stage.alice), MARKET, vote)


def aggregating(stage: Stage, agrees: int, disagrees: int) -> Instruction:
    return stage.program.aggregate_dispute_votes(wallet(stage.backend), MARKET, agrees, disagrees)


def test_a_markets_first_events_carry_its_numbers(stage: Stage) -> None:
    call = stage.program.create_market(wallet(stage.creator), MARKET, 100 * SOL, SOL // 10, HASH)
    assert stage.land(call, stage.creator) == [MarketCreated(MARKET, wallet(stage.creator), 100 * SOL, 0, START_S)]
    stage.approve()
    call = stage.program.activate_market(wallet(stage.creator), MARKET)
    assert stage.land(call, stage.creator) == [MarketActivated(MARKET, wallet(stage.creator), SOL // 10, START_S)]


def test_a_vote_on_a_proposal_is_a_record_and_moves_no_tally(stage: Stage) -> None:
    stage.create()
    before = stage.lamports(stage.alice.pubkey())
    assert stage.land(proposal_vote(stage), stage.alice) == [
        ProposalVoteSubmitted(MARKET, wallet(stage.alice), True, START_S)
    ]
    address, bump = stage.program.vote_address(stage.pda, wallet(stage.alice), PROPOSAL_VOTE)
    assert (len(stage.data(address)), stage.lamports(address)) == (83, 1_468_560)
    assert before - stage.lamports(stage.alice.pubkey()) == 1_468_560 + 5_000
    record = stage.vote_record(stage.alice, PROPOSAL_VOTE)
    assert (record.market, record.user) == (bytes(stage.pda), bytes(stage.alice.pubkey()))
    assert (record.vote_type, record.vote, record.voted_at, record.bump) == (PROPOSAL_VOTE, True, START_S, bump)
    assert (stage.market.proposal_likes, stage.market.proposal_total_votes) == (0, 0)


def test_a_second_vote_fails_in_the_system_program_even_when_voting_is_over(stage: Stage) -> None:
    stage.create()
    stage.land(proposal_vote(stage), stage.alice)
    assert stage.failure(proposal_vote(stage, False), stage.alice) == IN_USE
    stage.approve()
    assert stage.failure(proposal_vote(stage, False), stage.alice) == IN_USE
    late = stage.program.submit_proposal_vote(wallet(stage.bob), MARKET, True)
    assert stage.refused(late, stage.bob) == "InvalidStateForVoting"


def test_a_vote_record_at_another_address_is_refused_by_its_seeds(stage: Stage) -> None:
    stage.create()
    call = proposal_vote(stage)
    metas = list(call.accounts)
    metas[1] = AccountMeta(dispute_vote(stage).accounts[1].pubkey, is_signer=False, is_writable=True)
    assert stage.refused(Instruction(call.program_id, bytes(call.data), metas), stage.alice) == "ConstraintSeeds"


def test_aggregated_proposal_votes_approve_nothing_q1(stage: Stage) -> None:
    stage.create()
    call = stage.program.aggregate_proposal_votes(wallet(stage.backend), MARKET, 7, 3)
    assert stage.land(call, stage.backend) == [ProposalAggregated(MARKET, 7, 3, 70, True, START_S)]
    assert (stage.market.state, stage.market.approved_at) == (PROPOSED, 0)


def test_zero_votes_reach_a_threshold_of_zero(stage: Stage) -> None:
    stage.create()
    stage.configure(proposal_approval_threshold=0)
    call = stage.program.aggregate_proposal_votes(wallet(stage.backend), MARKET, 0, 0)
    assert stage.land(call, stage.backend) == [ProposalAggregated(MARKET, 0, 0, 0, True, START_S)]
    assert stage.refused(stage.program.approve_proposal(wallet(stage.admin), MARKET), stage.admin) == "NoVotesRecorded"


def test_a_cancelled_market_keeps_its_flag_down_q12(stage: Stage) -> None:
    stage.create()
    stage.land(stage.program.cancel_market(wallet(stage.admin), MARKET), stage.admin)
    assert (stage.market.state, stage.market.is_cancelled, stage.market.cancelled_at) == (CANCELLED, False, START_S)


def test_a_market_is_resolved_a_second_after_its_activation_at_the_earliest_q9(stage: Stage) -> None:
    stage.create()
    stage.approve()
    stage.land(stage.program.activate_market(wallet(stage.creator), MARKET), stage.creator)
    assert stage.refused(stage.resolving(), stage.resolver) == "InvalidTimestamp"
    stage.later(1)
    assert stage.land(stage.resolving(False), stage.resolver) == [
        MarketResolved(MARKET, wallet(stage.resolver), False, HASH, START_S + 1)
    ]
    market = stage.market
    assert (market.state, market.proposed_outcome, market.final_outcome) == (RESOLVING, False, None)
    assert (market.resolver, market.resolution_proposed_at) == (bytes(stage.resolver.pubkey()), START_S + 1)
    assert market.ipfs_evidence_hash == HASH
    assert stage.refused(stage.resolving(), stage.resolver) == "InvalidMarketState"


def test_a_market_older_than_ten_years_is_not_resolved(trading: Stage) -> None:
    trading.later(TEN_YEARS_S - 1)
    before = trading.market.created_at + TEN_YEARS_S
    assert trading.second == before
    trading.later(1)
    assert trading.refused(trading.resolving(), trading.resolver) == "InvalidTimestamp"


def test_the_dispute_window_opens_after_the_resolutions_second_and_ends_before_the_deadline_q9(stage: Stage) -> None:
    stage.activate()
    stage.resolve()
    assert stage.refused(stage.disputing(), stage.bob) == "InvalidTimestamp"
    assert stage.refused(stage.finalizing(), stage.backend) == "InvalidTimestamp"
    stage.later(1)
    assert stage.refused(stage.finalizing(), stage.backend) == "DisputePeriodNotEnded"
    stage.later(DISPUTE_PERIOD_S - 2)
    assert stage.refused(stage.finalizing(), stage.backend) == "DisputePeriodNotEnded"
    assert stage.land(stage.disputing(), stage.bob) == [DisputeInitiated(MARKET, wallet(stage.bob), True, stage.second)]


def test_at_the_deadline_a_market_is_finalized_and_no_longer_disputed_q9(resolving: Stage) -> None:
    resolving.later(DISPUTE_PERIOD_S)
    assert resolving.refused(resolving.disputing(), resolving.bob) == "DisputePeriodEnded"
    # tallies are ignored in Resolving
    assert resolving.land(resolving.finalizing(9, 0), resolving.backend) == [
        MarketFinalized(MARKET, True, False, resolving.second)
    ]
    market = resolving.market
    assert (market.state, market.final_outcome, market.finalized_at) == (FINALIZED, True, resolving.second)
    assert (market.resolved_at, market.dispute_total_votes) == (0, 0)
    assert resolving.refused(resolving.finalizing(), resolving.backend) == "InvalidMarketState"


def test_the_dispute_period_is_read_when_it_is_needed_q8(resolving: Stage) -> None:
    resolving.later(60)
    resolving.configure(dispute_period_s=60)
    assert resolving.refused(resolving.disputing(), resolving.bob) == "DisputePeriodEnded"
    resolving.configure(dispute_period_s=2**63 - 1)
    assert resolving.refused(resolving.finalizing(), resolving.backend) == "OverflowError"
    resolving.configure(dispute_period_s=60)
    assert resolving.land(resolving.finalizing(), resolving.backend)


def test_only_the_backend_finalizes(resolving: Stage) -> None:
    resolving.later(DISPUTE_PERIOD_S)
    call = resolving.program.finalize_market(wallet(resolving.admin), MARKET)
    assert resolving.refused(call, resolving.admin) == "Unauthorized"


def test_a_dispute_vote_needs_a_dispute_and_no_position(disputed: Stage) -> None:
    assert disputed.land(dispute_vote(disputed, False), disputed.alice) == [
        DisputeVoteSubmitted(MARKET, wallet(disputed.alice), False, disputed.second)
    ]
    record = disputed.vote_record(disputed.alice, DISPUTE_VOTE)
    assert (record.vote_type, record.vote) == (DISPUTE_VOTE, False)
    assert disputed.failure(dispute_vote(disputed), disputed.alice) == IN_USE
    assert disputed.market.dispute_total_votes == 0


@pytest.mark.parametrize(
    ("agree", "disagree", "outcome"),
    [(6, 4, False), (5_999, 4_001, True), (0, 1, True), (1, 0, False), (2**32 - 1, 0, False)],
)
def test_a_dispute_is_ended_at_once_and_six_in_ten_turn_the_outcome_q6(
    disputed: Stage, agree: int, disagree: int, outcome: bool
) -> None:
    disputed.later(1)
    assert disputed.land(disputed.finalizing(agree, disagree), disputed.backend) == [
        MarketFinalized(MARKET, outcome, True, disputed.second)
    ]
    market = disputed.market
    assert (market.dispute_agree, market.dispute_disagree) == (agree, disagree)
    assert (market.dispute_total_votes, market.was_disputed) == (agree + disagree, True)


@pytest.mark.parametrize(
    ("agree", "disagree", "refusal"),
    [
        (None, None, "NoVotesRecorded"),
        (1, None, "NoVotesRecorded"),
        (None, 1, "NoVotesRecorded"),
        (0, 0, "NoVotesRecorded"),
        (2**32 - 1, 1, "OverflowError"),
    ],
)
def test_a_dispute_without_votes_cannot_be_finalized_q7(
    disputed: Stage, agree: int | None, disagree: int | None, refusal: str
) -> None:
    assert disputed.refused(disputed.finalizing(agree, disagree), disputed.backend) == refusal


def test_a_dispute_that_succeeds_by_aggregation_leads_back_to_the_rejected_outcome_q2_q3_q4(disputed: Stage) -> None:
    disputed.land(dispute_vote(disputed), disputed.alice)
    proposed_at = disputed.market.resolution_proposed_at
    assert disputed.land(aggregating(disputed, 6, 4), disputed.backend) == [
        DisputeAggregated(MARKET, 6, 4, 60, True, disputed.second)
    ]
    market = disputed.market
    assert (market.state, market.proposed_outcome, market.was_disputed) == (RESOLVING, True, True)
    assert market.resolution_proposed_at == proposed_at
    assert disputed.refused(disputed.resolving(False), disputed.resolver) == "InvalidMarketState"
    disputed.land(disputed.disputing(), disputed.bob)
    assert disputed.failure(dispute_vote(disputed), disputed.alice) == IN_USE
    assert disputed.market.dispute_total_votes == 0
    disputed.land(aggregating(disputed, 6, 4), disputed.backend)
    disputed.later(DISPUTE_PERIOD_S)
    assert disputed.land(disputed.finalizing(), disputed.backend) == [
        MarketFinalized(MARKET, True, False, disputed.second)
    ]
    assert disputed.market.was_disputed is False


@pytest.mark.parametrize(("agrees", "disagrees", "percentage"), [(0, 0, 0), (5_999, 4_001, 59), (1, 2, 33)])
def test_a_dispute_that_fails_by_aggregation_finalizes_without_outcome_q5(
    disputed: Stage, agrees: int, disagrees: int, percentage: int
) -> None:
    assert disputed.land(aggregating(disputed, agrees, disagrees), disputed.backend) == [
        DisputeAggregated(MARKET, agrees, disagrees, percentage, False, disputed.second)
    ]
    market = disputed.market
    assert (market.state, market.final_outcome, market.was_disputed) == (FINALIZED, None, True)
    assert (market.resolved_at, market.finalized_at) == (disputed.second, 0)


def test_dispute_tallies_are_the_backends_and_fit_u32(disputed: Stage) -> None:
    call = disputed.program.aggregate_dispute_votes(wallet(disputed.bob), MARKET, 1, 0)
    assert disputed.refused(call, disputed.bob) == "Unauthorized"
    assert disputed.refused(aggregating(disputed, 2**32 - 1, 1), disputed.backend) == "OverflowError"


def test_tallies_of_a_market_that_is_not_disputed_are_refused(resolving: Stage) -> None:
    assert resolving.refused(aggregating(resolving, 1, 0), resolving.backend) == "InvalidStateForVoting"
    assert resolving.refused(dispute_vote(resolving), resolving.alice) == "InvalidStateForVoting"


def test_settings_change_at_once_and_are_announced(stage: Stage) -> None:
    assert stage.configure(min_resolution_delay_s=30, dispute_period_s=120) == [
        ConfigUpdated(300, 200, 500, 7000, 6000, 30, 120, START_S)
    ]
    assert stage.configure(protocol_fee_bps=1) == [ConfigUpdated(1, 200, 500, 7000, 6000, 30, 120, START_S)]
    config = stage.config
    assert (config.protocol_fee_bps, config.min_resolution_delay, config.dispute_period) == (1, 30, 120)
    assert (config.admin, config.min_resolver_reputation) == (bytes(stage.admin.pubkey()), 8_000)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"protocol_fee_bps": 9_301}, "InvalidFeeStructure"),
        ({"protocol_fee_bps": 65_535}, "InvalidFeeStructure"),
        ({"proposal_approval_threshold": 10_001}, "InvalidThreshold"),
        ({"dispute_success_threshold": 10_001}, "InvalidThreshold"),
        ({"min_resolution_delay_s": 0}, "InvalidTimeLimit"),
        ({"dispute_period_s": -1}, "InvalidTimeLimit"),
    ],
)
def test_settings_out_of_range_are_refused(stage: Stage, change: dict[str, Any], refusal: str) -> None:
    given = {
        "protocol_fee_bps": 300,
        "resolver_reward_bps": 200,
        "liquidity_provider_fee_bps": 500,
        "proposal_approval_threshold": 7_000,
        "dispute_success_threshold": 6_000,
    }
    call = stage.program.update_global_config(wallet(stage.admin), ConfigChange(**{**given, **change}))
    assert stage.refused(call, stage.admin) == refusal


def test_only_the_admin_changes_settings_or_pauses(stage: Stage) -> None:
    change = ConfigChange(300, 200, 500, 7_000, 6_000)
    call = stage.program.update_global_config(wallet(stage.backend), change)
    assert stage.refused(call, stage.backend) == "Unauthorized"
    assert stage.refused(stage.program.emergency_pause(wallet(stage.backend)), stage.backend) == "Unauthorized"


def test_a_pause_is_a_toggle_that_stops_creating_and_trading_only_q14(trading: Stage) -> None:
    trading.buy(trading.alice, True, SOL)
    pause, admin = trading.program.emergency_pause(wallet(trading.admin)), wallet(trading.admin)
    assert trading.land(pause, trading.admin) == [ProtocolPauseStatusChanged(True, admin, trading.second)]
    assert trading.refused(trading.buying(trading.bob, True, SOL), trading.bob) == "ProtocolPaused"
    assert trading.refused(trading.selling(trading.alice, True, SOL), trading.alice) == "ProtocolPaused"
    trading.resolve()
    trading.dispute()
    trading.land(dispute_vote(trading), trading.alice)
    trading.land(trading.finalizing(6, 4), trading.backend)
    assert trading.land(pause, trading.admin) == [ProtocolPauseStatusChanged(False, admin, trading.second)]


def test_a_pause_stops_new_markets(stage: Stage) -> None:
    stage.land(stage.program.emergency_pause(wallet(stage.admin)), stage.admin)
    call = stage.program.create_market(wallet(stage.creator), MARKET, 0, 0, HASH)
    assert stage.refused(call, stage.creator) == "ProtocolPaused"


def test_dead_fields_stay_dead_through_a_whole_life_q12(disputed: Stage) -> None:
    disputed.land(dispute_vote(disputed), disputed.alice)
    disputed.land(disputed.finalizing(6, 4), disputed.backend)
    market = disputed.market
    assert (market.accumulated_protocol_fees, market.is_cancelled, market.is_locked) == (0, False, False)
    assert (market.resolution_agree, market.resolution_disagree, market.resolution_total_votes) == (0, 0, 0)
    assert market.reserved == bytes(119)
    assert disputed.data(disputed.pda)[476:] == bytes(12)
    assert (len(disputed.data(disputed.pda)), market.state) == (488, FINALIZED)
    assert market.state != DISPUTED


def test_the_older_build_counts_one_lower_from_6005_on_and_calls_things_by_the_same_names(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(build="old")
    stage.create()
    assert stage.failure(dispute_vote(stage), stage.alice) == (
        "InvalidStateForVoting",
        {"InstructionError": [0, {"Custom": 6050}]},
    )
    call = stage.program.aggregate_proposal_votes(wallet(stage.bob), MARKET, 1, 0)
    assert stage.failure(call, stage.bob) == ("Unauthorized", {"InstructionError": [0, {"Custom": 6028}]})
    call = stage.program.update_global_config(wallet(stage.admin), ConfigChange(9_999, 2, 0, 0, 0))
    assert stage.failure(call, stage.admin) == ("InvalidFeeStructure", {"InstructionError": [0, {"Custom": 6004}]})
