"""Every fault of the contract, switched on over RPC and met over RPC."""

import json
from typing import Any

import httpx
import pytest
from solana.rpc.commitment import Confirmed, Processed

from chain.ledger.accounts import key_text
from chain.ledger.faults import FOREIGN_PROGRAM
from chain.program import NEWEST_PROGRAM_ID
from tests.support.ledger import Chain
from tests.support.rpc_calls import call, error, paying, post, result, to_base64

FOREIGN, OURS = key_text(FOREIGN_PROGRAM), NEWEST_PROGRAM_ID
BASE64 = {"encoding": "base64", "preflightCommitment": "processed"}


async def landed(chain: Chain, signature: Any) -> bool:
    return (await chain.status(signature)).value[0] is not None


async def test_a_dropped_send_is_answered_and_never_lands(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "drop_send", {"count": 1})
    first, second = await paying(chain, 1), await paying(chain, 2)
    signature = await chain.send(first)
    assert signature == first.signatures[0]
    assert not await landed(chain, signature)
    assert await landed(chain, await chain.send(second))
    assert await landed(chain, await chain.send(first))


async def test_a_delayed_send_lands_later(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "delay_send", {"count": 1, "slots": 3})
    signature = await chain.send(await paying(chain))
    chain.ledger.tick(2)
    assert not await landed(chain, signature)
    chain.ledger.tick(1)
    assert await landed(chain, signature)


async def test_a_send_delayed_beyond_its_block_hash_never_lands(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "delay_send", {"count": 1, "slots": 151})
    signature = await chain.send(await paying(chain))
    chain.ledger.tick(160)
    assert not await landed(chain, signature)


async def test_a_delay_in_seconds_counts_slots_of_the_usual_length(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "delay_send", {"count": 1, "seconds": 2})
    signature = await chain.send(await paying(chain))
    chain.ledger.tick(4)
    assert not await landed(chain, signature)
    chain.ledger.tick(1)
    assert await landed(chain, signature)


async def test_a_lost_answer_belongs_to_a_transaction_that_landed(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "lose_answer", {"count": 1})
    transaction = await paying(chain)
    with pytest.raises(httpx.RemoteProtocolError):
        await call(chain, "sendTransaction", to_base64(transaction), BASE64)
    assert await landed(chain, transaction.signatures[0])


async def test_a_rate_limit_says_when_to_come_back_and_spares_the_switch(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "rate_limit", {"seconds": 3})
    refused = await post(chain, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getSlot"}))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
    assert refused.json()["error"]["code"] == 429
    assert [fault["name"] for fault in await result(chain, "zmart_getFaults")] == ["rate_limit"]
    assert await result(chain, "zmart_clearFaults") == []
    assert await result(chain, "getHealth") == "ok"


async def test_a_lagging_node_shows_an_older_chain_and_says_so(chain: Chain) -> None:
    chain.ledger.tick(5)
    slot, height = await result(chain, "getSlot"), await result(chain, "getBlockHeight")
    before = await chain.lamports(chain.keys.backend.pair)
    signature = await chain.send(await paying(chain))
    chain.ledger.tick()
    await result(chain, "zmart_setFault", "lag", {"slots": 5})
    chain.ledger.tick(3)
    behind = await error(chain, "getHealth")
    assert (behind["code"], behind["data"]) == (-32005, {"numSlotsBehind": 5})
    processed = {"commitment": "processed"}
    assert await result(chain, "getSlot", processed) == chain.ledger.node.bank.tip.slot - 5
    assert await result(chain, "getSlot") >= slot - 5
    assert await result(chain, "getBlockHeight") >= height - 5
    assert not await landed(chain, signature)
    assert await chain.lamports(chain.keys.backend.pair) == before
    assert (await chain.client.get_transaction(signature, commitment=Confirmed)).value is None
    blockhash = (await chain.client.get_latest_blockhash(Processed)).value.blockhash
    assert (
        bytes(blockhash) == chain.ledger.node.bank.block("processed").blockhash != chain.ledger.node.bank.tip.blockhash
    )
    chain.ledger.tick(5)
    assert await landed(chain, signature)


async def test_get_transaction_is_null_for_a_while(chain: Chain) -> None:
    signature = await chain.send(await paying(chain))
    chain.ledger.tick()
    await result(chain, "zmart_setFault", "null_transaction", {"count": 2})
    answers = [(await chain.client.get_transaction(signature, commitment=Confirmed)).value for _ in range(3)]
    assert [answer is None for answer in answers] == [True, True, False]


async def test_a_confirmed_slot_can_be_dropped(chain: Chain) -> None:
    before = await chain.lamports(chain.keys.backend.pair)
    signature = await chain.send(await paying(chain))
    chain.ledger.tick()
    slot = (await chain.client.get_transaction(signature, commitment=Confirmed)).value
    assert slot is not None
    await result(chain, "zmart_setFault", "drop_slot", {"count": 1})
    chain.ledger.tick()
    assert not await landed(chain, signature)
    assert await chain.lamports(chain.keys.backend.pair) == before
    assert (await error(chain, "getBlock", slot.slot, {"commitment": "confirmed"}))["code"] == -32007


async def logs_of_a_market(chain: Chain) -> list[str]:
    admin = chain.keys.admin
    market = await chain.create_market()
    vote = chain.program.aggregate_proposal_votes(chain.keys.backend.wallet, market, 7, 3)
    signature = await chain.land(vote, admin.pair, chain.keys.backend.pair)
    found = (await chain.client.get_transaction(signature, commitment=Confirmed)).value
    assert found is not None and found.transaction.meta is not None
    return found.transaction.meta.log_messages or []


async def test_truncated_logs_lose_the_event_and_say_so(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "truncate_logs")
    logs = await logs_of_a_market(chain)
    assert logs.count("Log truncated") == 1
    assert not [line for line in logs if line.startswith("Program data:")]


async def test_a_foreign_frame_nests_our_program_and_forges_its_event(chain: Chain) -> None:
    await result(chain, "zmart_setFault", "foreign_frame")
    logs = await logs_of_a_market(chain)
    data = next(line for line in logs if line.startswith("Program data:"))
    shape = [line for line in logs if "Instruction" not in line and "consumed" not in line]
    assert shape == [
        f"Program {FOREIGN} invoke [1]",
        f"Program {OURS} invoke [2]",
        data,
        f"Program {OURS} success",
        data,
        f"Program {FOREIGN} success",
    ]


async def test_a_refusal_inside_a_foreign_frame_fails_both_frames(chain: Chain) -> None:
    market = await chain.create_market()
    await result(chain, "zmart_setFault", "foreign_frame")
    admin = chain.keys.admin
    transaction = await chain.signed([chain.program.approve_proposal(admin.wallet, market)], admin.pair)
    signature = await chain.send(transaction, preflight=False)
    chain.ledger.tick()
    found = (await chain.client.get_transaction(signature, commitment=Confirmed)).value
    assert found is not None and found.transaction.meta is not None
    logs = found.transaction.meta.log_messages or []
    assert [line.split(" failed: ")[0] for line in logs if " failed: " in line] == [
        f"Program {OURS}",
        f"Program {FOREIGN}",
    ]
    assert found.transaction.meta.err is not None


async def test_seeded_faults_meet_the_same_transactions_again(chain: Chain) -> None:
    async def fates() -> list[bool]:
        await result(chain, "zmart_setFault", "drop_send", {"probability": 0.5, "seed": 7})
        return [await landed(chain, await chain.send(await paying(chain, amount()))) for _ in range(12)]

    amounts = iter(range(1, 100))

    def amount() -> int:
        return next(amounts)

    first = await fates()
    assert first == await fates()
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    "params",
    [
        [],
        ["earthquake"],
        [5],
        ["lag", {"slots": 1_001}],
        ["lag", {"slots": -1}],
        ["rate_limit", {"seconds": 601}],
        ["drop_send", {"probability": 1.5}],
        ["drop_send", {"probability": "often"}],
        ["drop_send", {"probability": True}],
        ["drop_send", {"times": 5}],
    ],
)
async def test_a_fault_that_makes_no_sense_is_refused(chain: Chain, params: list[Any]) -> None:
    assert (await error(chain, "zmart_setFault", *params))["code"] == -32602
    assert await result(chain, "zmart_getFaults") == []
