"""Instructions of transactions read back: all 18 as they were built, and nothing of what nobody built."""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.calls import read_call
from chain.decoder import EVENT_FIELDS, EVENT_NAMES, decode_event, encode_event
from chain.events import ChainEvent
from chain.ledger.zmart import lmsr
from chain.odds import price_yes
from chain.program import NEWEST_PROGRAM_ID, ConfigChange, ZmartProgram
from domain.ids import MarketId, base58_encode
from tests.support.stage import HASH, wallet

PROGRAM = ZmartProgram.at(NEWEST_PROGRAM_ID)
MARKET = MarketId(base58_encode(bytes([1]) * 32))
ALICE, BOB = (wallet(Keypair.from_seed(bytes([n]) * 32)) for n in (1, 2))
CALLS: dict[str, tuple[Instruction, tuple[Any, ...]]] = {
    "initialize_global_config": (PROGRAM.initialize_global_config(ALICE, BOB, BOB), (BOB,)),
    "update_global_config": (
        PROGRAM.update_global_config(ALICE, ConfigChange(300, 200, 500, 7000, 6000, None, 120)),
        (300, 200, 500, 7000, 6000, None, 120),
    ),
    "emergency_pause": (PROGRAM.emergency_pause(ALICE), ()),
    "create_market": (PROGRAM.create_market(ALICE, MARKET, 7, 9, HASH), (MARKET, 7, 9, HASH)),
    "submit_proposal_vote": (PROGRAM.submit_proposal_vote(ALICE, MARKET, True), (True,)),
    "aggregate_proposal_votes": (PROGRAM.aggregate_proposal_votes(ALICE, MARKET, 7, 3), (7, 3)),
    "approve_proposal": (PROGRAM.approve_proposal(ALICE, MARKET), ()),
    "cancel_market": (PROGRAM.cancel_market(ALICE, MARKET), ()),
    "activate_market": (PROGRAM.activate_market(ALICE, MARKET), ()),
    "buy_shares": (PROGRAM.buy_shares(ALICE, MARKET, True, 10**9, BOB), (True, 10**9)),
    "sell_shares": (PROGRAM.sell_shares(ALICE, MARKET, False, 250, 200, BOB), (False, 250, 200)),
    "resolve_market": (PROGRAM.resolve_market(ALICE, MARKET, False, HASH), (False, HASH)),
    "initiate_dispute": (PROGRAM.initiate_dispute(ALICE, MARKET), ()),
    "submit_dispute_vote": (PROGRAM.submit_dispute_vote(ALICE, MARKET, False), (False,)),
    "aggregate_dispute_votes": (PROGRAM.aggregate_dispute_votes(ALICE, MARKET, 6, 4), (6, 4)),
    "finalize_market": (PROGRAM.finalize_market(ALICE, MARKET, 6, None), (6, None)),
    "claim_winnings": (PROGRAM.claim_winnings(ALICE, MARKET, BOB), ()),
    "withdraw_liquidity": (PROGRAM.withdraw_liquidity(ALICE, MARKET), ()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_read_as_it_was_built(name: str) -> None:
    built, args = CALLS[name]
    call = read_call(bytes(built.data), [str(meta.pubkey) for meta in built.accounts])
    assert call is not None
    assert (call.name, call.args, call.data) == (name, args, bytes(built.data))
    market = str(PROGRAM.market_address(MARKET)[0])
    assert call.accounts.get("market", market) == market
    signers = {str(meta.pubkey) for meta in built.accounts if meta.is_signer}
    assert signers == {ALICE} <= set(call.accounts.values())


def test_every_event_is_that_of_one_call() -> None:
    calls = [read_call(bytes(built.data), [str(m.pubkey) for m in built.accounts]) for built, _ in CALLS.values()]
    assert sorted(call.event for call in calls if call is not None) == sorted(EVENT_NAMES)


def test_bytes_that_are_cut_bent_or_nobodys_are_no_call_or_another_one_and_never_an_error() -> None:
    dice = random.Random(5)
    for built, args in CALLS.values():
        data, accounts = bytes(built.data), [str(meta.pubkey) for meta in built.accounts]
        assert read_call(data[:7], accounts) is None
        assert read_call(data, accounts[:-1]) is None
        assert not args or read_call(data[:-1], accounts) is None or args[-1] is None
        for _ in range(200):
            bent = bytearray(data)
            bent[dice.randrange(len(bent))] = dice.randrange(256)
            read_call(bytes(bent), accounts)
    assert read_call(b"", []) is None


def test_an_event_written_out_is_the_event_again() -> None:
    dice = random.Random(6)
    for build, kinds in EVENT_FIELDS * 20:
        event = build(**{field.name: _any(kind, dice) for field, kind in zip(fields(build), kinds, strict=True)})
        assert isinstance(event, ChainEvent)
        assert decode_event(encode_event(event)) == event


def _any(kind: str, dice: random.Random) -> Any:
    sizes = {"B": 1, "H": 2, "I": 4, "Q": 8}
    match kind:
        case "k":
            return base58_encode(dice.randbytes(32))
        case "h":
            return dice.randbytes(46)
        case "b":
            return dice.random() < 0.5
        case "o":
            return dice.choice((None, True, False))
        case "q":
            return dice.randrange(-(2**63), 2**63)
        case _:
            return dice.randrange(2 ** (8 * sizes[kind]))


def test_the_price_is_the_programs_own() -> None:
    dice = random.Random(7)
    for _ in range(2_000):
        b = dice.randrange(lmsr.MIN_B, 10**15)
        yes, no = dice.randrange(30 * b), dice.randrange(30 * b)
        try:
            expected = lmsr.price_yes(lmsr.Shares(yes, no, b))
        except lmsr.MathsError:
            expected = None
        assert price_yes(yes, no, b) == expected
