"""Logs that were cut off: the instructions say the same as the log would have, or they say nothing."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair

from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.history import ChainHistory
from chain.idl import parse_interface
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from domain.ids import MarketId
from indexer.reading import CUT_OFF
from indexer.service import Indexer
from storage.projections import Projections
from tests.support.index_history import live_through
from tests.support.indexing import FAST, Bench, as_items, open_bench
from tests.support.ledger import Chain, market_id, running_chain
from tests.support.program import old_build
from tests.support.rpc_calls import result
from tests.support.stage import SOL, wallet

TRADES = "SELECT * FROM trades ORDER BY transaction_signature, event_index"
EVENTS = """
    SELECT transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type, market_id,
        user_pubkey, event_data, raw, timestamp FROM event_logs ORDER BY block_slot, block_index, event_index"""
FAULTS = "SELECT transaction_signature, event_index, event_type FROM event_logs WHERE fault IS NOT NULL"


class CuttingHistory(ChainHistory):
    """A node that kept no more of some logs, or of all, than the webhook told."""

    def __init__(self, history: ChainHistory, cut: frozenset[str] | None) -> None:
        self.__dict__.update(history.__dict__)
        self._cut = cut

    async def transaction(self, signature: str) -> Mapping[str, Any] | None:
        shown = await super().transaction(signature)
        is_cut = self._cut is None or signature in self._cut
        return cut_off(dict(shown)) if shown is not None and is_cut else shown


def cut_off(item: dict[str, Any]) -> dict[str, Any]:
    """The item with nothing of the log behind its first line."""
    item["meta"] = {**item["meta"], "logMessages": [item["meta"]["logMessages"][0], "Log truncated"]}
    return item


async def settle(bench: Bench) -> None:
    """Work off whatever is there, what waits included."""
    while await bench.indexer.worker.step():
        pass
    while await bench.rows.one("SELECT count(*) FROM wanted_transactions"):
        await bench.rows.all("UPDATE wanted_transactions SET next_attempt_at = now()")
        await bench.indexer.fetcher.step()


def cut_bodies(bodies: list[bytes], share: float) -> tuple[list[bytes], frozenset[str]]:
    """Bodies of which a share of the logs is cut off, and whose those are."""
    dice, cut, signatures = random.Random(3), [], set()
    for body in bodies:
        (item,) = as_items(body)
        if item["meta"]["err"] is None and dice.random() < share:
            signatures.add(item["transaction"]["signatures"][0])
            item = cut_off(item)
        cut.append(json.dumps([item]).encode())
    return cut, frozenset(signatures)


async def test_whatever_the_calls_of_cut_off_logs_tell_is_what_the_logs_had(
    tmp_path: Path, database_url: str, second_database_url: str
) -> None:
    past = await asyncio.to_thread(live_through, tmp_path / "chain", 160, 11)
    bodies, cut = cut_bodies(past.bodies, share=0.5)
    async with running_chain(tmp_path / "chain") as chain:
        async with open_bench(chain, second_database_url, Projections()) as whole:
            await whole.put(*past.bodies)
            await settle(whole)
            expected, traded = await whole.rows.all(EVENTS), await whole.rows.all(TRADES)
        async with open_bench(chain, database_url, Projections()) as bench:
            bench.indexer = Indexer(replace(bench.parts, history=CuttingHistory(bench.parts.history, cut)), FAST)
            await bench.put(*bodies)
            await settle(bench)
            found, faults = await bench.rows.all(EVENTS), {tuple(row)[:2] for row in await bench.rows.all(FAULTS)}
            trades = await bench.rows.all(TRADES)
    assert [tuple(row)[:2] for row in found] == [tuple(row)[:2] for row in expected], "no event is missing"
    assert [row["event_type"] for row in found] == [row["event_type"] for row in expected]
    exact = [row for row in expected if tuple(row)[:2] not in faults]
    assert [row for row in found if tuple(row)[:2] not in faults] == exact
    assert trades == [row for row in traded if tuple(row)[:2] not in faults]
    told = {row["event_type"] for row in exact if row["transaction_signature"] in cut}
    assert told >= {"MarketCreated", "MarketActivated", "ProposalVoteSubmitted", "SharesBought"}


class Cut:
    """A bench whose every log is cut off, each transaction read before the next one lands."""

    def __init__(self, chain: Chain, bench: Bench) -> None:
        self.chain, self.bench = chain, bench
        self.bodies: list[bytes] = []

    async def land(self, *calls: Instruction, signer: Keypair, is_read: bool = True) -> str:
        """Land calls in one transaction, and index them by what their cut-off log and the node say."""
        signature = str(await self.chain.send(await self.chain.signed(list(calls), signer)))
        self.chain.ledger.tick()
        body = self.bench.body()
        self.bodies.append(body)
        (item,) = as_items(body)
        assert item["meta"]["err"] is None
        await self.bench.put(json.dumps([cut_off(item)]).encode())
        if is_read:
            await settle(self.bench)
        return signature


@pytest.fixture(params=["new"])
async def cut(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> AsyncIterator[Cut]:
    """All logs of this chain are cut off; the parameter is the program's build."""
    async with (
        running_chain(tmp_path / "chain", build=request.param) as chain,
        open_bench(chain, database_url, Projections()) as bench,
    ):
        accounts = ChainAccounts(bench.parts.accounts._rpc, program_of(request.param))
        parts = replace(bench.parts, history=CuttingHistory(bench.parts.history, None), accounts=accounts)
        bench.indexer = Indexer(parts, FAST)
        yield Cut(chain, bench)


def program_of(build: str) -> ZmartProgram:
    """The program as the operator's interface definition describes it."""
    older = parse_interface(json.dumps(old_build()).encode(), "the operator's") if build == "old" else None
    return ZmartProgram.at(NEWEST_PROGRAM_ID, older)


async def later(chain: Chain) -> None:
    """Let seconds pass on chain."""
    await result(chain, "zmart_advanceClock", 5)
    chain.ledger.tick()


async def activate(cut: Cut, market: MarketId) -> None:
    """Take a new market to where it is traded."""
    program, admin, backend = cut.chain.program, cut.chain.keys.admin, cut.chain.keys.backend
    await cut.land(program.aggregate_proposal_votes(backend.wallet, market, 9, 0), signer=backend.pair)
    await cut.land(program.approve_proposal(admin.wallet, market), signer=admin.pair)
    await cut.land(program.activate_market(admin.wallet, market), signer=admin.pair)


async def life(cut: Cut) -> None:
    """A market from its creation to the last lamport, with trades of two wallets."""
    chain, program = cut.chain, cut.chain.program
    market, fees = await chain.create_market(), chain.keys.fee_wallet.wallet
    alice, bob = await chain.funded(2_000 * SOL), await chain.funded(2_000 * SOL)
    await activate(cut, market)
    for buyer, outcome, lamports in ((alice, True, 30), (bob, False, 20), (alice, False, 10), (alice, True, 5)):
        call = program.buy_shares(wallet(buyer), market, outcome, lamports * SOL, fees)
        await cut.land(call, signer=buyer)
    reader = ChainReader.connect(chain.ledger.rpc_url, NEWEST_PROGRAM_ID)
    held = await reader.position(market, wallet(alice))
    await reader.close()
    assert held is not None
    await cut.land(program.sell_shares(wallet(alice), market, True, held.shares_yes // 9, 1, fees), signer=alice)
    await later(chain)
    evidence = b"Qm" + b"e" * 44
    await cut.land(program.resolve_market(wallet(bob), market, True, evidence), signer=bob)
    await later(chain)
    await cut.land(program.initiate_dispute(wallet(alice), market), signer=alice)
    await cut.land(program.submit_dispute_vote(wallet(bob), market, False), signer=bob)
    await later(chain)
    admin = chain.keys.admin
    await cut.land(program.finalize_market(chain.keys.backend.wallet, market, 1, 9), signer=chain.keys.backend.pair)
    await cut.land(program.claim_winnings(wallet(alice), market, wallet(bob)), signer=alice)
    await cut.land(program.withdraw_liquidity(admin.wallet, market), signer=admin.pair)


@pytest.mark.parametrize("cut", ["new", "old"], indirect=True)
async def test_a_market_whose_every_log_is_cut_off_ends_as_if_none_had_been(cut: Cut, second_database_url: str) -> None:
    await life(cut)
    found, trades = await cut.bench.rows.all(EVENTS), await cut.bench.rows.all(TRADES)
    assert not await cut.bench.rows.all(FAULTS)
    async with open_bench(cut.chain, second_database_url, Projections()) as whole:
        await whole.put(*cut.bodies)
        await settle(whole)
        assert found == await whole.rows.all(EVENTS)
        assert trades == await whole.rows.all(TRADES)
        touched = "SELECT market_id, user_pubkey, touched_slot FROM positions ORDER BY 1, 2"
        assert await cut.bench.rows.all(touched) == await whole.rows.all(touched)
    assert len(found) == len(cut.bodies) and len(trades) == 5
    assert len({row["market_id"] for row in found}) == 1, "also of the claim, which names an address in the newer build"
    (claim,) = [json.loads(row["event_data"]) for row in found if row["event_type"] == "WinningsClaimed"]
    assert ("resolver_fee" in claim) == (cut.chain.ledger.settings.build == "old")
    assert [row["alert_type"] for row in await cut.bench.rows.all("SELECT alert_type FROM alerts")] == ["log_truncated"]


async def test_what_two_purchases_at_once_came_to_is_said_by_nobody_and_kept_raw(cut: Cut) -> None:
    chain, program = cut.chain, cut.chain.program
    market, fees = await chain.create_market(), chain.keys.fee_wallet.wallet
    alice = await chain.funded(2_000 * SOL)
    await activate(cut, market)
    call = program.buy_shares(wallet(alice), market, True, 30 * SOL, fees)
    signature = await cut.land(call, program.buy_shares(wallet(alice), market, True, 20 * SOL, fees), signer=alice)
    faults = await cut.bench.rows.all(f"{FAULTS} ORDER BY event_index")
    assert [tuple(row) for row in faults] == [(signature, ordinal, "SharesBought") for ordinal in (0, 1)]
    rows = await cut.bench.rows.all("SELECT fault, raw, event_data FROM event_logs WHERE fault IS NOT NULL")
    assert {row["fault"] for row in rows} == {CUT_OFF}
    assert rows[0]["raw"] == bytes(call.data)
    assert json.loads(rows[0]["event_data"])["arguments"] == [True, str(30 * SOL)]
    assert not await cut.bench.rows.all(TRADES)
    kinds = await cut.bench.rows.all("SELECT alert_type FROM alerts ORDER BY 1")
    assert [row["alert_type"] for row in kinds] == ["event_cut_off", "log_truncated"]
    touched = await cut.bench.rows.all("SELECT market_id, user_pubkey FROM positions WHERE slot < touched_slot")
    assert [tuple(row) for row in touched] == [(market, wallet(alice))]


async def test_a_purchase_that_is_read_before_an_earlier_one_waits_for_that(cut: Cut) -> None:
    chain, program = cut.chain, cut.chain.program
    market, fees = await chain.create_market(), chain.keys.fee_wallet.wallet
    alice = await chain.funded(2_000 * SOL)
    await activate(cut, market)
    first = program.buy_shares(wallet(alice), market, True, 30 * SOL, fees)
    await chain.land(first, alice)
    earlier = cut.bench.body()
    second = await cut.land(
        program.buy_shares(wallet(alice), market, True, 20 * SOL, fees), signer=alice, is_read=False
    )
    while await cut.bench.indexer.worker.step():
        pass
    assert await cut.bench.rows.one("SELECT signature FROM wanted_transactions") == second
    await cut.bench.put(earlier)
    await settle(cut.bench)
    assert len(await cut.bench.rows.all(TRADES)) == 2
    assert not await cut.bench.rows.all(FAULTS)


async def test_a_call_from_within_another_program_is_read_and_what_that_program_says_is_not(cut: Cut) -> None:
    market = await cut.chain.create_market()
    (item,) = as_items(cut.bench.body())
    message, (group,) = item["transaction"]["message"], item["meta"]["innerInstructions"]
    (ours,) = message["instructions"]
    foreign = dict(ours, programIdIndex=message["accountKeys"].index("1" * 32))
    message["instructions"] = [foreign]  # the very bytes of ours, said by another
    group["instructions"] = [foreign, ours, *group["instructions"]]
    await cut.bench.put(json.dumps([cut_off(item)]).encode())
    await settle(cut.bench)
    rows = await cut.bench.rows.all("SELECT event_type, event_index, market_id, fault FROM event_logs")
    assert [tuple(row) for row in rows] == [("MarketCreated", 0, market, None)]


async def test_a_cut_off_log_of_a_slot_that_never_comes_holds_nobody_up(cut: Cut) -> None:
    """Its accounts cannot be read as of then; bodies that were leased together with it are written all the same."""
    await cut.chain.create_market(1)
    (item,) = as_items(cut.bench.body())
    forged = cut_off({**item, "slot": 2**40})
    market = await cut.chain.create_market(2)
    await cut.bench.put(json.dumps([forged]).encode(), cut.bench.body())
    while await cut.bench.indexer.worker.step():
        pass
    await cut.bench.hear()
    rows = await cut.bench.rows.all("SELECT market_id FROM event_logs")
    assert [row["market_id"] for row in rows] == [market]
    assert await cut.bench.rows.one("SELECT count(*) FROM webhook_inbox WHERE status <> 'done'") == 0
    (wanted,) = await cut.bench.rows.all("SELECT signature FROM wanted_transactions")
    assert wanted["signature"] == forged["transaction"]["signatures"][0], "a node is asked what it really was"
    await settle(cut.bench)
    rows = await cut.bench.rows.all("SELECT market_id, block_slot FROM event_logs ORDER BY block_slot")
    assert tuple(rows[0]) == (market_id(1), item["slot"])
