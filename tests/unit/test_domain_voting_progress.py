"""How an open vote stands and how long it still is."""

from __future__ import annotations

from dataclasses import replace

from app.schedule import CronSchedule
from domain.disputes import MARGIN_S
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.market import Market
from domain.observed import ChainConfig
from domain.tally import Tally
from domain.voting_progress import progress_payload
from tests.support.feed import MARKET, WALLET
from tests.support.markets import market as new_market

EVERY_FIVE_MINUTES = CronSchedule("*/5 * * * *")
CONFIG = ChainConfig(
    slot=1,
    admin=Wallet(WALLET),
    backend_authority=Wallet(WALLET),
    proposal_threshold_bps=7_000,
    dispute_threshold_bps=6_000,
    dispute_period_s=3_600,
    is_paused=False,
    may_aggregate=True,
    may_approve=True,
)


def market(state: Lifecycle) -> Market:
    return replace(new_market(market_id=MarketId(MARKET)), state=state)


def test_a_proposal_is_told_with_the_time_to_the_next_aggregation() -> None:
    voted = replace(market(Lifecycle.PROPOSED), proposal=Tally(yes=42, no=8, yes_voters=42, no_voters=8))
    told = progress_payload(voted, CONFIG, EVERY_FIVE_MINUTES, chain_s=600 + 60)
    assert told == {
        "market_id": MARKET,
        "vote_type": "proposal",
        "likes": 42,
        "dislikes": 8,
        "total": 50,
        "percentage_bps": 8_400,
        "threshold_bps": 7_000,
        "time_remaining_seconds": 240,
    }


def test_a_dispute_is_told_with_the_end_of_its_window() -> None:
    disputed = replace(market(Lifecycle.DISPUTED), dispute_initiated_at_s=1_000)
    told = progress_payload(disputed, CONFIG, EVERY_FIVE_MINUTES, chain_s=2_000)
    assert told is not None
    assert told["time_remaining_seconds"] == 1_000 + 3_600 + MARGIN_S - 2_000
    assert told["window_ends_at"].startswith("1970-01-01T01:16:")
    assert (told["total"], told["threshold_bps"]) == ("0", 6_000)
    late = progress_payload(disputed, CONFIG, EVERY_FIVE_MINUTES, chain_s=6_000)
    assert late is not None and late["time_remaining_seconds"] == 300, "then the grid ends it"


def test_nothing_is_told_of_a_vote_that_is_not_open() -> None:
    closing = replace(market(Lifecycle.PROPOSED), voting_closed=True)
    assert progress_payload(closing, CONFIG, EVERY_FIVE_MINUTES, 0) is None
    assert progress_payload(market(Lifecycle.ACTIVE), CONFIG, EVERY_FIVE_MINUTES, 0) is None
