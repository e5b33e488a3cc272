"""Instructions of a transaction as a node shows it, and what is said of calls whose log was cut off; or nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from chain.calls import read_call
from chain.errors import Build
from chain.events import LiquidityWithdrawn, OldWinningsClaimed, SharesSold, WinningsClaimed
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from domain.ids import MarketId, base58_encode
from indexer.arrivals import Arrival, read_item
from indexer.deriving import derived
from indexer.frames import Frames, frames_of
from tests.fuzz.calls import evidence
from tests.support.stage import wallet

PROGRAM = ZmartProgram.at(NEWEST_PROGRAM_ID)
PROGRAM_ID = str(NEWEST_PROGRAM_ID)
FOREIGN = base58_encode(b"\6" * 32)
ALICE, BOB = (wallet(Keypair.from_seed(bytes([n]) * 32)) for n in (1, 2))
MARKET = MarketId(base58_encode(b"\1" * 32))
SELL = PROGRAM.sell_shares(ALICE, MARKET, True, 250, 200, BOB)
CLAIM = PROGRAM.claim_winnings(ALICE, MARKET, BOB)
WITHDRAW = PROGRAM.withdraw_liquidity(ALICE, MARKET)
VOTE = PROGRAM.submit_proposal_vote(ALICE, MARKET, True)
Item = dict[str, Any]


def shown(*calls: Instruction, inner: dict[int, list[Instruction]] | None = None) -> Item:
    """A transaction as getTransaction shows it, paid by somebody whom no call names; a market loses 30 lamports."""
    within = inner or {}
    every = [*calls, *(call for group in within.values() for call in group)]
    named = [str(account.pubkey) for call in every for account in call.accounts]
    keys = list(dict.fromkeys([FOREIGN, *(str(call.program_id) for call in every), *named]))
    market = str(PROGRAM.market_address(MARKET)[0])

    def written(call: Instruction) -> Item:
        accounts = [keys.index(str(account.pubkey)) for account in call.accounts]
        program = keys.index(str(call.program_id))
        return {"programIdIndex": program, "accounts": accounts, "data": base58_encode(bytes(call.data))}

    meta = {
        "err": None,
        "logMessages": ["Log truncated"],
        "innerInstructions": [{"index": at, "instructions": [*map(written, group)]} for at, group in within.items()],
        "preBalances": [100] * len(keys),
        "postBalances": [70 if key == market else 100 for key in keys],
    }
    message = {"accountKeys": keys, "instructions": [*map(written, calls)]}
    signed = {"signatures": [base58_encode(b"\5" * 64)], "message": message}
    return {"slot": 9, "blockTime": 1_762_510_000, "meta": meta, "transaction": signed}


def frames(item: Item) -> Frames | None:
    """The instructions of an item."""
    arrival = read_item(item)
    assert isinstance(arrival, Arrival)
    return frames_of(arrival, PROGRAM_ID)


def told(item: Item, build: Build = "new") -> object:
    """What the first call of ours has logged, by accounts that show just that."""
    found = frames(item)
    assert found is not None
    read = [read_call(frame.data, frame.accounts) for frame in found.ran if frame.program == PROGRAM_ID]
    calls = [call for call in read if call is not None]
    return derived(calls[0], 0, replace(evidence(found, calls), build=build))


def test_instructions_come_in_the_order_in_which_they_ran_and_only_ours_with_their_bytes() -> None:
    foreign = Instruction(Pubkey.from_string(FOREIGN), b"not for us", [])
    found = frames(shown(foreign, WITHDRAW, inner={0: [VOTE]}))
    assert found is not None
    assert [frame.data for frame in found.ran] == [b"", bytes(VOTE.data), bytes(WITHDRAW.data)]
    assert found.payer == FOREIGN


def _keys(item: Item) -> list[str]:
    keys: list[str] = item["transaction"]["message"]["accountKeys"]
    return keys


def _bent(change: Callable[[Item], object]) -> Item:
    item = shown(SELL)
    change(item)
    return item


SPOILED: dict[str, Callable[[Item], object]] = {
    "no inner instructions": lambda item: item["meta"].pop("innerInstructions"),
    "inner ones of no instruction": lambda item: item["meta"].update(
        innerInstructions=[{"index": 1, "instructions": []}]
    ),
    "an account that is not there": lambda item: item["transaction"]["message"]["instructions"][0].update(
        programIdIndex=99
    ),
    "data that is no base58": lambda item: item["transaction"]["message"]["instructions"][0].update(data="0OIl"),
    "data longer than a transaction": lambda item: item["transaction"]["message"]["instructions"][0].update(
        data="1" * 2_049
    ),
    "a name that is no key": lambda item: _keys(item).__setitem__(2, "8qbHbw2BbbTHBW,sbeqakYXVKRQM8Ne7pLK7m6CVfeR"),
    "a key too short": lambda item: _keys(item).__setitem__(2, "111"),
    "a balance below zero": lambda item: item["meta"]["postBalances"].__setitem__(0, -1),
    "a balance beyond u64": lambda item: item["meta"]["preBalances"].__setitem__(0, 2**64),
    "a balance too few": lambda item: item["meta"]["preBalances"].pop(),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_no_node_would_show_has_no_instructions(what: str) -> None:
    assert frames(shown(SELL)) is not None
    assert frames(_bent(SPOILED[what])) is None


def test_what_left_the_market_is_what_was_withdrawn_or_got_for_a_sale() -> None:
    withdrawn, sold = told(shown(WITHDRAW)), told(shown(SELL))
    assert isinstance(withdrawn, LiquidityWithdrawn) and withdrawn.amount == 30
    assert isinstance(sold, SharesSold) and (sold.shares, sold.proceeds) == (250, 30)


@pytest.mark.parametrize("call", [WITHDRAW, SELL], ids=["withdrawn", "sold"])
def test_balances_by_which_a_market_gained_tell_of_no_payment(call: Instruction) -> None:
    item = shown(call)
    item["meta"].update(preBalances=item["meta"]["postBalances"], postBalances=item["meta"]["preBalances"])
    assert told(item) is None


def test_a_claim_is_told_in_the_layout_of_the_build_and_the_older_one_with_what_left_the_market_beside_it() -> None:
    claimed = 10**9  # what the position says
    item = shown(CLAIM)
    assert isinstance(told(item), WinningsClaimed)
    assert told(item, "old") is None, "less left the market than was claimed"
    item["meta"]["preBalances"] = [claimed + 100] * len(item["meta"]["preBalances"])
    found = told(item, "old")
    assert isinstance(found, OldWinningsClaimed) and (found.amount, found.resolver_fee) == (claimed, 30)
    assert told(shown(CLAIM, WITHDRAW), "old") is None, "another instruction moved the market's balance too"
