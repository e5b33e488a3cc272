"""From a transaction on the ledger to rows and markets, through the whole system: webhook, indexer, actors, feed."""

from __future__ import annotations

import base64
import os
import signal
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import Transaction

from app.connection import read_connection
from app.demo.doors import Doors
from chain.program import NEWEST_PROGRAM_ID, ZmartProgram
from domain.ids import MarketId, Wallet
from tests.support.eventually import eventually_async
from tests.support.indexing import Rows
from tests.support.system import RunningSystem, create_markets, new_market_id

MARKETS_MAX = 10


async def events_of(rows: Rows, market_id: MarketId) -> list[tuple[Any, ...]]:
    """What is known of one market, in the order of the chain."""
    found = await rows.all(
        "SELECT e.event_type, t.source FROM event_logs AS e JOIN indexed_transactions AS t"
        " ON t.signature = e.transaction_signature WHERE e.market_id = $1 ORDER BY e.block_slot, e.block_index",
        market_id,
    )
    return [tuple(row) for row in found]


async def test_a_market_is_known_by_its_event_before_anybody_asks_for_it(system: RunningSystem) -> None:
    """By the webhook, if that is there first: a machine that stands for seconds may let the sweep win, not always."""
    rows, sources = Rows(system.connection["database_url"]), list[str]()
    async with system.doors() as doors:
        while "webhook" not in sources and len(sources) < MARKETS_MAX:
            market_id = new_market_id()
            await create_markets(doors, [market_id])
            await eventually_async(lambda market_id=market_id: is_known(rows, market_id))  # type: ignore[misc]
            ((event_type, source),) = await events_of(rows, market_id)
            assert event_type == "MarketCreated"
            sources.append(source)
    assert sources[-1] == "webhook", sources


async def is_known(rows: Rows, market_id: MarketId) -> bool:
    return bool(await rows.all("SELECT 1 FROM markets WHERE market_id = $1", market_id))


async def test_a_vote_on_chain_counts_once_it_is_final(system: RunningSystem) -> None:
    rows, market_id, voter = Rows(system.connection["database_url"]), new_market_id(), Keypair()
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await vote_on_chain(doors, voter, market_id)

        async def counted() -> bool:
            found = await rows.all("SELECT likes, dislikes FROM markets WHERE market_id = $1", market_id)
            return [tuple(row) for row in found] == [(1, 0)]

        await eventually_async(counted, timeout_s=60)
    (vote,) = await rows.all("SELECT user_pubkey, source FROM vote_records WHERE market_id = $1", market_id)
    assert tuple(vote) == (str(voter.pubkey()), "chain")


@pytest.mark.long
async def test_a_frozen_indexer_is_told_to_people_and_so_is_its_return(
    own_system: RunningSystem, request: pytest.FixtureRequest
) -> None:
    """Half a minute of silence, listened to by the process that delivers alerts."""
    rows = Rows(own_system.connection["database_url"])

    async def has_beaten() -> bool:
        return bool(await rows.all("SELECT 1 FROM heartbeats WHERE role = 'indexer'"))

    await eventually_async(has_beaten)
    (indexer,) = read_connection(own_system.data_dir)["pids"]["indexer"]
    request.addfinalizer(lambda: os.kill(indexer, signal.SIGCONT))
    os.kill(indexer, signal.SIGSTOP)

    async def standing() -> list[bool]:
        found = await rows.all("SELECT resolved_at FROM alerts WHERE alert_type = 'role_silent'")
        return [row["resolved_at"] is None for row in found]

    async def is_told() -> bool:
        return any(await standing())

    async def is_over() -> bool:
        return not any(await standing())

    await eventually_async(is_told, timeout_s=120)
    os.kill(indexer, signal.SIGCONT)
    await eventually_async(is_over, timeout_s=60)


async def vote_on_chain(doors: Doors, voter: Keypair, market_id: MarketId) -> None:
    """Like a market by the program itself."""
    wallet, program = Wallet(str(voter.pubkey())), ZmartProgram.at(NEWEST_PROGRAM_ID)
    await doors.confirmed(await doors.rpc("requestAirdrop", wallet, 1_000_000_000))
    latest = await doors.rpc("getLatestBlockhash", {"commitment": "confirmed"})
    call = program.submit_proposal_vote(wallet, market_id, True)
    message = Message([call], voter.pubkey())
    raw = base64.b64encode(bytes(Transaction([voter], message, Hash.from_string(latest["value"]["blockhash"]))))
    options = {"encoding": "base64", "preflightCommitment": "confirmed"}
    await doors.confirmed(await doors.rpc("sendTransaction", raw.decode(), options))
