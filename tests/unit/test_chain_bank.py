"""Slots, commitments, expiry and atomicity of the ledger, without any server."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageAddressTableLookup, MessageHeader, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.ledger import LedgerRefused
from chain.ledger.accounts import CLOCK_SYSVAR, rent_exempt_lamports
from chain.ledger.archive import PRUNE_EVERY_SLOTS
from chain.ledger.bank import Block, Receipt
from chain.ledger.failures import TransactionFailure
from chain.ledger.node import Node, Place, open_node
from chain.ledger.transactions import MalformedTransaction, read_transaction
from chain.program import NEWEST_PROGRAM_ID

PROGRAM = Pubkey.from_string(NEWEST_PROGRAM_ID)
NOW = 1_762_510_000
ALICE, BOB = Keypair.from_seed(bytes([1]) * 32), Keypair.from_seed(bytes([2]) * 32)
SOL = 1_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = open_node(Place(tmp_path, PROGRAM), NOW, bytes(range(32)))
    opened.airdrop(bytes(ALICE.pubkey()), 10 * SOL)
    opened.tick(NOW)
    yield opened
    opened.close()


def pay(lamports: int, source: Keypair = ALICE, target: Keypair = BOB) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target.pubkey(), lamports=lamports))


def submit(
    node: Node, *calls: Instruction, block: Block | None = None, payer: Keypair = ALICE
) -> Receipt | TransactionFailure:
    blockhash = Hash.from_bytes((block or node.bank.tip).blockhash)
    message = Message.new_with_blockhash(list(calls), payer.pubkey(), blockhash)
    return node.submit(read_transaction(bytes(VersionedTransaction(message, [payer]))))


def lamports(node: Node, wallet: Keypair, commitment: str = "processed") -> int:
    account = node.bank.account(bytes(wallet.pubkey()), node.bank.block(commitment).slot)
    return account.lamports if account else 0


def ticks(node: Node, slots: int) -> None:
    for _ in range(slots):
        node.tick(NOW)


def test_a_transfer_is_processed_now_confirmed_next_slot_and_final_after_32(node: Node) -> None:
    submit(node, pay(SOL))
    views = ("processed", "confirmed", "finalized")
    assert [lamports(node, BOB, view) for view in views] == [SOL, 0, 0]
    ticks(node, 1)
    assert [lamports(node, BOB, view) for view in views] == [SOL, SOL, 0]
    ticks(node, 30)
    assert lamports(node, BOB, "finalized") == 0
    ticks(node, 1)
    assert lamports(node, BOB, "finalized") == SOL


def test_each_slot_keeps_its_own_view_until_it_is_final(node: Node) -> None:
    for _ in range(40):
        submit(node, pay(SOL // 100))
        ticks(node, 1)
    assert lamports(node, BOB, "processed") - lamports(node, BOB, "finalized") == 31 * (SOL // 100)


def test_a_block_hash_is_good_for_150_more_blocks_and_not_one_longer(node: Node) -> None:
    signed_at = node.bank.tip
    ticks(node, 150)
    assert isinstance(submit(node, pay(SOL), block=signed_at), Receipt)
    ticks(node, 1)
    refused = submit(node, pay(SOL + 1), block=signed_at)
    assert isinstance(refused, TransactionFailure)
    assert refused.json == "BlockhashNotFound"
    assert lamports(node, BOB) == SOL


def test_a_repeated_transaction_is_refused_for_as_long_as_its_block_hash_lives(node: Node) -> None:
    signed_at = node.bank.tip
    submit(node, pay(SOL))
    for slots in (0, 1, 149):
        ticks(node, slots)
        again = submit(node, pay(SOL), block=signed_at)
        assert isinstance(again, TransactionFailure)
        assert again.json == "AlreadyProcessed"
    ticks(node, 1)
    expired = submit(node, pay(SOL), block=signed_at)
    assert isinstance(expired, TransactionFailure)
    assert expired.json == "BlockhashNotFound"
    assert lamports(node, BOB) == SOL


def test_old_blocks_and_signatures_are_forgotten(node: Node) -> None:
    receipt = submit(node, pay(SOL))
    assert isinstance(receipt, Receipt)
    assert node.bank.landed_slot(receipt.transaction.signature) == receipt.slot
    ticks(node, 400)
    assert node.bank.landed_slot(receipt.transaction.signature) is None
    assert len(list(node.bank.recent_blocks())) == 183
    assert node.archive.transaction(receipt.transaction.signature) is not None


def test_several_instructions_happen_together_or_not_at_all(node: Node) -> None:
    before = lamports(node, ALICE)
    receipt = submit(node, pay(SOL), pay(SOL), pay(100 * SOL))
    assert isinstance(receipt, Receipt)
    assert receipt.outcome.failure is not None
    assert receipt.outcome.failure.json == {"InstructionError": [2, {"Custom": 1}]}
    assert (before - lamports(node, ALICE), lamports(node, BOB)) == (5_000, 0)


@pytest.mark.parametrize(("units", "price", "fee"), [(50_000, 1_000_000, 55_000), (1_001, 1, 5_001), (0, 9, 5_000)])
def test_a_priority_fee_is_the_whole_limit_times_its_price_rounded_up(
    node: Node, units: int, price: int, fee: int
) -> None:
    before = lamports(node, ALICE)
    submit(node, set_compute_unit_limit(units), set_compute_unit_price(price))
    assert before - lamports(node, ALICE) == fee


def test_an_account_may_not_be_left_below_its_rent(node: Node) -> None:
    receipt = submit(node, pay(rent_exempt_lamports(0) - 1))
    assert isinstance(receipt, Receipt)
    assert receipt.outcome.failure is not None
    assert receipt.outcome.failure.json == {"InsufficientFundsForRent": {"account_index": 1}}
    assert lamports(node, BOB) == 0
    assert isinstance(submit(node, pay(rent_exempt_lamports(0))), Receipt)
    assert lamports(node, BOB) == rent_exempt_lamports(0)


def test_an_emptied_account_is_gone(node: Node) -> None:
    receipt = submit(node, pay(lamports(node, ALICE) - 5_000))
    assert isinstance(receipt, Receipt) and receipt.outcome.failure is None
    ticks(node, 33)
    assert node.bank.account(bytes(ALICE.pubkey()), node.bank.tip.slot) is None


def test_a_transaction_changed_after_signing_never_lands(node: Node) -> None:
    message = Message.new_with_blockhash([pay(SOL)], ALICE.pubkey(), Hash.from_bytes(node.bank.tip.blockhash))
    forged = VersionedTransaction.populate(message, [Signature.new_unique()])
    refused = node.submit(read_transaction(bytes(forged)))
    assert isinstance(refused, TransactionFailure)
    assert refused.json == "SignatureFailure"
    assert lamports(node, BOB) == 0


@pytest.mark.parametrize("raw", [b"", b"\x01", bytes(200), b"\xff" * 1232])
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedTransaction):
        read_transaction(raw)


def test_trailing_bytes_are_refused(node: Node) -> None:
    message = Message.new_with_blockhash([pay(1)], ALICE.pubkey(), Hash.default())
    with pytest.raises(MalformedTransaction):
        read_transaction(bytes(VersionedTransaction(message, [ALICE])) + b"\0")


def test_a_lookup_table_that_does_not_exist_is_refused(node: Node) -> None:
    lookup = MessageAddressTableLookup(Pubkey.new_unique(), bytes([0]), bytes([1]))
    message = MessageV0(
        MessageHeader(1, 0, 0),
        [ALICE.pubkey()],
        Hash.from_bytes(node.bank.tip.blockhash),
        [],
        [lookup],
    )
    refused = node.submit(read_transaction(bytes(VersionedTransaction(message, [ALICE]))))
    assert isinstance(refused, TransactionFailure)
    assert refused.json == "AddressLookupTableNotFound"


def test_advancing_the_clock_moves_neither_slots_nor_height(node: Node) -> None:
    before = node.bank.tip
    node.advance_clock(259_200)
    assert node.bank.tip == Block(
        before.slot, before.height, before.parent, before.blockhash, before.parent_hash, before.unix_s + 259_200
    )
    assert node.tick(NOW + 1).unix_s == NOW + 1 + 259_200


def test_chain_time_never_runs_backwards(node: Node) -> None:
    assert node.tick(NOW + 100).unix_s == NOW + 100
    assert node.tick(NOW + 50).unix_s == NOW + 100


def test_the_clock_sysvar_shows_the_slot_that_is_read(node: Node) -> None:
    ticks(node, 1)
    node.advance_clock(60)
    shown = [node.bank.account(CLOCK_SYSVAR, node.bank.block(view).slot) for view in ("processed", "confirmed")]
    assert [int.from_bytes(account.data[:8], "little") for account in shown if account] == [
        node.bank.tip.slot,
        node.bank.tip.slot - 1,
    ]
    assert [int.from_bytes(account.data[32:], "little") for account in shown if account] == [NOW + 60, NOW]


def test_a_reopened_chain_remembers_everything_and_has_made_it_final(tmp_path: Path) -> None:
    first = open_node(Place(tmp_path, PROGRAM), NOW, bytes(range(32)))
    first.airdrop(bytes(ALICE.pubkey()), SOL)
    signed_at, genesis = first.bank.tip, first.genesis_hash
    receipt = submit(first, pay(SOL // 2))
    first.advance_clock(1_000)
    first.close()
    second = open_node(Place(tmp_path, PROGRAM), NOW, bytes(32))
    try:
        assert isinstance(receipt, Receipt)
        assert (second.genesis_hash, second.bank.transaction_count) == (genesis, first.bank.transaction_count)
        assert lamports(second, BOB, "finalized") == SOL // 2
        assert second.bank.tip.unix_s == NOW + 1_000
        assert second.bank.tip.slot == signed_at.slot + 33
        again = submit(second, pay(SOL // 2), block=signed_at)
        assert isinstance(again, TransactionFailure)
        assert again.json == "AlreadyProcessed"
    finally:
        second.close()


def test_a_data_dir_of_another_program_is_refused(tmp_path: Path) -> None:
    open_node(Place(tmp_path, PROGRAM), NOW, bytes(range(32))).close()
    with pytest.raises(LedgerRefused, match="use another data dir"):
        open_node(Place(tmp_path, Pubkey.new_unique()), NOW, bytes(32))


def test_a_first_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    cut_off = open_node(Place(tmp_path, PROGRAM), NOW, bytes(range(32)))
    cut_off.archive._db.execute("DELETE FROM blocks")
    cut_off.close()
    again = open_node(Place(tmp_path, PROGRAM), NOW, bytes([7]) * 32)
    assert (again.genesis_hash, again.bank.transaction_count) == (bytes([7]) * 32, 1)
    again.close()


def test_what_the_file_does_not_take_does_not_happen(node: Node) -> None:
    before, count = lamports(node, ALICE), node.bank.transaction_count
    node.archive._db.execute(
        "CREATE TRIGGER full BEFORE INSERT ON mentions BEGIN SELECT raise(ABORT, 'disk full'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        submit(node, pay(SOL))
    assert (lamports(node, ALICE), node.bank.transaction_count) == (before, count)
    node.archive._db.execute("DROP TRIGGER full")
    assert isinstance(submit(node, pay(SOL)), Receipt)
    assert lamports(node, BOB) == SOL


def test_a_second_ledger_on_the_same_data_dir_is_refused(tmp_path: Path) -> None:
    first = open_node(Place(tmp_path, PROGRAM), NOW, bytes(range(32)))
    with pytest.raises(LedgerRefused, match="another ledger runs"):
        open_node(Place(tmp_path, PROGRAM), NOW, bytes(32))
    first.close()


def test_old_empty_blocks_leave_the_file_and_blocks_with_transactions_stay(node: Node) -> None:
    receipt = submit(node, pay(SOL))
    assert isinstance(receipt, Receipt)
    empty = 5  # one of the slots of the first start
    ticks(node, 1)
    assert node.archive.block(empty) is not None
    node.archive.open_block(replace(node.bank.tip, slot=PRUNE_EVERY_SLOTS * 20), is_durable=False)
    assert node.archive.block(empty) is None
    assert node.archive.block(receipt.slot) is not None
    assert [landed.signature for landed in node.archive.in_block(receipt.slot)] == [receipt.transaction.signature]
