"""The ledger's JSON-RPC: the answers and errors a real node gives, over real HTTP."""

import base64
import json
from typing import Any

import httpx
import pytest
from solana.rpc.commitment import Confirmed, Finalized, Processed
from solana.rpc.core import RPCException
from solana.rpc.types import MemcmpOpts, TxOpts
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.rpc.errors import InvalidRequestMessage, SendTransactionPreflightFailureMessage
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.sysvar import CLOCK
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus

from tests.support.ledger import START_UNIX_S, Chain, market_id


async def post(chain: Chain, body: str | bytes, content_type: str = "application/json") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(chain.ledger.rpc_url, content=body, headers={"Content-Type": content_type})


async def call(chain: Chain, method: str, *params: Any) -> dict[str, Any]:
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
    answer: dict[str, Any] = (await post(chain, body)).json()
    return answer


async def error_of(chain: Chain, method: str, *params: Any) -> tuple[int, str]:
    error = (await call(chain, method, *params))["error"]
    return error["code"], error["message"]


def to_base64(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


async def paying(chain: Chain, lamports: int = 1_000_000) -> VersionedTransaction:
    admin = chain.keys.admin.pair
    target = chain.keys.backend.pair.pubkey()
    pay = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=target, lamports=lamports))
    return await chain.signed([pay], admin)


async def test_requests_that_are_not_json_rpc_are_refused_with_the_right_code(chain: Chain) -> None:
    answers = {
        "{": -32700,
        "\xff": -32700,
        "[]": -32600,
        "{}": -32600,
        '"text"': -32600,
        '{"jsonrpc": "1.0", "id": 1, "method": "getSlot"}': -32600,
        '{"jsonrpc": "2.0", "id": {}, "method": "getSlot"}': -32600,
        '{"jsonrpc": "2.0", "id": 1, "method": 5}': -32600,
        '{"jsonrpc": "2.0", "id": 1, "method": "getSlot", "params": {}}': -32600,
        '{"jsonrpc": "2.0", "id": 1, "method": "mineBitcoin"}': -32601,
        '{"jsonrpc": "2.0", "id": 1, "method": "getBalance"}': -32602,
        "[" * 5000: -32700,
    }
    seen = {body: (await post(chain, body)).json()["error"]["code"] for body in answers}
    assert seen == answers


async def test_other_content_types_and_oversized_bodies_are_refused_by_http(chain: Chain) -> None:
    assert (await post(chain, "{}", content_type="text/plain")).status_code == 415
    assert (await post(chain, b" " * (50 * 1024 + 1))).status_code == 413
    async with httpx.AsyncClient() as client:
        assert (await client.get(chain.ledger.rpc_url)).status_code == 405
        assert (await client.get(chain.ledger.rpc_url + "/health")).text == "ok"


async def test_a_batch_is_answered_in_order_and_notifications_are_not_answered(chain: Chain) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "getHealth"},
        {"jsonrpc": "2.0", "method": "getSlot"},
        {"jsonrpc": "2.0", "id": 2, "method": "nothing"},
        5,
    ]
    answers = (await post(chain, json.dumps(batch))).json()
    assert [(answer["id"], answer.get("result"), answer.get("error", {}).get("code")) for answer in answers] == [
        (1, "ok", None),
        (2, None, -32601),
        (None, None, -32600),
    ]
    assert (await post(chain, json.dumps(batch[1]))).content == b""


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getBalance", ["0"]),
        ("getBalance", ["1" * 31]),
        ("getBalance", [5]),
        ("getBalance", [str(CLOCK), {"commitment": "yesterday"}]),
        ("getBalance", [str(CLOCK), 5]),
        ("getAccountInfo", [str(CLOCK), {"encoding": "base64+zstd"}]),
        ("getAccountInfo", [str(CLOCK), {"encoding": "morse"}]),
        ("getAccountInfo", [str(CLOCK), {"encoding": "base64", "dataSlice": {"offset": -1, "length": 5}}]),
        ("getMultipleAccounts", [[str(CLOCK)] * 101]),
        ("getMultipleAccounts", ["text"]),
        ("getProgramAccounts", [str(CLOCK), {"filters": [{"memcmp": {"offset": 0, "bytes": "0OIl"}}]}]),
        ("getProgramAccounts", [str(CLOCK), {"filters": [{"color": "red"}]}]),
        ("getProgramAccounts", [str(CLOCK), {"filters": [{"dataSize": 1}] * 5}]),
        ("getMinimumBalanceForRentExemption", [-1]),
        ("getMinimumBalanceForRentExemption", [True]),
        ("getMinimumBalanceForRentExemption", [2**40]),
        ("getSignatureStatuses", [["1" * 64] * 257]),
        ("getSignatureStatuses", [["abc"]]),
        ("getSignaturesForAddress", [str(CLOCK), {"limit": 1001}]),
        ("getSignaturesForAddress", [str(CLOCK), {"limit": 0}]),
        ("getSignaturesForAddress", [str(CLOCK), {"commitment": "processed"}]),
        ("getTransaction", ["1" * 64, {"commitment": "processed"}]),
        ("getTransaction", ["1" * 64, {"encoding": "morse"}]),
        ("sendTransaction", ["!!!", {"encoding": "base64"}]),
        ("sendTransaction", ["AAAA", {"encoding": "base64"}]),
        ("sendTransaction", ["AAAA", {"encoding": "hex"}]),
        ("sendTransaction", [base64.b64encode(bytes(1233)).decode(), {"encoding": "base64"}]),
        ("simulateTransaction", ["0OIl"]),
        ("getFeeForMessage", ["AAAA"]),
        ("isBlockhashValid", ["short"]),
        ("requestAirdrop", [str(CLOCK)]),
        ("zmart_advanceClock", []),
        ("zmart_advanceClock", [-5]),
        ("zmart_advanceClock", ["5"]),
        ("zmart_advanceClock", [315_360_001]),
        ("getBlockTime", ["5"]),
    ],
)
async def test_bad_parameters_are_invalid_params(chain: Chain, method: str, params: list[Any]) -> None:
    before = chain.ledger.node.bank.tip
    assert (await error_of(chain, method, *params))[0] == -32602
    assert chain.ledger.node.bank.tip == before


async def test_long_account_data_is_not_given_in_base58(chain: Chain) -> None:
    market = chain.program.market_address(await chain.create_market())[0]
    with pytest.raises(RPCException) as refused:
        await chain.client.get_account_info(market, Confirmed, "base58")
    assert isinstance(refused.value.args[0], InvalidRequestMessage)
    sliced = await call(
        chain,
        "getAccountInfo",
        str(market),
        {"encoding": "base58", "dataSlice": {"offset": 8, "length": 32}, "commitment": "confirmed"},
    )
    assert sliced["result"]["value"]["data"] == [market_id(), "base58"]
    assert sliced["result"]["value"]["space"] == 488


async def test_a_forged_signature_is_refused_and_without_preflight_never_lands(chain: Chain) -> None:
    honest = await paying(chain)
    forged = VersionedTransaction.populate(honest.message, [Signature.new_unique()])
    assert await error_of(chain, "sendTransaction", to_base64(forged), {"encoding": "base64"}) == (
        -32003,
        "Transaction signature verification failure",
    )
    before = await chain.lamports(chain.keys.backend.pair)
    signature = await chain.send(forged, preflight=False)
    chain.ledger.tick()
    assert signature == forged.signatures[0]
    assert (await chain.status(signature)).value == [None]
    assert await chain.lamports(chain.keys.backend.pair) == before


async def test_a_missing_second_signature_is_refused(chain: Chain) -> None:
    market, backend, admin = await chain.create_market(), chain.keys.backend, chain.keys.admin
    call_ = chain.program.aggregate_proposal_votes(backend.wallet, market, 1, 0)
    full = await chain.signed([call_], admin.pair, backend.pair)
    half = VersionedTransaction.populate(full.message, [full.signatures[0], Signature.default()])
    assert (await error_of(chain, "sendTransaction", to_base64(half), {"encoding": "base64"}))[0] == -32003


async def test_an_unknown_block_hash_is_a_preflight_failure(chain: Chain) -> None:
    admin = chain.keys.admin.pair
    pay = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=CLOCK, lamports=1))
    stale = VersionedTransaction(Message.new_with_blockhash([pay], admin.pubkey(), Hash.new_unique()), [admin])
    with pytest.raises(RPCException) as refused:
        await chain.send(stale)
    answer = refused.value.args[0]
    assert isinstance(answer, SendTransactionPreflightFailureMessage)
    assert (answer.message, str(answer.data.err)) == (
        "Transaction simulation failed: Blockhash not found",
        "TransactionErrorFieldless.BlockhashNotFound",
    )
    error = (await call(chain, "sendTransaction", to_base64(stale), {"encoding": "base64"}))["error"]
    assert (error["code"], error["data"]["err"], error["data"]["logs"]) == (-32002, "BlockhashNotFound", [])


async def test_preflight_at_an_older_commitment_does_not_know_a_fresh_block_hash(chain: Chain) -> None:
    transaction = await paying(chain)
    with pytest.raises(RPCException, match="Blockhash not found"):
        await chain.client.send_transaction(transaction, TxOpts(preflight_commitment=Finalized))
    await chain.client.send_transaction(transaction, TxOpts(preflight_commitment=Confirmed))


async def test_a_repeated_transaction_has_already_been_processed(chain: Chain) -> None:
    transaction, before = await paying(chain), await chain.lamports(chain.keys.backend.pair)
    first = await chain.send(transaction)
    with pytest.raises(RPCException, match="already been processed") as refused:
        await chain.send(transaction)
    assert str(refused.value.args[0].data.err) == "TransactionErrorFieldless.AlreadyProcessed"
    assert await chain.send(transaction, preflight=False) == first
    chain.ledger.tick()
    assert await chain.lamports(chain.keys.backend.pair) - before == 1_000_000


async def test_an_expired_block_hash_is_not_valid(chain: Chain) -> None:
    latest = (await chain.client.get_latest_blockhash(Confirmed)).value
    transaction = await paying(chain)
    chain.ledger.tick(latest.last_valid_block_height - chain.ledger.node.bank.tip.height)
    assert (await call(chain, "isBlockhashValid", str(latest.blockhash), {"commitment": "processed"}))["result"][
        "value"
    ]
    chain.ledger.tick()
    valid = await call(chain, "isBlockhashValid", str(latest.blockhash), {"commitment": "processed"})
    assert valid["result"]["value"] is False
    with pytest.raises(RPCException, match="Blockhash not found"):
        await chain.send(transaction)


async def test_statuses_go_from_processed_over_confirmed_to_finalized(chain: Chain) -> None:
    signature = await chain.send(await paying(chain))
    seen = []
    for slots in (0, 1, 31):
        chain.ledger.tick(slots)
        status = (await chain.client.get_signature_statuses([signature])).value[0]
        assert status is not None
        seen.append((status.confirmation_status, status.confirmations))
    assert seen == [
        (TransactionConfirmationStatus.Processed, 0),
        (TransactionConfirmationStatus.Confirmed, 1),
        (TransactionConfirmationStatus.Finalized, None),
    ]


async def test_old_statuses_need_a_search_of_the_history(chain: Chain) -> None:
    signature = await chain.send(await paying(chain))
    chain.ledger.tick(400)
    assert (await chain.client.get_signature_statuses([signature])).value == [None]
    assert (await chain.status(signature)).value[0] is not None


async def test_a_read_at_confirmed_does_not_see_an_unconfirmed_slot(chain: Chain) -> None:
    key = chain.keys.backend.pair.pubkey()
    before = (await chain.client.get_balance(key, Processed)).value
    signature = await chain.send(await paying(chain))
    views = [(await chain.client.get_balance(key, level)).value for level in (Processed, Confirmed, Finalized)]
    assert views == [before + 1_000_000, before, before]
    assert (await chain.client.get_transaction(signature, commitment=Confirmed)).value is None
    chain.ledger.tick()
    assert (await chain.client.get_transaction(signature, commitment=Confirmed)).value is not None


async def test_a_read_may_insist_on_a_slot(chain: Chain) -> None:
    tip = chain.ledger.node.bank.tip.slot
    config = {"commitment": "confirmed", "minContextSlot": tip}
    error = (await call(chain, "getBalance", str(CLOCK), config))["error"]
    assert (error["code"], error["data"]) == (-32016, {"contextSlot": tip - 1})
    chain.ledger.tick()
    assert "result" in await call(chain, "getBalance", str(CLOCK), config)


async def test_versioned_transactions_land_and_must_be_asked_for(chain: Chain) -> None:
    admin = chain.keys.admin.pair
    pay = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=chain.keys.backend.pair.pubkey(), lamports=5))
    blockhash = (await chain.client.get_latest_blockhash(Confirmed)).value.blockhash
    versioned = VersionedTransaction(MessageV0.try_compile(admin.pubkey(), [pay], [], blockhash), [admin])
    signature = await chain.send(versioned)
    chain.ledger.tick()
    assert (await error_of(chain, "getTransaction", str(signature), {"commitment": "confirmed"}))[0] == -32015
    for encoding in ("json", "jsonParsed", "base64", "base58"):
        answer = await chain.client.get_transaction(signature, encoding, Confirmed, max_supported_transaction_version=0)
        assert answer.value is not None
        assert answer.value.transaction.version == 0
    raw = await chain.client.get_transaction(signature, "base64", Confirmed, max_supported_transaction_version=0)
    assert raw.value is not None
    assert raw.value.transaction.transaction == versioned


async def test_signatures_of_an_address_come_newest_first_and_page(chain: Chain) -> None:
    sent = []
    for lamports in range(1, 6):
        sent.append(await chain.send(await paying(chain, lamports)))
        if lamports % 2 == 0:
            chain.ledger.tick()
    chain.ledger.tick()
    key = chain.keys.backend.pair.pubkey()

    async def page(**options: Any) -> list[Signature]:
        found = (await chain.client.get_signatures_for_address(key, commitment=Confirmed, **options)).value
        return [item.signature for item in found]

    newest_first = sent[::-1]
    assert await page(limit=5) == newest_first
    assert await page(limit=2) == newest_first[:2]
    assert await page(before=newest_first[1], limit=2) == newest_first[2:4]
    assert await page(until=newest_first[3]) == newest_first[:3]
    assert await page(before=newest_first[0], until=newest_first[3]) == newest_first[1:3]


async def test_signatures_of_unconfirmed_slots_are_not_listed(chain: Chain) -> None:
    signature = await chain.send(await paying(chain))
    key = chain.keys.backend.pair.pubkey()
    listed = (await chain.client.get_signatures_for_address(key, commitment=Confirmed)).value
    assert signature not in [item.signature for item in listed]


async def test_program_accounts_are_filtered_and_sliced(chain: Chain) -> None:
    for number in (1, 2):
        await chain.create_market(number)
    program = chain.program.program_id

    async def found(*filters: int | MemcmpOpts) -> set[Pubkey]:
        answer = await chain.client.get_program_accounts(program, Confirmed, "base64", filters=filters)
        return {item.pubkey for item in answer.value}

    markets = {chain.program.market_address(market_id(number))[0] for number in (1, 2)}
    assert await found(488) == markets
    assert await found(206) == {chain.program.config_address()[0]}
    second = MemcmpOpts(offset=8, bytes=market_id(2))
    assert await found(488, second) == {chain.program.market_address(market_id(2))[0]}
    assert await found(206, second) == set()
    sliced = await call(
        chain,
        "getProgramAccounts",
        str(program),
        {"encoding": "base64", "commitment": "confirmed", "dataSlice": {"offset": 0, "length": 0}, "withContext": True},
    )
    assert {item["account"]["data"][0] for item in sliced["result"]["value"]} == {""}


async def test_simulation_shows_everything_and_changes_nothing(chain: Chain) -> None:
    market, backend = await chain.create_market(), chain.keys.backend
    address = chain.program.market_address(market)[0]
    transaction = await chain.signed(
        [chain.program.aggregate_proposal_votes(backend.wallet, market, 7, 3)], backend.pair
    )
    before = await chain.data(market)
    config = {
        "encoding": "base64",
        "commitment": "confirmed",
        "accounts": {"addresses": [str(address)], "encoding": "base64"},
        "innerInstructions": True,
        "sigVerify": True,
    }
    value = (await call(chain, "simulateTransaction", to_base64(transaction), config))["result"]["value"]
    assert (value["err"], value["innerInstructions"]) == (None, [])
    assert value["unitsConsumed"] > 0
    after = base64.b64decode(value["accounts"][0]["data"][0])
    assert chain.program.market(market, after, 0).proposal_likes == 7
    assert await chain.data(market) == before


async def test_simulation_may_replace_a_stale_block_hash_but_not_verify_then(chain: Chain) -> None:
    admin = chain.keys.admin.pair
    pay = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=admin.pubkey(), lamports=1))
    stale = VersionedTransaction(Message.new_with_blockhash([pay], admin.pubkey(), Hash.default()), [admin])
    config = {"encoding": "base64", "replaceRecentBlockhash": True}
    value = (await call(chain, "simulateTransaction", to_base64(stale), config))["result"]["value"]
    assert value["err"] is None
    assert set(value["replacementBlockhash"]) == {"blockhash", "lastValidBlockHeight"}
    both = await error_of(chain, "simulateTransaction", to_base64(stale), {**config, "sigVerify": True})
    assert both[0] == -32602


async def test_fees_are_quoted_for_live_block_hashes_only(chain: Chain) -> None:
    transaction = await paying(chain)
    assert (await chain.client.get_fee_for_message(transaction.message, Confirmed)).value == 5_000
    stale = Message.new_with_blockhash([], chain.keys.admin.pair.pubkey(), Hash.default())
    assert (await chain.client.get_fee_for_message(stale, Confirmed)).value is None
    fees = (await call(chain, "getRecentPrioritizationFees", [str(CLOCK)]))["result"]
    assert fees[-1] == {"slot": chain.ledger.node.bank.tip.slot, "prioritizationFee": 0}


async def test_airdrops_are_real_and_equal_ones_do_not_collide(chain: Chain) -> None:
    target = Pubkey.new_unique()
    first = await chain.client.request_airdrop(target, 1_000_000)
    second = await chain.client.request_airdrop(target, 1_000_000)
    chain.ledger.tick()
    assert first.value != second.value
    assert (await chain.client.get_balance(target)).value == 2_000_000
    assert (await chain.client.get_transaction(first.value, commitment=Confirmed)).value is not None


async def test_the_clock_is_read_and_moved_over_rpc(chain: Chain) -> None:
    before = (await call(chain, "zmart_getClock"))["result"]
    assert before == {"slot": chain.ledger.node.bank.tip.slot, "unixTimestamp": START_UNIX_S}
    height = (await chain.client.get_block_height(Processed)).value
    moved = (await call(chain, "zmart_advanceClock", 259_200))["result"]
    assert moved == {"slot": before["slot"], "unixTimestamp": START_UNIX_S + 259_200}
    assert (await chain.client.get_block_height(Processed)).value == height
    chain.ledger.tick()
    sysvar = (await chain.client.get_account_info(CLOCK, Confirmed, "base64")).value
    assert sysvar is not None
    assert int.from_bytes(sysvar.data[32:40], "little") == START_UNIX_S + 259_200
    assert (await call(chain, "zmart_getClock", {"commitment": "confirmed"}))["result"][
        "unixTimestamp"
    ] == START_UNIX_S + 259_200


async def test_the_small_questions_have_answers_that_agree(chain: Chain) -> None:
    client = chain.client
    assert await client.is_connected()
    slot, height = (await client.get_slot(Confirmed)).value, (await client.get_block_height(Confirmed)).value
    epoch = (await client.get_epoch_info(Confirmed)).value
    assert (epoch.absolute_slot, epoch.block_height, epoch.epoch) == (slot, height, 0)
    assert (await client.get_minimum_balance_for_rent_exemption(488)).value == 4_287_360
    assert (await client.get_block_time(slot)).value == START_UNIX_S
    assert (await client.get_genesis_hash()).value == (await client.get_genesis_hash()).value
    assert "zmart-ledger" in (await client.get_version()).value.solana_core
    assert (await error_of(chain, "getBlockTime", 10**9))[0] == -32004
    found = (await client.get_multiple_accounts([CLOCK, Pubkey.new_unique(), chain.program.program_id])).value
    assert [account is not None and account.executable for account in found] == [False, False, True]
