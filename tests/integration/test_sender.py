"""Sending over a real ledger: whatever breaks, every intent ends, and it is executed at most once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from chain.keys import SigningKey
from chain.sender import NO_ADMIN_KEY, OVERDUE
from domain.intents import Action, Intent, IntentStatus, StoredTransaction
from domain.lifecycle import Lifecycle
from storage.memory_tables import Attempt
from tests.support.eventually import eventually_async
from tests.support.rpc_proxy import Fault
from tests.support.sender_bench import Bench, Crash, running


async def test_an_intent_goes_from_planned_to_confirmed_one_step_at_a_time(bench: Bench) -> None:
    intent, seen = bench.plan(), []
    while True:
        seen.append(bench.row(intent).status)
        settlement = await bench.step()
        if settlement is not None:
            break
        if bench.row(intent).status is IntentStatus.SENT:
            bench.chain.ledger.tick()
    assert list(dict.fromkeys(seen)) == [IntentStatus.PLANNED, IntentStatus.SIGNED, IntentStatus.SENT]
    row = bench.row(intent)
    assert (settlement.status, settlement.slot, settlement.signature) == (
        IntentStatus.CONFIRMED,
        row.slot,
        row.signature,
    )
    assert settlement.observed is not None
    assert settlement.observed.slot >= (settlement.slot or 0)
    assert (settlement.observed.proposal_likes, settlement.observed.state) == (7, Lifecycle.PROPOSED)
    assert await bench.executions() == [row.signature]


async def test_nothing_is_sent_before_the_bytes_are_stored(bench: Bench) -> None:
    intent = bench.plan()
    bench.store.crash = ("before", "mark_signed")
    with pytest.raises(Crash):
        await bench.step()
    assert (bench.row(intent).status, bench.proxy.sent) == (IntentStatus.PLANNED, [])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", ["mark_signed", "mark_sent", "mark_confirmed"])
async def test_a_crash_at_any_write_ends_in_one_execution(bench: Bench, when: str, write: str) -> None:
    intent = bench.plan()
    bench.store.crash = (when, write)
    with pytest.raises(Crash):
        await bench.until_settled()
    bench.restarted()
    if (when, write) != ("after", "mark_confirmed"):
        settlement = await bench.until_settled()
        assert settlement.status is IntentStatus.CONFIRMED
    row = bench.row(intent)
    assert (row.status, row.observed is not None) == (IntentStatus.CONFIRMED, True)
    assert await bench.executions() == [row.signature]
    assert len(set(bench.store.signatures)) <= 1


async def test_a_lost_answer_after_landing_is_not_a_second_execution(bench: Bench) -> None:
    intent = bench.plan()
    await bench.step()
    bench.proxy.fail(Fault.LOSE_ANSWER, "sendTransaction", times=1)
    with pytest.raises(Exception, match="SendRawTransaction"):
        await bench.step()
    assert bench.row(intent).status is IntentStatus.SIGNED
    bench.now_s += 60
    settlement = await bench.until_settled()
    assert settlement.status is IntentStatus.CONFIRMED
    assert await bench.executions() == [settlement.signature]
    assert len(set(bench.proxy.sent)) == 1


async def test_swallowed_bytes_are_sent_again_every_two_seconds_and_land_once(bench: Bench) -> None:
    bench.plan()
    bench.proxy.fail(Fault.SWALLOW_SEND, "sendTransaction", times=3)
    settlement = await bench.until_settled()
    assert settlement.status is IntentStatus.CONFIRMED
    assert (len(bench.proxy.sent), len(set(bench.proxy.sent))) == (4, 1)
    assert bench.now_s >= 6.0
    assert await bench.executions() == [settlement.signature]


async def test_expiry_is_believed_only_at_finalized_height(bench: Bench) -> None:
    intent = bench.plan()
    bench.proxy.fail(Fault.SWALLOW_SEND, "sendTransaction")
    await bench.until_sent(intent)
    last_valid = bench.row(intent).last_valid_block_height
    assert last_valid is not None
    tip = bench.chain.ledger.node.bank.tip.height
    bench.chain.ledger.tick(last_valid + 32 - tip)
    assert bench.chain.ledger.node.bank.block("finalized").height == last_valid
    assert await bench.step() is None
    bench.chain.ledger.tick()
    settlement = await bench.step()
    assert settlement is not None
    assert (settlement.status, settlement.slot, settlement.error_name) == (IntentStatus.EXPIRED, None, None)
    assert settlement.observed is not None and settlement.observed.proposal_likes == 0
    assert await bench.executions() == []


async def test_an_expired_attempt_and_the_next_one_are_different_transactions(bench: Bench) -> None:
    bench.plan()
    bench.proxy.fail(Fault.SWALLOW_SEND, "sendTransaction")
    first = await bench.until_settled()
    bench.proxy.heal()
    bench.plan()
    second = await bench.until_settled()
    assert (first.status, second.status) == (IntentStatus.EXPIRED, IntentStatus.CONFIRMED)
    assert first.signature != second.signature
    assert await bench.executions() == [second.signature]


async def test_what_a_simulation_refuses_fails_by_name_is_never_signed_and_costs_nothing(bench: Bench) -> None:
    admin = bench.chain.keys.admin.pair
    before = await bench.chain.lamports(admin)
    bench.plan(Action.APPROVE)
    settlement = await bench.until_settled()
    assert (settlement.status, settlement.error_name) == (IntentStatus.FAILED, "NoVotesRecorded")
    assert settlement.observed is not None and settlement.observed.state is Lifecycle.PROPOSED
    assert (await bench.chain.lamports(admin), bench.proxy.sent, bench.store.signatures) == (before, [], [])


async def test_a_refusal_after_a_crash_waits_for_the_chain_to_say_how_it_ended(bench: Bench) -> None:
    chain = bench.chain
    bench.plan()
    await bench.until_settled()
    approve = bench.plan(Action.APPROVE)
    await bench.step()
    bench.restarted()
    await chain.land(chain.program.approve_proposal(chain.keys.admin.wallet, bench.market), chain.keys.admin.pair)
    assert await bench.step() is None
    assert bench.row(approve).status is IntentStatus.SIGNED
    settlement = await bench.until_settled()
    assert settlement.status is IntentStatus.EXPIRED
    assert settlement.observed is not None and settlement.observed.state is Lifecycle.APPROVED


async def test_a_transaction_that_lands_and_fails_is_named_by_its_logs(bench: Bench) -> None:
    chain, admin = bench.chain, bench.chain.keys.admin
    bench.plan()
    await bench.until_settled()
    intent = bench.plan(Action.APPROVE)
    await bench.step()
    # in the current slot, which preflight at confirmed does not see yet
    await chain.send(await chain.signed([chain.program.cancel_market(admin.wallet, bench.market)], admin.pair))
    await bench.step()
    assert bench.row(intent).status is IntentStatus.SENT
    settlement = await bench.until_settled()
    assert (settlement.status, settlement.error_name) == (IntentStatus.FAILED, "InvalidStateTransition")
    assert settlement.slot is not None
    assert settlement.observed is not None and settlement.observed.state is Lifecycle.CANCELLED


async def test_a_lagging_node_that_does_not_know_the_block_hash_is_asked_again(bench: Bench) -> None:
    intent = bench.plan()
    await bench.step()
    row = bench.row(intent)
    stored = StoredTransaction(intent, row.status, row.raw, row.signature, row.last_valid_block_height)
    bank = bench.chain.ledger.node.bank
    height = bank._heights.pop(bank.block("confirmed").blockhash)
    assert await bench.sender.advance(stored) is None
    assert bench.row(intent).status is IntentStatus.SIGNED
    bank._heights[bank.block("confirmed").blockhash] = height
    assert (await bench.until_settled()).status is IntentStatus.CONFIRMED


async def test_without_the_admin_key_an_approval_fails_by_name(bench: Bench) -> None:
    bench.restarted(replace(bench.chain.signing_keys, admin=None))
    bench.plan(Action.APPROVE)
    settlement = await bench.until_settled()
    assert (settlement.status, settlement.error_name, settlement.signature) == (IntentStatus.FAILED, NO_ADMIN_KEY, None)
    assert bench.proxy.sent == []


@pytest.mark.parametrize(("lamports", "name"), [(0, "AccountNotFound"), (893_000, "InsufficientFundsForRent")])
async def test_a_signer_who_cannot_pay_fails_the_intent_by_name(bench: Bench, lamports: int, name: str) -> None:
    chain = bench.chain
    poor = await chain.funded(lamports) if lamports else Keypair()
    bench.restarted(replace(chain.signing_keys, admin=SigningKey(poor)))
    bench.plan(Action.APPROVE)
    assert (await bench.until_settled()).error_name == name


async def test_identical_bytes_are_not_taken_for_a_new_attempt(bench: Bench) -> None:
    first = bench.plan()
    await bench.step()
    await bench.store.mark_failed(first.intent_id, "given up by hand", None)
    second = bench.plan()
    await bench.step()
    assert (bench.row(first).status, bench.row(second).status) == (IntentStatus.FAILED, IntentStatus.PLANNED)
    assert (await bench.until_settled()).status is IntentStatus.CONFIRMED
    assert bench.row(first).signature != bench.row(second).signature


def settled(bench: Bench, count: int) -> Callable[[], Any]:
    async def enough() -> bool:
        return len(bench.settlements) >= count

    return enough


async def test_a_wake_up_is_enough_to_send_what_was_planned(bench: Bench) -> None:
    async with running(bench) as wake:
        await eventually_async(_async(lambda: 3600.0 in bench.slept))
        bench.plan()
        wake.set()
        await eventually_async(settled(bench, 1))
    assert bench.settlements[0].status is IntentStatus.CONFIRMED


async def test_an_attempt_that_cannot_be_signed_in_time_is_failed_without_the_chain(bench: Bench) -> None:
    intent = bench.plan()
    bench.proxy.fail(Fault.UNAVAILABLE)
    bench.database.now_s = lambda: 240.0
    async with running(bench):
        await eventually_async(settled(bench, 1))
    (end,) = bench.settlements
    assert (end.status, end.error_name, end.observed) == (IntentStatus.FAILED, OVERDUE, None)
    assert (bench.row(intent).signature, bench.proxy.sent) == (None, [])


async def test_a_signed_attempt_that_is_overdue_is_followed_and_said_aloud_once(bench: Bench) -> None:
    intent = bench.plan()
    await bench.step()
    assert bench.row(intent).status is IntentStatus.SIGNED
    bench.database.now_s = lambda: 240.0
    async with running(bench):
        await eventually_async(settled(bench, 1))
    assert bench.settlements[0].status is IntentStatus.CONFIRMED
    (alert,) = bench.database.tables.alerts.values()
    assert (alert.alert_type, alert.severity) == ("aggregation_overdue", "HIGH")


async def test_many_intents_are_followed_with_one_request_and_all_end(bench: Bench) -> None:
    markets = [bench.market, *[await bench.chain.create_market(number) for number in range(2, 31)]]
    for number, market in enumerate(markets):
        bench.database.tables.attempts[str(number)] = Attempt(
            Intent(str(number), market, Action.AGGREGATE_PROPOSAL, 1, number, 1)
        )
    async with running(bench):
        await eventually_async(settled(bench, 30), timeout_s=60)
    assert {settlement.status for settlement in bench.settlements} == {IntentStatus.CONFIRMED}
    likes = {s.observed.market_id: s.observed.proposal_likes for s in bench.settlements if s.observed}
    assert likes == {market: number for number, market in enumerate(markets)}
    assert len(bench.proxy.sent) == 30
    assert bench.proxy.seen.count("getSignatureStatuses") < 15


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.RATE_LIMIT, Fault.GARBAGE, Fault.LOSE_ANSWER])
async def test_an_outage_is_waited_for_and_nothing_is_lost_or_doubled(bench: Bench, fault: Fault) -> None:
    intent = bench.plan()
    bench.proxy.fail(fault, times=24)
    async with running(bench):
        await eventually_async(settled(bench, 1))
    assert bench.row(intent).status is IntentStatus.CONFIRMED
    assert await bench.executions() == [bench.row(intent).signature]
    assert await bench.likes() == 7
    assert max(wait for wait in bench.slept if wait < 3600) == 10.0


async def test_a_node_that_asks_for_patience_gets_it(bench: Bench) -> None:
    bench.plan()
    bench.proxy.fail(Fault.RATE_LIMIT, times=1)
    assert (await bench.until_settled()).status is IntentStatus.CONFIRMED
    assert 7.0 in bench.slept


async def test_a_failing_store_ends_the_run(bench: Bench) -> None:
    bench.plan()
    bench.store.crash = ("before", "mark_sent")
    with pytest.raises(Crash):
        await bench.sender.run(asyncio.Event(), bench.settlements.append)
    assert len(bench.proxy.sent) == 1
    assert Signature.from_string(bench.store.signatures[0])


def _async(predicate: Callable[[], bool]) -> Callable[[], Any]:
    async def look() -> bool:
        return predicate()

    return look
