"""From confirmed to final over a real ledger, dropped slots included; what a transaction pays, and who may not send."""

import base64
from dataclasses import replace

import pytest
from solana.rpc.commitment import Confirmed
from solders.compute_budget import ID as COMPUTE_BUDGET
from solders.transaction import VersionedTransaction

from chain.fees import FeeSettings
from chain.ledger import faults
from chain.ledger.faults import Fault
from chain.sender import MOVED_ON, Sender
from chain.sender_settings import SenderSettings
from domain.intents import Action, Intent, IntentStatus
from domain.lifecycle import Lifecycle
from tests.support.eventually import eventually_async
from tests.support.ledger import Chain
from tests.support.sender_bench import Bench, running


async def confirmed_intent(bench: Bench) -> Intent:
    intent = bench.plan()
    assert (await bench.until_settled()).status is IntentStatus.CONFIRMED
    return intent


async def follow(bench: Bench) -> None:
    """One step with the one confirmed row."""
    for row in await bench.store.confirmed_transactions(10):
        settlement = await bench.sender.advance(row)
        if settlement is not None:
            bench.settlements.append(settlement)


def take_in(bench: Bench, intent: Intent) -> None:
    bench.database.tables.attempts[intent.intent_id] = replace(bench.row(intent), applied=True)


async def test_what_is_confirmed_becomes_final_32_slots_later(bench: Bench) -> None:
    intent = await confirmed_intent(bench)
    bench.chain.ledger.tick(30)
    await follow(bench)
    assert bench.row(intent).status is IntentStatus.CONFIRMED
    bench.chain.ledger.tick(2)
    await follow(bench)
    assert (bench.row(intent).status, bench.settlements) == (IntentStatus.FINALIZED, [])


async def test_a_running_sender_follows_to_the_end_by_itself(bench: Bench) -> None:
    intent = bench.plan()

    async def is_final() -> bool:
        return bench.row(intent).status is IntentStatus.FINALIZED

    async with running(bench):
        await eventually_async(is_final)
    assert [settlement.status for settlement in bench.settlements] == [IntentStatus.CONFIRMED]


async def test_a_dropped_slot_is_answered_with_the_same_bytes_which_land_once_more(bench: Bench) -> None:
    intent = await confirmed_intent(bench)
    bench.chain.ledger.node.set_fault(Fault(faults.DROP_SLOT, count=1))
    bench.chain.ledger.tick()
    assert await bench.likes() == 0
    bench.now_s += 2.0
    await follow(bench)
    bench.chain.ledger.tick(40)
    await follow(bench)
    row = bench.row(intent)
    assert (row.status, await bench.likes(), len(set(bench.proxy.sent))) == (IntentStatus.FINALIZED, 7, 1)
    assert await bench.executions() == [row.signature]
    landed = bench.chain.ledger.node.archive.transaction(
        bytes(VersionedTransaction.from_bytes(base64.b64decode(bench.proxy.sent[0])).signatures[0])
    )
    assert landed is not None and row.slot == landed.slot
    assert bench.settlements == []


async def test_a_dropped_one_that_never_lands_again_is_undone_by_a_second_settlement(bench: Bench) -> None:
    intent = await confirmed_intent(bench)
    node = bench.chain.ledger.node
    node.set_fault(Fault(faults.DROP_SLOT, count=1))
    bench.chain.ledger.tick()
    node.set_fault(Fault(faults.DROP_SEND))
    bench.now_s += 2.0
    await follow(bench)
    bench.chain.ledger.tick(150 + 33)
    await follow(bench)
    assert (bench.row(intent).status, bench.settlements) == (IntentStatus.CONFIRMED, [])  # its market is not told yet
    take_in(bench, intent)
    await follow(bench)
    (settlement,) = bench.settlements
    assert (settlement.status, settlement.error_name) == (IntentStatus.EXPIRED, None)
    assert settlement.observed is not None and settlement.observed.proposal_likes == 0
    assert list(bench.database.tables.alerts) == [f"confirmation_undone:{bench.market}:aggregate_proposal_votes"]
    assert await bench.executions() == []


async def test_the_first_two_instructions_are_the_compute_budget_as_simulated(bench: Bench) -> None:
    await confirmed_intent(bench)
    message = VersionedTransaction.from_bytes(base64.b64decode(bench.proxy.sent[0])).message
    programs = [message.account_keys[instruction.program_id_index] for instruction in message.instructions]
    assert programs == [COMPUTE_BUDGET, COMPUTE_BUDGET, bench.chain.program.program_id]
    limit = int.from_bytes(message.instructions[0].data[1:], "little")
    signature = VersionedTransaction.from_bytes(base64.b64decode(bench.proxy.sent[0])).signatures[0]
    landed = (
        await bench.chain.client.get_transaction(signature, commitment=Confirmed, max_supported_transaction_version=0)
    ).value
    assert landed is not None and landed.transaction.meta is not None
    used = landed.transaction.meta.compute_units_consumed
    assert used is not None and limit == -(-used * 110 // 100)


def capped(bench: Bench, lamports: int) -> Sender:
    return Sender(
        bench.readers[-1],
        bench.chain.signing_keys,
        bench.store,
        settings=SenderSettings(idle_s=3600.0),
        fees=FeeSettings(day_lamports_max=lamports),
        clock=lambda: bench.now_s,
        sleep=bench.sleep,
    )


async def test_a_days_cap_stops_signing_with_an_alert_and_what_is_planned_goes_out_later(bench: Bench) -> None:
    await confirmed_intent(bench)
    bench.sender = capped(bench, 9_999)
    waiting = bench.plan()
    assert await bench.step() is None
    assert (bench.row(waiting).status, list(bench.database.tables.alerts)) == (IntentStatus.PLANNED, ["fee_cap"])
    bench.sender = capped(bench, 10_000)
    assert (await bench.until_settled()).status is IntentStatus.CONFIRMED


async def test_a_retry_reads_the_account_first_and_is_idle_when_the_market_moved_on(bench: Bench) -> None:
    chain: Chain = bench.chain
    await chain.land(chain.program.cancel_market(chain.keys.admin.wallet, bench.market), chain.keys.admin.pair)
    bench.database.tables.attempts.clear()
    bench.plan()
    bench.plan(Action.APPROVE)  # the second one planned here is an attempt number 2
    first = await bench.step()
    second = await bench.step()
    assert first is not None and first.error_name == "InvalidStateForVoting"
    assert second is not None and second.error_name == MOVED_ON
    assert second.observed is not None and second.observed.state is Lifecycle.CANCELLED
    assert bench.proxy.sent == []


@pytest.mark.parametrize("refused", ["first", "after a crash"])
async def test_an_expired_attempt_says_why_a_node_refused_it(bench: Bench, refused: str) -> None:
    chain = bench.chain
    await confirmed_intent(bench)
    bench.plan(Action.APPROVE)
    await bench.step()
    if refused == "after a crash":
        bench.restarted()
    await chain.land(chain.program.approve_proposal(chain.keys.admin.wallet, bench.market), chain.keys.admin.pair)
    settlement = await bench.until_settled()
    expected = IntentStatus.FAILED if refused == "first" else IntentStatus.EXPIRED
    assert (settlement.status, settlement.error_name) == (expected, "InvalidStateTransition")
