"""Votes on chain on their way into the markets' logs: once they are final, weighed by what the wallet holds."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from solders.keypair import Keypair

from chain.accounts import ChainAccounts
from chain.client import ChainReader
from chain.decoder import encode_event
from chain.events import WinningsClaimed
from chain.program import NEWEST_PROGRAM_ID
from domain.commands import RecordChainVote
from domain.ids import MarketId, Wallet
from domain.lifecycle import Lifecycle
from domain.tally import VoteType
from indexer.chain_votes import vote_id
from indexer.service import Indexer
from indexer.worker import ATTEMPTS_MAX
from tests.support.indexing import FAST, Bench, as_items, open_bench
from tests.support.ledger import Chain, market_id
from tests.support.rpc_calls import result

FINAL_SLOTS = 33
PERIOD_S = 259_200
EVIDENCE = b"Qm" + b"e" * 44


@pytest.fixture
async def bench(chain: Chain, database_url: str) -> AsyncIterator[Bench]:
    """An indexer over a new ledger and a new database."""
    async with open_bench(chain, database_url) as opened:
        yield opened


def wallet(pair: Keypair) -> Wallet:
    return Wallet(str(pair.pubkey()))


def recorded(bench: Bench) -> list[RecordChainVote]:
    return [command for command in bench.markets.commands if isinstance(command, RecordChainVote)]


async def hear_again(bench: Bench) -> None:
    while await bench.indexer.promoter.step():
        pass
    await bench.rows.all("UPDATE market_effects SET next_attempt_at = now()")
    await bench.hear()


async def voted(bench: Bench, voter: Keypair, market: MarketId, choice: bool) -> tuple[str, bytes]:
    return await bench.landed(bench.chain.program.submit_proposal_vote(wallet(voter), market, choice), voter)


async def test_a_vote_on_chain_is_recorded_once_it_is_final_and_not_before(bench: Bench) -> None:
    market, voter = await bench.chain.create_market(), await bench.chain.funded()
    signature, body = await voted(bench, voter, market, False)
    await bench.put(body)
    await bench.work()
    assert recorded(bench) == []
    bench.chain.ledger.tick(FINAL_SLOTS)
    await hear_again(bench)  # the market is not known yet: it is adopted first
    await hear_again(bench)
    refused, vote = recorded(bench)
    assert refused == vote, "a repeat is the same command"
    assert (vote.wallet, vote.choice, vote.weight, vote.weight_slot) == (wallet(voter), False, 1, None)
    assert vote.transaction_signature == signature
    assert vote.vote_id == vote_id(signature, market, wallet(voter), VoteType.PROPOSAL)
    assert await bench.rows.one("SELECT count(*) FROM market_effects") == 0


async def test_a_vote_that_was_dropped_with_its_slot_is_never_recorded(bench: Bench) -> None:
    market, voter = await bench.chain.create_market(), await bench.chain.funded()
    _, body = await voted(bench, voter, market, True)
    await bench.put(body)
    await bench.work()
    slot = await bench.rows.one("SELECT block_slot FROM event_logs")
    await result(bench.chain, "zmart_setFault", "drop_slot", {"slot": slot, "count": 1})
    bench.chain.ledger.tick(70)
    await hear_again(bench)
    assert recorded(bench) == []
    assert await bench.rows.one("SELECT count(*) FROM market_effects WHERE kind = 'vote'") == 0


async def test_a_vote_that_a_fork_brings_in_another_transaction_is_the_vote_of_that_one(bench: Bench) -> None:
    """Its VoteRecord is there in the end, and proves nothing about the transaction that was dropped."""
    market, voter = await bench.chain.create_market(), await bench.chain.funded()
    _, body = await voted(bench, voter, market, True)
    await bench.put(body)
    await bench.work()
    slot = await bench.rows.one("SELECT block_slot FROM event_logs")
    await result(bench.chain, "zmart_setFault", "drop_slot", {"slot": slot, "count": 1})
    bench.chain.ledger.tick()
    again, body = await voted(bench, voter, market, True)
    bench.chain.ledger.tick(FINAL_SLOTS)
    await bench.rows.all("UPDATE market_effects SET next_attempt_at = now()")
    await bench.hear()
    assert recorded(bench) == [], "nobody has settled the first one yet"
    await bench.put(body)
    await bench.work()
    bench.chain.ledger.tick(FINAL_SLOTS)
    for _ in range(2):
        await hear_again(bench)
    assert {vote.transaction_signature for vote in recorded(bench)} == {again}


async def test_a_vote_that_nobody_cast_leaves_no_record_and_is_not_counted(bench: Bench) -> None:
    market, voter = await bench.chain.create_market(), await bench.chain.funded()
    _, body = await voted(bench, voter, market, True)
    forged = body.replace(str(voter.pubkey()).encode(), str(Keypair().pubkey()).encode())
    await bench.put(forged)
    await bench.work()
    await bench.rows.all("UPDATE market_effects SET user_pubkey = $1", str(Keypair().pubkey()))
    bench.chain.ledger.tick(FINAL_SLOTS)
    await hear_again(bench)
    assert recorded(bench) == []


async def disputed(bench: Bench, holder: Keypair) -> MarketId:
    """A market in dispute, of which `holder` has shares."""
    chain, admin = bench.chain, bench.chain.keys.admin
    market, program = await chain.create_market(), chain.program
    backend, fees = chain.keys.backend, chain.keys.fee_wallet
    await chain.land(program.aggregate_proposal_votes(backend.wallet, market, 7, 3), backend.pair)
    await chain.land(program.approve_proposal(admin.wallet, market), admin.pair)
    await chain.land(program.activate_market(admin.wallet, market), admin.pair)
    chain.clock.unix_s += 1
    chain.ledger.tick()
    await chain.land(program.buy_shares(wallet(holder), market, True, 1_000_000_000, fees.wallet), holder)
    await chain.land(program.resolve_market(wallet(holder), market, True, EVIDENCE), holder)
    chain.clock.unix_s += 1
    chain.ledger.tick()
    await chain.land(program.initiate_dispute(wallet(holder), market), holder)
    return market


async def test_a_dispute_vote_weighs_what_its_wallet_holds_and_nothing_without_a_position(bench: Bench) -> None:
    holder, stranger = await bench.chain.funded(), await bench.chain.funded()
    market = await disputed(bench, holder)
    for voter in (holder, stranger):
        await bench.chain.land(bench.chain.program.submit_dispute_vote(wallet(voter), market, True), voter)
    await bench.indexer.filler.sweep()
    await bench.hear()
    bench.chain.ledger.tick(FINAL_SLOTS)
    for _ in range(2):
        await hear_again(bench)
    votes = {vote.wallet: vote for vote in recorded(bench)}
    held = await bench.parts.accounts.positions([(market, wallet(holder))])
    shares = held[market, wallet(holder)].shares_yes
    assert shares > 0
    assert (votes[wallet(holder)].weight, votes[wallet(stranger)].weight) == (shares, 0)
    assert all(vote.weight_slot is not None for vote in votes.values())
    assert bench.markets.markets[market].state is Lifecycle.DISPUTED


async def test_a_claim_that_names_an_address_is_filed_under_its_market(bench: Bench) -> None:
    holder = await bench.chain.funded()
    chain, market = bench.chain, market_id()
    backend, admin, fees, program = chain.keys.backend, chain.keys.admin, chain.keys.fee_wallet, chain.program
    await chain.create_market()
    await chain.land(program.aggregate_proposal_votes(backend.wallet, market, 7, 3), backend.pair)
    await chain.land(program.approve_proposal(admin.wallet, market), admin.pair)
    await chain.land(program.activate_market(admin.wallet, market), admin.pair)
    chain.clock.unix_s += 1
    chain.ledger.tick()
    await chain.land(program.buy_shares(wallet(holder), market, True, 1_000_000_000, fees.wallet), holder)
    await chain.land(program.resolve_market(admin.wallet, market, True, EVIDENCE), admin.pair)
    chain.clock.unix_s += PERIOD_S
    chain.ledger.tick(2)
    await chain.land(program.finalize_market(backend.wallet, market, None, None), backend.pair)
    _, body = await bench.landed(program.claim_winnings(wallet(holder), market, admin.wallet), holder)
    await bench.put(body)
    await bench.work()
    (row,) = await bench.rows.all("SELECT event_type, market_id, user_pubkey FROM event_logs")
    assert tuple(row) == ("WinningsClaimed", market, wallet(holder))
    assert await bench.rows.one("SELECT market_id FROM market_addresses") == market


async def test_a_chain_that_is_away_makes_no_body_poison_however_often_it_is_tried(bench: Bench) -> None:
    """A claim names an address that only the chain can resolve; meanwhile its body waits, and no try counts."""
    market, holder = await bench.chain.create_market(), Keypair()
    (item,) = as_items(bench.body())
    claimed = WinningsClaimed(
        Wallet(str(bench.chain.program.market_address(market)[0])), wallet(holder), True, 7, 1_762_510_000
    )
    line = "Program data: " + base64.b64encode(encode_event(claimed)).decode()
    item["meta"]["logMessages"] = [
        line if told.startswith("Program data: ") else told for told in item["meta"]["logMessages"]
    ]
    away = ChainReader.connect("http://127.0.0.1:9", NEWEST_PROGRAM_ID, sleep=_at_once)
    worker = Indexer(replace(bench.parts, accounts=ChainAccounts(away.rpc, away.program)), FAST).worker
    await bench.put(json.dumps([item]).encode())
    for _ in range(ATTEMPTS_MAX + 2):
        assert await worker.step()
        await bench.rows.all("UPDATE webhook_inbox SET next_attempt_at = now()")
    await away.close()
    assert await bench.rows.one("SELECT status FROM webhook_inbox") == "pending"
    assert await bench.rows.one("SELECT count(*) FROM dead_letters") == 0
    await bench.work()
    (row,) = await bench.rows.all("SELECT event_type, market_id, user_pubkey FROM event_logs")
    assert tuple(row) == ("WinningsClaimed", market, wallet(holder))


async def _at_once(_: float) -> None:
    """A pause that is none."""
