"""Messages to domain values and back, and every way in which a field can be wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from domain.commands import AdoptMarket, CastVote, DescribeMarket
from domain.deadlines import ClockName, Deadline
from domain.decisions import decide
from domain.ids import Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market, evolve
from domain.outcomes import VoteTaken
from domain.rules import Now, Rules
from domain.tally import Tally, VoteType
from grpc_server import translate
from grpc_server.methods import POLICIES, SMALL_BYTES_MAX
from grpc_server.problems import Invalid, Rejected, Violation
from identity import Caller, Tier
from tests.support.grpc_parts import CONFIG, START_S, NoGrid, market_id_of, observed
from zmart.v1 import auth_service_pb2, event_service_pb2, market_service_pb2, ops_service_pb2, webhook_service_pb2
from zmart.v1 import vote_service_pb2 as votes

WALLET = Wallet("6s8bbbCS7oNYNnTUHgrPDHG4jqaSrD6MSxQSPVR1rxw")
MARKET = market_id_of(7)
REQUEST_ID = "0B4BA8A4-6F1E-4D0C-9F0B-0123456789ab"


def a_market() -> Market:
    decision = decide(
        None, AdoptMarket(MARKET, observed(7, WALLET)), Rules(CONFIG, NoGrid(), 10), Now(START_S, START_S, str)
    )
    assert isinstance(decision, tuple)
    return evolve(None, decision[0])


def rejected(call: Callable[[], object]) -> Violation:
    with pytest.raises(Rejected) as caught:
        call()
    assert isinstance(caught.value.problem, Violation)
    return caught.value.problem


def test_a_vote_becomes_a_command_with_a_canonical_request_id() -> None:
    request = votes.CastProposalVoteRequest(market_id=MARKET, vote="dislike", request_id=REQUEST_ID)
    assert translate.proposal_vote(request, WALLET, "id") == CastVote(
        MARKET, "id", WALLET, VoteType.PROPOSAL, False, 1, REQUEST_ID.lower()
    )


def test_a_vote_without_a_request_id_has_none() -> None:
    request = votes.CastProposalVoteRequest(market_id=MARKET, vote="like")
    assert translate.proposal_vote(request, WALLET, "id").request_id is None


@pytest.mark.parametrize(
    ("changes", "invalid", "field"),
    [
        ({"market_id": ""}, Invalid.MARKET_ID_MALFORMED, "market_id"),
        ({"market_id": "0OIl"}, Invalid.MARKET_ID_MALFORMED, "market_id"),
        ({"market_id": "1" * 31}, Invalid.MARKET_ID_MALFORMED, "market_id"),
        ({"market_id": "x" * 10_000}, Invalid.MARKET_ID_MALFORMED, "market_id"),
        ({"vote": ""}, Invalid.VOTE_WORD_UNKNOWN, "vote"),
        ({"vote": "Like"}, Invalid.VOTE_WORD_UNKNOWN, "vote"),
        ({"vote": "support"}, Invalid.VOTE_WORD_UNKNOWN, "vote"),
        ({"request_id": ""}, Invalid.REQUEST_ID_MALFORMED, "request_id"),
        ({"request_id": "1"}, Invalid.REQUEST_ID_MALFORMED, "request_id"),
        ({"request_id": REQUEST_ID + "0"}, Invalid.REQUEST_ID_MALFORMED, "request_id"),
        ({"request_id": "{" + REQUEST_ID + "}"}, Invalid.REQUEST_ID_MALFORMED, "request_id"),
    ],
)
def test_a_malformed_vote_names_its_field(changes: dict[str, str], invalid: Invalid, field: str) -> None:
    request = votes.CastProposalVoteRequest(**{"market_id": MARKET, "vote": "like", **changes})
    found = rejected(lambda: translate.proposal_vote(request, WALLET, "id"))
    assert (found.invalid, found.field) == (invalid, field)
    assert len(found.value) <= 64


@pytest.mark.parametrize(
    ("word", "vote_type", "choice", "weight"),
    [
        ("like", VoteType.PROPOSAL, True, 1),
        ("dislike", VoteType.PROPOSAL, False, 1),
        ("support", VoteType.DISPUTE, True, translate.UNWEIGHED),
        ("reject", VoteType.DISPUTE, False, translate.UNWEIGHED),
    ],
)
def test_the_word_of_a_vote_in_bulk_says_what_it_is_about(
    word: str, vote_type: VoteType, choice: bool, weight: int
) -> None:
    request = votes.BulkVote(user_pubkey=WALLET, market_id=MARKET, vote=word, request_id=REQUEST_ID)
    expected = CastVote(MARKET, "id", WALLET, vote_type, choice, weight, REQUEST_ID.lower())
    assert translate.bulk_vote(request, WALLET, "id") == expected
    if vote_type is VoteType.DISPUTE:
        single = votes.CastDisputeVoteRequest(market_id=MARKET, vote=word, request_id=REQUEST_ID)
        assert translate.dispute_vote(single, WALLET, "id") == expected


@pytest.mark.parametrize("word", ["", "Like", "agree", "yes"])
def test_any_other_word_is_no_vote_in_bulk(word: str) -> None:
    request = votes.BulkVote(user_pubkey=WALLET, market_id=MARKET, vote=word)
    assert rejected(lambda: translate.bulk_vote(request, WALLET, "id")).invalid is Invalid.VOTE_WORD_UNKNOWN


def test_a_listing_of_votes_names_a_market_and_maybe_a_type() -> None:
    request = votes.ListVotesRequest(market_id=MARKET, vote_type="dispute", page_size=7)
    assert translate.vote_listing(request) == (MARKET, VoteType.DISPUTE, 7)
    assert translate.vote_listing(votes.ListVotesRequest(market_id=MARKET)) == (MARKET, None, 50)


def test_the_other_spellings_of_a_market_id_are_the_same_market() -> None:
    raw = (7).to_bytes(32, "big").hex()
    assert translate.market_id(raw) == translate.market_id(raw.upper()) == MARKET
    assert translate.market_id("00000000-0000-0000-0000-000000000007") != MARKET


def register(**changes: str) -> market_service_pb2.RegisterMarketRequest:
    return market_service_pb2.RegisterMarketRequest(**{"market_id": MARKET, "question": "Will it?", **changes})


def test_a_description_says_who_gives_it() -> None:
    by_wallet = translate.description(register(category="weather"), Caller(Tier.WALLET, WALLET, 1))
    assert by_wallet == DescribeMarket(MARKET, WALLET, False, "Will it?", "weather")
    by_operator = translate.description(register(), Caller(Tier.ADMIN, None, 1))
    assert by_operator == DescribeMarket(MARKET, None, True, "Will it?", "")
    assert not translate.description(register(), Caller(Tier.SERVICE)).by_admin


@pytest.mark.parametrize(
    ("changes", "invalid", "field"),
    [
        ({"question": ""}, Invalid.TEXT_MISSING, "question"),
        ({"question": " \t "}, Invalid.TEXT_MISSING, "question"),
        ({"question": "q" * 501}, Invalid.TEXT_TOO_LONG, "question"),
        ({"question": "a\0b"}, Invalid.TEXT_NOT_PRINTABLE, "question"),
        ({"question": "a\nb"}, Invalid.TEXT_NOT_PRINTABLE, "question"),
        ({"question": "a\u2028b"}, Invalid.TEXT_NOT_PRINTABLE, "question"),
        ({"category": "c" * 65}, Invalid.TEXT_TOO_LONG, "category"),
        ({"category": "\x1b[31m"}, Invalid.TEXT_NOT_PRINTABLE, "category"),
        ({"market_id": "?"}, Invalid.MARKET_ID_MALFORMED, "market_id"),
    ],
)
def test_a_malformed_description_names_its_field(changes: dict[str, str], invalid: Invalid, field: str) -> None:
    found = rejected(lambda: translate.description(register(**changes), Caller(Tier.WALLET, WALLET, 1)))
    assert (found.invalid, found.field) == (invalid, field)


def test_a_question_may_have_500_letters_of_any_script() -> None:
    question = "\N{FAMILY}" + "\N{CJK UNIFIED IDEOGRAPH-6C34}" * 499
    assert translate.description(register(question=question), Caller(Tier.WALLET, WALLET, 1)).question == question


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_a_page_has_a_default_and_a_largest_size(asked: int, given: int) -> None:
    assert translate.listing(market_service_pb2.ListMarketsRequest(page_size=asked)) == (None, given)


def test_a_listing_may_name_a_state() -> None:
    request = market_service_pb2.ListMarketsRequest(state="DISPUTED")
    assert translate.listing(request) == (Lifecycle.DISPUTED, 50)


def test_a_negative_page_and_an_unknown_state_are_refused() -> None:
    negative = market_service_pb2.ListMarketsRequest(page_size=-1)
    assert rejected(lambda: translate.listing(negative)).invalid is Invalid.PAGE_SIZE_NEGATIVE
    for word in ("proposed", "OPEN", "name"):
        unknown = market_service_pb2.ListMarketsRequest(state=word)
        assert rejected(lambda unknown=unknown: translate.listing(unknown)).invalid is Invalid.STATE_UNKNOWN  # type: ignore[misc]


def test_a_malformed_address_names_its_field() -> None:
    assert rejected(lambda: translate.address("nobody")) == Violation(Invalid.ADDRESS_MALFORMED, "address", "nobody")


def test_a_taken_vote_answers_headcounts() -> None:
    receipt = votes.VoteReceipt(sequence=10)
    response = translate.proposal_vote_response(VoteTaken("id", Tally(7, 3, 7, 3), False, 10, b"leaf"), receipt)
    assert (response.success, response.vote_id, response.receipt) == (True, "id", receipt)
    assert (response.vote_count.likes, response.vote_count.dislikes) == (7, 3)


@pytest.mark.parametrize(
    ("likes", "dislikes", "bps", "met"), [(7, 3, 7000, True), (6999, 3001, 6999, False), (0, 0, 0, False)]
)
def test_a_tally_is_held_against_the_live_threshold(likes: int, dislikes: int, bps: int, met: bool) -> None:
    market = replace(a_market(), proposal=Tally(likes, dislikes, likes, dislikes), version=9)
    response = translate.tally_response(market, CONFIG)
    assert (response.market_id, response.version) == (MARKET, 9)
    assert (response.proposal.likes, response.proposal.dislikes) == (likes, dislikes)
    assert (response.proposal.percentage_bps, response.proposal.threshold_met) == (bps, met)
    assert response.proposal.threshold_bps == 7000


def test_weights_of_a_dispute_are_exact_beyond_64_bits() -> None:
    market = replace(a_market(), dispute=Tally(2**64, 2**65, 2, 1))
    dispute = translate.tally_response(market, CONFIG).dispute
    assert (dispute.support, dispute.reject) == (str(2**64), str(2**65))
    assert (dispute.support_voters, dispute.reject_voters, dispute.percentage_bps) == (2, 1, 3333)


def test_without_a_config_thresholds_are_absent_and_never_met() -> None:
    market = replace(a_market(), proposal=Tally(7, 3, 7, 3))
    proposal = translate.tally_response(market, None).proposal
    assert not proposal.HasField("threshold_bps")
    assert not proposal.threshold_met


def test_a_market_answers_chain_integers_and_only_times_that_came() -> None:
    deadline = Deadline(START_S + 300, ClockName.CHAIN)
    response = translate.market_response(replace(a_market(), question="Will it?", version=3), deadline)
    assert (response.state, response.question, response.version) == ("PROPOSED", "Will it?", 3)
    assert (response.shares_yes, response.initial_liquidity) == (2**64 - 1, 2**63)
    assert response.created_at.seconds == START_S + 7
    assert response.next_deadline.seconds == START_S + 300
    assert not response.HasField("approved_at")
    assert not translate.market_response(a_market(), None).HasField("next_deadline")


@pytest.mark.parametrize(
    ("state", "outcome", "word"),
    [
        (Lifecycle.FINALIZED, True, "YES"),
        (Lifecycle.FINALIZED, False, "NO"),
        (Lifecycle.FINALIZED, None, "INVALID"),
        (Lifecycle.RESOLVING, None, ""),
        (Lifecycle.CANCELLED, None, ""),
    ],
)
def test_an_outcome_is_invalid_only_when_the_market_is_final_without_one(
    state: Lifecycle, outcome: bool | None, word: str
) -> None:
    response = translate.market_response(replace(a_market(), state=state, final_outcome=outcome), None)
    assert response.final_outcome == word
    assert response.claims_enabled == (state is Lifecycle.FINALIZED)


def test_every_method_of_the_contract_has_a_policy_and_nothing_else_has() -> None:
    files = (auth_service_pb2, event_service_pb2, market_service_pb2, ops_service_pb2, votes, webhook_service_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(POLICIES) == methods


def test_the_longest_legal_request_of_a_few_fields_fits_its_limit() -> None:
    longest = market_service_pb2.RegisterMarketRequest(
        market_id="f" * 64, question="\N{FAMILY}" * 500, category="\N{FAMILY}" * 64
    )
    sign_in = auth_service_pb2.SignInRequest(address="z" * 44, message="m" * 2_048, signature="z" * 88)
    assert max(longest.ByteSize(), sign_in.ByteSize()) <= SMALL_BYTES_MAX
