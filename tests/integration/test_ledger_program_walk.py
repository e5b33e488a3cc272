"""Random calls by random wallets in any order: whatever is sent, the ledger's books stay right and readable."""

from collections import Counter

import pytest

from chain.decoder import EVENT_NAMES
from chain.errors import BY_NAME
from chain.ledger.accounts import rent_exempt_lamports
from chain.program import ZmartProgram
from tests.support.stage import MakeStage, Stage, wallet
from tests.support.walk import MARKETS, Walk

STEPS = 300
SEEDS = 2
SEEDS_LONG = 40
SIZES = {206, 488, 182, 83}
REFUSALS = {*BY_NAME, "AccountAlreadyInUse", "ResultWithNegativeLamports"}
NEVER = {
    "AlreadyInitialized",
    "AlreadyVoted",
    "MarketPaused",
    "InvalidGlobalConfig",
    "BoundedLossExceeded",
    "Reentrant",
}
"""Errors that the published tables call unreachable, or shadowed by the framework's own (CI 8)."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_walk_keeps_every_lamport_and_every_byte_in_its_place(stage: Stage, seed: int) -> None:
    walk = walked(stage, seed)
    assert len(walk.landed) >= 8, walk.landed
    assert len(walk.refused) >= 8, walk.refused


@pytest.mark.long
def test_many_walks_make_every_event_and_no_refusal_that_is_unreachable(make_stage: MakeStage) -> None:
    landed: Counter[str] = Counter({"GlobalConfigInitialized": 1})  # a chain begins with it
    for seed in range(SEEDS_LONG):
        landed += walked(make_stage(), seed).landed
    assert set(landed) == set(EVENT_NAMES)


def walked(stage: Stage, seed: int) -> Walk:
    walk = Walk(stage, seed)
    before, sent = walk.lamports(), stage.node.bank.transaction_count
    for _ in range(STEPS):
        walk.step()
    assert before - walk.lamports() == 5_000 * (stage.node.bank.transaction_count - sent)
    for lamports, data in stage.images().values():
        assert len(data) in SIZES
        assert lamports >= rent_exempt_lamports(len(data))
    assert set(walk.refused) <= REFUSALS - NEVER
    assert_client_reads(stage, walk.program)
    return walk


def assert_client_reads(stage: Stage, program: ZmartProgram) -> None:
    """The client decodes each account that the ledger wrote, and finds it where it belongs."""
    images = stage.images()
    for market_id in MARKETS:
        key = bytes(program.market_address(market_id)[0])
        if key in images:
            assert program.market(market_id, images[key][1], 1).market_id == market_id
    assert program.protocol_fee_wallet(images[bytes(program.config_address()[0])][1]) == wallet(stage.fees)
