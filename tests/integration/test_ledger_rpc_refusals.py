"""What a node refuses: for each bad send the real error, and a chain on which nothing has changed."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.program import PROPOSAL_VOTE, instruction_data
from domain.ids import Wallet
from tests.support.ledger import Chain, market_id
from tests.support.rpc_calls import error, paying, post, result, to_base64

PREFLIGHT = {"encoding": "base64", "preflightCommitment": "processed"}
AT_ONCE = {"encoding": "base64", "skipPreflight": True}


def digest(chain: Chain) -> str:
    """Every account of the chain, and how much history it has."""
    bank = chain.ledger.node.bank
    state = hashlib.sha256()
    for key in sorted(bank.addresses()):
        account = bank.account(key, bank.tip.slot)
        state.update(repr((key, account)).encode())
    state.update(repr((bank.transaction_count, bank.tip)).encode())
    return state.hexdigest()


def vote(chain: Chain, voter: Keypair, record: Pubkey | None = None) -> Instruction:
    """A like for market 1."""
    market = chain.program.market_address(market_id())[0]
    own = chain.program.vote_address(market, Wallet(str(voter.pubkey())), PROPOSAL_VOTE)[0]
    accounts = [
        AccountMeta(market, is_signer=False, is_writable=False),
        AccountMeta(record or own, is_signer=False, is_writable=True),
        AccountMeta(voter.pubkey(), is_signer=True, is_writable=True),
        AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
    ]
    return Instruction(chain.program.program_id, instruction_data("submit_proposal_vote", {"vote": True}), accounts)


async def no_base64(_chain: Chain) -> str:
    return "%%%"


async def no_transaction(_chain: Chain) -> str:
    return base64.b64encode(b"\1" + bytes(63)).decode()


async def trailing_bytes(chain: Chain) -> str:
    return base64.b64encode(bytes(await paying(chain)) + b"\0").decode()


async def longer_than_a_packet(_chain: Chain) -> str:
    return base64.b64encode(bytes(1_233)).decode()


async def foreign_signature(chain: Chain) -> str:
    paid = await paying(chain)
    signature = Keypair().sign_message(b"something else")
    return to_base64(VersionedTransaction.populate(paid.message, [signature]))


async def missing_signature(chain: Chain) -> str:
    paid = await paying(chain)
    return to_base64(VersionedTransaction.populate(paid.message, [Signature.default()]))


async def changed_after_signing(chain: Chain) -> str:
    raw = bytearray(bytes(await paying(chain, 1_000)))
    raw[raw.rindex((1_000).to_bytes(8, "little"))] ^= 0x01
    return base64.b64encode(bytes(raw)).decode()


async def unknown_blockhash(chain: Chain) -> str:
    return await over(chain, Hash.new_unique())


async def expired_blockhash(chain: Chain) -> str:
    oldest = next(iter(chain.ledger.node.bank.recent_blocks()))
    assert not chain.ledger.node.bank.is_blockhash_valid(oldest.blockhash, chain.ledger.node.bank.tip)
    return await over(chain, Hash.from_bytes(oldest.blockhash))


async def over(chain: Chain, blockhash: Hash) -> str:
    admin = chain.keys.admin.pair
    pay = transfer(TransferParams(from_pubkey=admin.pubkey(), to_pubkey=Pubkey.new_unique(), lamports=1_000_000))
    return to_base64(VersionedTransaction(Message.new_with_blockhash([pay], admin.pubkey(), blockhash), [admin]))


async def repeated(chain: Chain) -> str:
    [newest, *_] = await result(
        chain, "getSignaturesForAddress", str(chain.keys.admin.pair.pubkey()), {"commitment": "confirmed"}
    )
    config = {"commitment": "confirmed", "encoding": "base64"}
    raw: str = (await result(chain, "getTransaction", newest["signature"], config))["transaction"][0]
    return raw


async def penniless_payer(chain: Chain) -> str:
    return to_base64(await paying(chain, 1, Keypair()))


async def more_than_there_is(chain: Chain) -> str:
    return to_base64(await paying(chain, 2**62))


async def program_that_is_none(chain: Chain) -> str:
    admin = chain.keys.admin.pair
    return to_base64(await chain.signed([Instruction(Pubkey.new_unique(), b"", [])], admin))


async def unknown_instruction(chain: Chain) -> str:
    admin = chain.keys.admin.pair
    return to_base64(await chain.signed([Instruction(chain.program.program_id, bytes(8), [])], admin))


async def second_vote(chain: Chain) -> str:
    voter = chain.keys.fee_wallet.pair
    return to_base64(await chain.signed([vote(chain, voter)], voter))


async def vote_into_anothers_record(chain: Chain) -> str:
    market = chain.program.market_address(market_id())[0]
    other = chain.program.vote_address(market, chain.keys.admin.wallet, PROPOSAL_VOTE)[0]
    voter = chain.keys.backend.pair
    return to_base64(await chain.signed([vote(chain, voter, other)], voter))


async def market_of_a_foreign_owner(chain: Chain) -> str:
    backend = chain.keys.backend
    call = chain.program.aggregate_proposal_votes(backend.wallet, market_id(), 1, 0)
    accounts = [AccountMeta(chain.keys.admin.pair.pubkey(), is_signer=False, is_writable=True), *call.accounts[1:]]
    return to_base64(await chain.signed([Instruction(call.program_id, call.data, accounts)], backend.pair))


async def tally_by_somebody_else(chain: Chain) -> str:
    admin = chain.keys.admin
    call = chain.program.aggregate_proposal_votes(admin.wallet, market_id(), 1, 0)
    return to_base64(await chain.signed([call], admin.pair))


async def second_market_of_an_id(chain: Chain) -> str:
    admin = chain.keys.admin
    call = chain.program.create_market(admin.wallet, market_id(), 10**11, 10**8, b"Qm other")
    return to_base64(await chain.signed([call], admin.pair))


async def good_then_bad(chain: Chain) -> str:
    admin = chain.keys.admin
    pay = transfer(TransferParams(from_pubkey=admin.pair.pubkey(), to_pubkey=Pubkey.new_unique(), lamports=10**9))
    return to_base64(await chain.signed([pay, chain.program.approve_proposal(admin.wallet, market_id())], admin.pair))


@dataclass(frozen=True)
class Refusal:
    """`err` is what a preflight's data says, None where the transaction was never simulated."""

    send: Callable[[Chain], Awaitable[str]]
    code: int
    words: str
    err: Any = None


def custom(number: int, index: int = 0) -> dict[str, Any]:
    return {"InstructionError": [index, {"Custom": number}]}


REFUSALS = [
    Refusal(no_base64, -32602, "invalid base64 encoding"),
    Refusal(no_transaction, -32602, "failed to deserialize"),
    Refusal(trailing_bytes, -32602, "failed to deserialize"),
    Refusal(longer_than_a_packet, -32602, "too large: 1233 bytes (max: 1232 bytes)"),
    Refusal(foreign_signature, -32003, "Transaction signature verification failure"),
    Refusal(missing_signature, -32003, "Transaction signature verification failure"),
    Refusal(changed_after_signing, -32003, "Transaction signature verification failure"),
    Refusal(unknown_blockhash, -32002, "Blockhash not found", "BlockhashNotFound"),
    Refusal(expired_blockhash, -32002, "Blockhash not found", "BlockhashNotFound"),
    Refusal(repeated, -32002, "This transaction has already been processed", "AlreadyProcessed"),
    Refusal(penniless_payer, -32002, "Attempt to debit an account", "AccountNotFound"),
    Refusal(more_than_there_is, -32002, "custom program error: 0x1", custom(1)),
    Refusal(program_that_is_none, -32002, "Attempt to load a program that does not exist", "ProgramAccountNotFound"),
    Refusal(unknown_instruction, -32002, "custom program error: 0x65", custom(101)),
    Refusal(second_vote, -32002, "custom program error: 0x0", custom(0)),
    Refusal(vote_into_anothers_record, -32002, "custom program error: 0x7d6", custom(2006)),
    Refusal(market_of_a_foreign_owner, -32002, "custom program error: 0xbbf", custom(3007)),
    Refusal(tally_by_somebody_else, -32002, "custom program error: 0x178d", custom(6029)),
    Refusal(second_market_of_an_id, -32002, "custom program error: 0x0", custom(0)),
    Refusal(good_then_bad, -32002, "Error processing Instruction 1: custom program error: 0x1788", custom(6024, 1)),
]


@pytest.fixture
async def voted(chain: Chain) -> Chain:
    """A chain that is 200 slots old, with market 1 and one vote on it."""
    chain.ledger.tick(200)
    await chain.create_market()
    voter = chain.keys.fee_wallet.pair
    await chain.land(vote(chain, voter), voter)
    await chain.land(transfer_to_self(chain), chain.keys.admin.pair)
    return chain


def transfer_to_self(chain: Chain) -> Instruction:
    admin = chain.keys.admin.pair.pubkey()
    return transfer(TransferParams(from_pubkey=admin, to_pubkey=admin, lamports=1))


async def test_every_refusal_has_a_nodes_error_and_changes_nothing(voted: Chain) -> None:
    for refusal in REFUSALS:
        sent, before = await refusal.send(voted), digest(voted)
        refused = await error(voted, "sendTransaction", sent, PREFLIGHT)
        name = refusal.send.__name__
        assert (name, refused["code"]) == (name, refusal.code), refused
        assert refusal.words in refused["message"], (name, refused)
        assert (refused.get("data") or {}).get("err") == refusal.err, name
        assert digest(voted) == before, name


async def test_without_preflight_what_cannot_enter_a_block_changes_nothing_either(voted: Chain) -> None:
    for refusal in REFUSALS:
        if refusal.code == -32602 or isinstance(refusal.err, dict):
            continue  # the first is refused in any case, the second enters a block and pays its fee: next test
        sent, before = await refusal.send(voted), digest(voted)
        await result(voted, "sendTransaction", sent, AT_ONCE)
        assert digest(voted) == before, refusal.send.__name__


async def test_without_preflight_a_failing_instruction_costs_its_fee_and_nothing_else(voted: Chain) -> None:
    bank = voted.ledger.node.bank
    for refusal in REFUSALS:
        if not isinstance(refusal.err, dict):
            continue
        before = {key: bank.account(key, bank.tip.slot) for key in bank.addresses()}
        signature = await result(voted, "sendTransaction", await refusal.send(voted), AT_ONCE)
        after = {key: bank.account(key, bank.tip.slot) for key in bank.addresses()}
        changed = [(b.lamports - a.lamports) for key, a in after.items() if (b := before.get(key)) and a and b != a]
        assert (refusal.send.__name__, changed) == (refusal.send.__name__, [5_000])
        assert after.keys() == before.keys()
        voted.ledger.tick()
        landed = await result(voted, "getTransaction", signature, {"commitment": "confirmed"})
        assert landed["meta"]["err"] == refusal.err


async def test_bodies_that_are_no_requests_change_nothing(voted: Chain) -> None:
    before = digest(voted)
    send = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction"}
    seen = []
    for body in (
        b"",
        b"\x00\xff",
        b"[" * 10_000,
        json.dumps([send] * 3)[:-1].encode(),
        json.dumps({**send, "params": "text"}).encode(),
        json.dumps(send).encode(),
        json.dumps({**send, "params": [None]}).encode(),
        json.dumps({**send, "params": [["AAAA"], 5]}).encode(),
        json.dumps({**send, "params": ["AAAA", {"encoding": 5}]}).encode(),
        b'{"jsonrpc": "2.0", "id": NaN, "method": "getSlot"}',
    ):
        answer = await post(voted, body)
        seen.append((answer.status_code, answer.json()["error"]["code"]))
    assert seen == [(200, -32700)] * 4 + [(200, -32600)] + [(200, -32602)] * 4 + [(200, -32700)]
    big = json.dumps({**send, "params": ["A" * 60_000]}).encode()
    assert (await post(voted, big)).status_code == 413
    assert (await post(voted, b" " * 5_000_000)).status_code == 413
    assert (await post(voted, json.dumps(send), content_type="text/xml")).status_code == 415
    assert digest(voted) == before
