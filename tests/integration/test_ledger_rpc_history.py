"""Blocks, parsed transactions, memos, ranges and browsers: the parts of JSON-RPC that explorers and wallets ask for."""

from typing import Any

import httpx
import pytest
from solana.rpc.commitment import Confirmed
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction

from chain.ledger.accounts import MEMO
from tests.support.ledger import START_UNIX_S, Chain
from tests.support.rpc_calls import error, paying, result

CONFIRMED = {"commitment": "confirmed"}


def memo(text: str) -> Instruction:
    return Instruction(Pubkey(MEMO), text.encode(), [])


async def test_a_block_has_its_transactions_in_order_and_its_place_in_the_chain(chain: Chain) -> None:
    sent = [await chain.send(await paying(chain, lamports)) for lamports in (1, 2, 3)]
    slot = chain.ledger.node.bank.tip.slot
    chain.ledger.tick()
    block = await result(chain, "getBlock", slot, CONFIRMED)
    assert [item["transaction"]["signatures"] for item in block["transactions"]] == [[str(s)] for s in sent]
    before = await result(chain, "getBlock", slot - 1, CONFIRMED)
    assert (block["parentSlot"], block["previousBlockhash"]) == (slot - 1, before["blockhash"])
    assert (block["blockHeight"], block["blockTime"]) == (before["blockHeight"] + 1, START_UNIX_S)
    single = await result(chain, "getTransaction", str(sent[1]), CONFIRMED)
    assert block["transactions"][1]["meta"] == single["meta"]


async def test_a_block_shows_as_much_as_is_asked_for(chain: Chain) -> None:
    signature = await chain.send(await paying(chain))
    slot = chain.ledger.node.bank.tip.slot
    chain.ledger.tick()

    async def shown(**config: Any) -> dict[str, Any]:
        block: dict[str, Any] = await result(chain, "getBlock", slot, {**CONFIRMED, **config})
        return block

    assert (await shown(transactionDetails="signatures"))["signatures"] == [str(signature)]
    assert not {"signatures", "transactions"} & set(await shown(transactionDetails="none"))
    assert "rewards" not in await shown(rewards=False)
    [listed] = (await shown(transactionDetails="accounts"))["transactions"]
    assert [key["writable"] for key in listed["transaction"]["accountKeys"]] == [True, True, False]
    for encoding in ("json", "jsonParsed", "base64", "base58"):
        [item] = (await shown(encoding=encoding, maxSupportedTransactionVersion=0))["transactions"]
        assert item["version"] == "legacy"
    chain.ledger.tick(40)
    typed = (await chain.client.get_block(slot, "jsonParsed", 0)).value
    assert typed is not None
    assert typed.transactions is not None
    assert len(typed.transactions) == 1


async def test_a_block_that_is_not_there_says_why(chain: Chain) -> None:
    tip = chain.ledger.node.bank.tip.slot
    assert (await error(chain, "getBlock", tip, CONFIRMED))["code"] == -32004
    assert (await error(chain, "getBlock", tip - 1))["code"] == -32004
    assert (await error(chain, "getBlock", tip - 1, {"commitment": "processed"}))["code"] == -32602
    assert (await error(chain, "getBlock", tip - 1, {**CONFIRMED, "transactionDetails": "most"}))["code"] == -32602
    assert (await error(chain, "getBlock", tip - 1, {**CONFIRMED, "encoding": "morse"}))["code"] == -32602


async def test_a_block_with_a_versioned_transaction_must_be_asked_for(chain: Chain) -> None:
    admin = chain.keys.admin.pair
    blockhash = (await chain.client.get_latest_blockhash(Confirmed)).value.blockhash
    message = MessageV0.try_compile(admin.pubkey(), [memo("v0")], [], blockhash)
    await chain.send(VersionedTransaction(message, [admin]))
    slot = chain.ledger.node.bank.tip.slot
    chain.ledger.tick()
    assert (await error(chain, "getBlock", slot, CONFIRMED))["code"] == -32015
    [item] = (await result(chain, "getBlock", slot, {**CONFIRMED, "maxSupportedTransactionVersion": 0}))["transactions"]
    assert item["version"] == 0
    assert await result(chain, "getBlock", slot, {**CONFIRMED, "transactionDetails": "signatures"})


async def test_ranges_of_blocks_leave_out_what_was_dropped(chain: Chain) -> None:
    await chain.send(await paying(chain))
    dropped = chain.ledger.node.bank.tip.slot
    chain.ledger.tick()
    await result(chain, "zmart_setFault", "drop_slot", {"count": 1})
    chain.ledger.tick(3)
    around = [dropped - 1, dropped + 1, dropped + 2]
    assert await result(chain, "getBlocks", dropped - 1, dropped + 2, CONFIRMED) == around
    assert (await result(chain, "getBlocks", dropped - 1, None, CONFIRMED))[:3] == around
    assert await result(chain, "getBlocksWithLimit", dropped - 1, 3, CONFIRMED) == around
    assert await result(chain, "getFirstAvailableBlock") == await result(chain, "minimumLedgerSlot") == 0
    assert (await error(chain, "getBlocks", 0, 5, {"commitment": "processed"}))["code"] == -32602
    assert (await error(chain, "getBlockTime", dropped))["code"] == -32007


async def test_simple_instructions_are_parsed_into_words(chain: Chain) -> None:
    admin, created = chain.keys.admin.pair, Keypair()
    owner = chain.program.program_id
    calls = [
        memo("hello"),
        transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=created.pubkey(), lamports=7)),
        create_account(
            CreateAccountParams(
                from_pubkey=admin.pubkey(), to_pubkey=created.pubkey(), lamports=1_000_000, space=1, owner=owner
            )
        ),
    ]
    signature = await chain.send(await chain.signed([calls[0], calls[2]], admin, created))
    paid = await chain.send(await chain.signed([calls[1]], admin), preflight=False)
    chain.ledger.tick()

    async def instructions(item: Any) -> list[dict[str, Any]]:
        shown = await result(chain, "getTransaction", str(item), {**CONFIRMED, "encoding": "jsonParsed"})
        found: list[dict[str, Any]] = shown["transaction"]["message"]["instructions"]
        return found

    said, made = await instructions(signature)
    assert (said["program"], said["parsed"]) == ("spl-memo", "hello")
    info = {"source": str(admin.pubkey()), "newAccount": str(created.pubkey()), "lamports": 1_000_000}
    assert made["parsed"] == {"type": "createAccount", "info": {**info, "space": 1, "owner": str(owner)}}
    [moved] = await instructions(paid)
    info = {"source": str(admin.pubkey()), "destination": str(created.pubkey()), "lamports": 7}
    assert (moved["program"], moved["parsed"]) == ("system", {"type": "transfer", "info": info})
    typed = (await chain.client.get_transaction(signature, "jsonParsed", Confirmed)).value
    assert typed is not None


async def test_inner_instructions_are_parsed_too_and_foreign_ones_stay_as_they_are(chain: Chain) -> None:
    await chain.create_market()
    [newest, *_] = await result(chain, "getSignaturesForAddress", str(chain.program.program_id), CONFIRMED)
    shown = await result(chain, "getTransaction", newest["signature"], {**CONFIRMED, "encoding": "jsonParsed"})
    [outer] = shown["transaction"]["message"]["instructions"]
    assert outer["programId"] == str(chain.program.program_id)
    assert set(outer) == {"programId", "accounts", "data", "stackHeight"}
    [group] = shown["meta"]["innerInstructions"]
    assert [inner["parsed"]["type"] for inner in group["instructions"]] == ["createAccount"]


async def test_memos_are_listed_with_signatures(chain: Chain) -> None:
    admin = chain.keys.admin.pair
    await chain.send(await chain.signed([memo("first"), memo("zwölf")], admin))
    chain.ledger.tick()
    await chain.send(await paying(chain))
    chain.ledger.tick()
    listed = await result(chain, "getSignaturesForAddress", str(admin.pubkey()), {**CONFIRMED, "limit": 2})
    assert [item["memo"] for item in listed] == [None, "[5] first; [6] zwölf"]


async def test_paging_from_a_signature_that_nobody_knows_finds_nothing(chain: Chain) -> None:
    key = str(chain.keys.admin.pair.pubkey())
    unknown = "1" * 64
    assert await result(chain, "getSignaturesForAddress", key, {**CONFIRMED, "before": unknown}) == []
    assert await result(chain, "getSignaturesForAddress", key, {**CONFIRMED, "until": unknown})


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
async def test_a_browser_of_any_origin_may_ask(chain: Chain, method: str) -> None:
    headers = {
        "Origin": "https://wallet.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,solana-client",
        "Content-Type": "application/json",
    }
    body = '{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
    async with httpx.AsyncClient() as client:
        answer = await client.request(method, chain.ledger.rpc_url, headers=headers, content=body)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if method == "OPTIONS":
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Headers"] == "content-type,solana-client"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


async def test_a_block_names_the_hash_that_transactions_are_signed_over(chain: Chain) -> None:
    latest = (await chain.client.get_latest_blockhash(Confirmed)).value.blockhash
    slot = (await chain.client.get_slot(Confirmed)).value
    block = await result(chain, "getBlock", slot, CONFIRMED)
    assert Hash.from_string(block["blockhash"]) == latest
