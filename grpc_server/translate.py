"""Between messages and the domain: one pure function per message, which validates by hand (decisions A2).

What a request gets wrong is raised as `Rejected` with a `Violation` that names the field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from domain.claims import claims_of
from domain.commands import CastVote, DescribeMarket
from domain.deadlines import Deadline
from domain.feed import outcome_word
from domain.ids import MalformedId, MarketId, Wallet, parse_market_id, parse_wallet
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig
from domain.outcomes import VoteTaken
from domain.tally import VoteType, choice_of, word_of
from domain.votes import StoredVote
from grpc_server.problems import Invalid, violation
from identity import Caller, Challenge, Session, Tier
from zmart.v1 import auth_service_pb2, market_pb2, market_service_pb2, vote_service_pb2

QUESTION_LENGTH_MAX = 500
CATEGORY_LENGTH_MAX = 64
PAGE_SIZE = 50
PAGE_SIZE_MAX = 200

_known_market = lru_cache(65_536)(parse_market_id)
"""Markets come again with every vote, and reading one takes 4 us; 65,536 of them are about 13 MB."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PROPOSAL_WEIGHT = 1
UNWEIGHED = 0
"""The weight of a dispute vote before its position was read; no vote of this weight goes to a market."""
_MEANINGS = {word_of(kind, choice): (kind, choice) for kind in VoteType for choice in (True, False)}
VoteRequest = (
    vote_service_pb2.CastProposalVoteRequest | vote_service_pb2.CastDisputeVoteRequest | vote_service_pb2.BulkVote
)
_OUTCOMES = {True: "YES", False: "NO", None: ""}

# --- requests ---------------------------------------------------------------------------------------------------------


def proposal_vote(request: vote_service_pb2.CastProposalVoteRequest, wallet: Wallet, vote_id: str) -> CastVote:
    """The command of a CastProposalVote call by `wallet`."""
    return _vote(request, wallet, vote_id, VoteType.PROPOSAL, _choice(VoteType.PROPOSAL, request.vote))


def dispute_vote(request: vote_service_pb2.CastDisputeVoteRequest, wallet: Wallet, vote_id: str) -> CastVote:
    """The command of a CastDisputeVote call by `wallet`, without its weight, which the chain has."""
    return _vote(request, wallet, vote_id, VoteType.DISPUTE, _choice(VoteType.DISPUTE, request.vote))


def bulk_vote(request: vote_service_pb2.BulkVote, wallet: Wallet, vote_id: str) -> CastVote:
    """The command of one vote of many; its word says of which type it is, and a dispute vote has no weight yet."""
    meaning = _MEANINGS.get(request.vote)
    if meaning is None:
        raise violation(Invalid.VOTE_WORD_UNKNOWN, "vote", request.vote)
    return _vote(request, wallet, vote_id, *meaning)


def vote_listing(request: vote_service_pb2.ListVotesRequest) -> tuple[MarketId, VoteType | None, int]:
    """The market, the type of votes to list, None for both, and the size of the page."""
    if request.vote_type and request.vote_type not in list(VoteType):
        raise violation(Invalid.VOTE_TYPE_UNKNOWN, "vote_type", request.vote_type)
    vote_type = VoteType(request.vote_type) if request.vote_type else None
    return market_id(request.market_id), vote_type, page_size(request.page_size)


def description(request: market_service_pb2.RegisterMarketRequest, caller: Caller) -> DescribeMarket:
    """The command of a RegisterMarket call; whether the caller may is the market's to decide (decisions P3)."""
    if not request.question.strip():
        raise violation(Invalid.TEXT_MISSING, "question")
    return DescribeMarket(
        market_id=market_id(request.market_id),
        by=caller.wallet,
        by_admin=caller.tier is Tier.ADMIN,
        question=_text("question", request.question, QUESTION_LENGTH_MAX),
        category=_text("category", request.category, CATEGORY_LENGTH_MAX),
    )


def listing(request: market_service_pb2.ListMarketsRequest) -> tuple[Lifecycle | None, int]:
    """The state to list, None for all, and the size of the page."""
    if request.state and request.state not in Lifecycle.__members__:
        raise violation(Invalid.STATE_UNKNOWN, "state", request.state)
    return (Lifecycle[request.state] if request.state else None), page_size(request.page_size)


def market_id(text: str) -> MarketId:
    """The market that a request names."""
    try:
        return _known_market(text)
    except MalformedId as error:
        raise violation(Invalid.MARKET_ID_MALFORMED, "market_id", error.text) from error


def address(text: str, field: str = "address") -> Wallet:
    """The wallet that a request names."""
    try:
        return parse_wallet(text)
    except MalformedId as error:
        raise violation(Invalid.ADDRESS_MALFORMED, field, error.text) from error


def _vote(request: VoteRequest, wallet: Wallet, vote_id: str, vote_type: VoteType, choice: bool) -> CastVote:
    named = request.HasField("request_id")
    return CastVote(
        market_id=market_id(request.market_id),
        vote_id=vote_id,
        wallet=wallet,
        vote_type=vote_type,
        choice=choice,
        weight=_PROPOSAL_WEIGHT if vote_type is VoteType.PROPOSAL else UNWEIGHED,
        request_id=uuid_text(request.request_id, "request_id", Invalid.REQUEST_ID_MALFORMED) if named else None,
        wallet_signature=request.wallet_signature if request.HasField("wallet_signature") else None,
    )


def _choice(vote_type: VoteType, word: str) -> bool:
    choice = choice_of(vote_type, word)
    if choice is None:
        raise violation(Invalid.VOTE_WORD_UNKNOWN, "vote", word)
    return choice


def uuid_text(text: str, field: str, invalid: Invalid) -> str:
    """A UUID that a request names, in lower case, so that two spellings of one UUID are one key."""
    if not _UUID.fullmatch(text):
        raise violation(invalid, field, text)
    return text.lower()


def _text(field: str, text: str, length_max: int) -> str:
    if len(text) > length_max:
        raise violation(Invalid.TEXT_TOO_LONG, field, length_max)
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in text):
        raise violation(Invalid.TEXT_NOT_PRINTABLE, field)
    return text


def page_size(asked: int) -> int:
    """The size of a page: 0 is the usual one, more than the most is the most."""
    if asked < 0:
        raise violation(Invalid.PAGE_SIZE_NEGATIVE, "page_size", asked)
    return min(asked or PAGE_SIZE, PAGE_SIZE_MAX)


# --- answers ----------------------------------------------------------------------------------------------------------


def challenge_response(challenge: Challenge) -> auth_service_pb2.CreateChallengeResponse:
    """A challenge."""
    return auth_service_pb2.CreateChallengeResponse(
        message=challenge.message, nonce=challenge.nonce, expires_at=instant(challenge.expires_at)
    )


def sign_in_response(session: Session) -> auth_service_pb2.SignInResponse:
    """The first pair of tokens."""
    return auth_service_pb2.SignInResponse(
        access_token=session.access.token,
        refresh_token=session.refresh,
        expires_at=_time(session.access.expires_at_s),
    )


def refresh_response(session: Session) -> auth_service_pb2.RefreshTokenResponse:
    """The next pair of tokens."""
    return auth_service_pb2.RefreshTokenResponse(
        access_token=session.access.token,
        refresh_token=session.refresh,
        expires_at=_time(session.access.expires_at_s),
    )


def proposal_vote_response(
    taken: VoteTaken, receipt: vote_service_pb2.VoteReceipt
) -> vote_service_pb2.CastProposalVoteResponse:
    """A stored vote with the headcounts of its commit."""
    return vote_service_pb2.CastProposalVoteResponse(
        success=True,
        vote_id=taken.vote_id,
        vote_count=vote_service_pb2.ProposalVoteCount(likes=taken.tally.yes_voters, dislikes=taken.tally.no_voters),
        receipt=receipt,
    )


def dispute_vote_response(
    vote: CastVote, taken: VoteTaken, receipt: vote_service_pb2.VoteReceipt
) -> vote_service_pb2.CastDisputeVoteResponse:
    """A stored vote with the weights of its commit; its own is the same in a repeat, as nobody trades any more."""
    return vote_service_pb2.CastDisputeVoteResponse(
        success=True,
        vote_id=taken.vote_id,
        vote_count=vote_service_pb2.DisputeVoteCount(support=str(taken.tally.yes), reject=str(taken.tally.no)),
        weight=str(vote.weight),
        weight_slot=vote.weight_slot or 0,
        receipt=receipt,
    )


def votes_response(votes: Sequence[StoredVote], next_page_token: str) -> vote_service_pb2.ListVotesResponse:
    """One page of votes."""
    return vote_service_pb2.ListVotesResponse(votes=[_listed(vote) for vote in votes], next_page_token=next_page_token)


def tally_response(market: Market, config: ChainConfig | None) -> vote_service_pb2.GetTallyResponse:
    """Both tallies against the live thresholds, which are absent until they are known."""
    proposal, dispute = market.proposal, market.dispute
    proposal_bps = config.proposal_threshold_bps if config else None
    dispute_bps = config.dispute_threshold_bps if config else None
    return vote_service_pb2.GetTallyResponse(
        market_id=market.market_id,
        version=market.version,
        proposal=vote_service_pb2.ProposalTally(
            likes=proposal.yes_voters,
            dislikes=proposal.no_voters,
            percentage_bps=proposal.percentage_bps,
            threshold_bps=proposal_bps,
            threshold_met=proposal_bps is not None and proposal.meets(proposal_bps),
            votes_size=market.proposal_log.size,
            votes_root=market.proposal_log.root().hex(),
        ),
        dispute=vote_service_pb2.DisputeTally(
            support=str(dispute.yes),
            reject=str(dispute.no),
            support_voters=dispute.yes_voters,
            reject_voters=dispute.no_voters,
            percentage_bps=dispute.percentage_bps,
            threshold_bps=dispute_bps,
            threshold_met=dispute_bps is not None and dispute.meets(dispute_bps),
            votes_size=market.dispute_log.size,
            votes_root=market.dispute_log.root().hex(),
        ),
    )


def _listed(vote: StoredVote) -> vote_service_pb2.Vote:
    return vote_service_pb2.Vote(
        vote_id=vote.vote_id,
        market_id=vote.market_id,
        user_pubkey=vote.wallet,
        vote_type=vote.vote_type.value,
        vote=word_of(vote.vote_type, vote.choice),
        weight=str(vote.weight),
        source=vote.source,
        transaction_signature=vote.transaction_signature or "",
        created_at=instant(vote.created_at),
        weight_slot=vote.weight_slot,
    )


def market_response(market: Market, deadline: Deadline | None) -> market_service_pb2.GetMarketResponse:
    """One market, flat."""
    return market_service_pb2.GetMarketResponse(**_market_fields(market, deadline))


def register_response(market: Market, deadline: Deadline | None) -> market_service_pb2.RegisterMarketResponse:
    """The described market."""
    return market_service_pb2.RegisterMarketResponse(market=market_message(market, deadline))


def list_response(
    rows: Sequence[tuple[Market, Deadline | None]], next_page_token: str
) -> market_service_pb2.ListMarketsResponse:
    """One page of markets."""
    markets = [market_message(market, deadline) for market, deadline in rows]
    return market_service_pb2.ListMarketsResponse(markets=markets, next_page_token=next_page_token)


def market_message(market: Market, deadline: Deadline | None) -> market_pb2.Market:
    """One market, as lists and watches have it."""
    return market_pb2.Market(**_market_fields(market, deadline))


def _market_fields(market: Market, deadline: Deadline | None) -> dict[str, Any]:
    """What Market and GetMarketResponse share; a test holds the two messages equal."""
    claims = claims_of(market)
    return {
        "market_id": market.market_id,
        "pda": market.pda,
        "state": market.state.name,
        "creator": market.creator,
        "question": market.question,
        "category": market.category,
        "proposed_outcome": _OUTCOMES[market.proposed_outcome],
        "final_outcome": outcome_word(market),
        "approval_ready": market.approval_ready,
        "claims_enabled": claims is not None,
        "claims_available_at": _time(claims.available_at_s) if claims else None,
        "claims_payable": claims.payable if claims else None,
        "claims_due": claims.due if claims else None,
        "shares_yes": market.shares_yes,
        "shares_no": market.shares_no,
        "b_parameter": market.b_parameter,
        "total_volume": market.total_volume,
        "created_at": _time(market.created_at_s),
        "approved_at": _time(market.approved_at_s),
        "activated_at": _time(market.activated_at_s),
        "resolution_proposed_at": _time(market.resolution_proposed_at_s),
        "dispute_initiated_at": _time(market.dispute_initiated_at_s),
        "finalized_at": _time(market.finalized_at_s),
        "cancelled_at": _time(market.cancelled_at_s),
        "next_deadline": _time(deadline.at_s) if deadline else None,
        "version": market.version,
        "initial_liquidity": market.initial_liquidity,
        "current_liquidity": market.current_liquidity,
        "observed_slot": market.observed_slot,
    }


def _time(unix_s: int) -> Timestamp | None:
    return Timestamp(seconds=unix_s) if unix_s else None


def instant(when: datetime) -> Timestamp:
    """A time with its zone, as messages have it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(when)
    return timestamp
