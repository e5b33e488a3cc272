"""Database against chain, over a real ledger, a real database and the actors' own core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from domain.discrepancies import RunResult
from domain.lifecycle import Lifecycle
from indexer.reconcile import ALERT
from indexer.reconcile_runs import ReconcileRuns
from tests.support.eventually import eventually_async
from tests.support.ledger import Chain, market_id
from tests.support.reconciling import Reconciling, indexing, reconciling
from tests.support.storage import PostgresGround

EVERY_S = 600


@pytest.fixture
async def scene(chain: Chain, real_ground: PostgresGround) -> AsyncIterator[Reconciling]:
    async with reconciling(chain, real_ground) as opened:
        yield opened


async def found(scene: Reconciling) -> RunResult:
    """A first run that only suspects, then one that is late enough."""
    scene.pass_slots()
    first = await scene.reconciler.run()
    assert first.discrepancies == 0
    scene.pass_slots()
    return await scene.reconciler.run()


async def test_what_is_equal_is_no_discrepancy(scene: Reconciling) -> None:
    markets = [await scene.chain.create_market(number) for number in (1, 2)]
    await scene.activate(markets[0])
    await scene.adopt(*markets)
    await scene.traded(markets[0])
    await scene.adopt(markets[0])
    assert await found(scene) == RunResult(checked=3)
    assert (await scene.discrepancies(), await scene.suspicions(), await scene.ground.alerts()) == ([], [], [])


async def test_a_state_that_is_wrong_is_seen_twice_repaired_from_the_chain_and_told_once(scene: Reconciling) -> None:
    market = await scene.chain.create_market()
    await scene.adopt(market)
    await scene.bend("UPDATE markets SET state = 'ACTIVE', proposed_outcome = true")
    scene.pass_slots()
    assert await scene.reconciler.run() == RunResult(checked=1)
    assert await scene.suspicions() == ["proposed_outcome", "state"]
    assert await scene.reconciler.run() == RunResult(checked=1), "too soon to be sure"
    scene.pass_slots()
    assert await scene.reconciler.run() == RunResult(checked=1, discrepancies=2, repaired=2)
    assert await scene.discrepancies() == [
        ("proposed_outcome", "YES", "", True),
        ("state", "ACTIVE", "PROPOSED", True),
    ]
    repaired = await scene.market(market)
    assert (repaired.state, repaired.proposed_outcome) == (Lifecycle.PROPOSED, None)
    scene.pass_slots()
    assert await scene.reconciler.run() == RunResult(checked=1)
    assert (await scene.suspicions(), await scene.ground.alerts()) == ([], [ALERT])


@pytest.mark.parametrize(
    ("hindrance", "its_end"),
    [
        (
            "INSERT INTO market_effects (market_id, kind, slot) SELECT market_id, 'observe', 1 FROM markets",
            "DELETE FROM market_effects",
        ),
        (
            "INSERT INTO wanted_transactions (signature, source) VALUES ('s', 'webhook')",
            "UPDATE wanted_transactions SET alerted_at = now()",
        ),
        ("UPDATE indexer_cursor SET slot = 1", "UPDATE indexer_cursor SET slot = 1000000"),
    ],
)
async def test_a_difference_waits_while_its_event_may_be_on_its_way(
    scene: Reconciling, hindrance: str, its_end: str
) -> None:
    market = await scene.chain.create_market()
    await scene.adopt(market)
    await scene.bend("UPDATE markets SET state = 'ACTIVE'")
    await scene.ground.query("INSERT INTO indexer_cursor (program_id, slot, finalized_slot) VALUES ('p', 1000000, 1)")
    await scene.ground.query(hindrance)
    assert (await found(scene)).discrepancies == 0
    scene.pass_slots()
    assert (await scene.reconciler.run()).discrepancies == 0, "however often it is seen"
    await scene.ground.query(its_end)
    scene.pass_slots()
    assert (await scene.reconciler.run()).repaired == 1


async def test_a_tally_that_somebody_else_wrote_is_found_and_ours_will_be_sent_again(scene: Reconciling) -> None:
    market, backend = await scene.chain.create_market(), scene.chain.keys.backend
    await scene.adopt(market)
    await scene.chain.land(scene.chain.program.aggregate_proposal_votes(backend.wallet, market, 5, 2), backend.pair)
    assert (await found(scene)).repaired == 1
    assert await scene.discrepancies() == [("proposal_tally", "0:0", "5:2", True)]
    stored = await scene.market(market)
    assert (stored.confirmed_likes, stored.confirmed_dislikes) == (5, 2)


async def test_a_wrong_position_is_set_to_what_its_account_shows(scene: Reconciling) -> None:
    market = await scene.chain.create_market()
    await scene.activate(market)
    await scene.adopt(market)
    holding = await scene.traded(market)
    await scene.adopt(market)
    before = await scene.rows.positions([holding])
    assert before[0].shares_yes > 0
    await scene.ground.query("UPDATE positions SET shares_yes = 1, has_claimed = true")
    assert (await found(scene)).repaired == 2
    (after,) = await scene.rows.positions([holding])
    assert replace(after, slot=before[0].slot) == before[0]


async def test_what_cannot_be_repaired_is_told_once_and_gravely(scene: Reconciling) -> None:
    """A market whose account is gone: somebody has changed the program id, or the ledger was begun anew."""
    await scene.adopt(await scene.chain.create_market())
    await scene.ground.query("UPDATE markets SET market_id = $1", market_id(9))
    assert await found(scene) == RunResult(checked=1, discrepancies=1, repaired=0)
    scene.pass_slots()
    assert await scene.reconciler.run() == RunResult(checked=1)
    assert await scene.discrepancies() == [("account", "PROPOSED", "missing", False)]
    (alert,) = await scene.ground.query("SELECT severity, dedupe_key FROM alerts")
    assert tuple(alert) == ("CRITICAL", ALERT)


async def test_terminal_rows_are_compared_until_they_were_equal_once(scene: Reconciling) -> None:
    market, admin = await scene.chain.create_market(), scene.chain.keys.admin
    await scene.chain.land(scene.chain.program.cancel_market(admin.wallet, market), admin.pair)
    await scene.adopt(market)
    scene.pass_slots()
    assert await scene.reconciler.run() == RunResult(checked=1)
    assert await scene.reconciler.run() == RunResult(checked=0)
    await scene.ground.query("UPDATE markets SET observed_slot = observed_slot + 1000")
    assert await scene.reconciler.run() == RunResult(checked=1), "the row has changed since"


async def test_a_row_that_is_newer_than_the_finalized_slot_waits(scene: Reconciling) -> None:
    market = await scene.chain.create_market()
    await scene.adopt(market)
    scene.pass_slots()
    await scene.activate(market)
    await scene.adopt(market)
    assert (await scene.reconciler.run()).checked == 1
    assert await scene.suspicions() == []


async def test_an_operator_asks_by_a_row_and_the_timer_by_the_age_of_the_last(scene: Reconciling) -> None:
    runs = ReconcileRuns(scene.rows, scene.reconciler, EVERY_S)
    await scene.adopt(await scene.chain.create_market(1), await scene.chain.create_market(2))
    scene.pass_slots()
    assert await runs.step(), "nobody ever compared"
    assert not await runs.step(), "it is not time yet"
    asked = await scene.rows.ask(market_id(2))
    assert await scene.rows.ask(market_id(2)) == asked, "one that waits serves both"
    assert await scene.rows.result(asked) is None
    assert await runs.step()
    assert await scene.rows.result(asked) == RunResult(checked=1)
    await scene.ground.query("UPDATE reconciliation_runs SET requested_at = now() - interval '601 seconds'")
    assert await runs.step()


async def test_a_chain_that_is_away_ends_the_run_with_words_and_the_next_one_goes_on(scene: Reconciling) -> None:
    await scene.adopt(await scene.chain.create_market())
    asked = await scene.rows.ask(None)
    assert await ReconcileRuns(scene.rows, scene.without_chain(), EVERY_S).step()
    result = await scene.rows.result(asked)
    assert result is not None and result.error is not None and "GetMultipleAccounts" in result.error
    again = await scene.rows.ask(None)
    scene.pass_slots()
    assert await ReconcileRuns(scene.rows, scene.reconciler, EVERY_S).step()
    assert await scene.rows.result(again) == RunResult(checked=1)


async def test_a_run_whose_worker_died_is_begun_again(scene: Reconciling) -> None:
    asked = await scene.rows.ask(None)
    assert await scene.rows.begin(300) == (asked, None)
    assert await scene.rows.begin(300) is None
    await scene.ground.query("UPDATE reconciliation_runs SET started_at = now() - interval '301 seconds'")
    assert await scene.rows.begin(300) == (asked, None)


async def test_there_is_no_false_alarm_while_events_are_in_flight(
    live_chain: Chain, real_ground: PostgresGround, database_url: str
) -> None:
    """Slots of 20 ms, an indexer at work, buyers who never stop, and a comparison at once after the other.

    Every buyer's position and every market's state ends as the chain has it, and nothing is ever reported.
    """
    async with reconciling(live_chain, real_ground) as scene, indexing(scene, database_url):
        markets = [await scene.chain.create_market(number) for number in (1, 2)]
        load = asyncio.gather(*(scene.keep_trading(market, purchases=12) for market in markets))
        runs = 0
        while not load.done():
            await scene.reconciler.run()
            runs += 1
        await load
        assert runs > 1

        async def settled() -> bool:
            """All that was bought is known and no row differs from the chain at finalized."""
            trades = await real_ground.query("SELECT count(*) FROM trades")
            await scene.reconciler.run()
            return trades[0]["count"] == 24 and await scene.compared() and not await scene.suspicions()

        await eventually_async(settled, timeout_s=60)
        assert (await scene.discrepancies(), await real_ground.alerts()) == ([], [])
        for market in markets:
            (_, found) = await scene.accounts.markets([market])
            observed, stored = found[market], await scene.market(market)
            assert observed is not None
            assert (stored.state, stored.total_volume) == (Lifecycle.ACTIVE, observed.total_volume)
