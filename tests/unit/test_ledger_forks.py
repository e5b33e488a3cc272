"""A slot that loses, and a reader that lags, on the chain itself: no server, slots by hand."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.ledger.bank import Receipt
from chain.ledger.failures import TransactionFailure
from chain.ledger.faults import DROP_SLOT, LAG, Fault
from chain.ledger.node import Node, Place, open_node
from chain.ledger.transactions import read_transaction
from chain.program import NEWEST_PROGRAM_ID

PLACE_ID = Pubkey.from_string(NEWEST_PROGRAM_ID)
NOW = 1_762_510_000
ALICE, BOB, CAROL = (Keypair.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
SOL = 1_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = open_node(Place(tmp_path, PLACE_ID), NOW, bytes(range(32)))
    opened.airdrop(bytes(ALICE.pubkey()), 10 * SOL)
    ticks(opened, 40)
    yield opened
    opened.close()


def ticks(node: Node, slots: int) -> None:
    for _ in range(slots):
        node.tick(NOW)


def pay(lamports: int, source: Keypair, target: Keypair) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target.pubkey(), lamports=lamports))


def submit(node: Node, call: Instruction, payer: Keypair, blockhash: bytes | None = None) -> Receipt:
    message = Message.new_with_blockhash(
        [call], payer.pubkey(), Hash.from_bytes(blockhash or node.bank.block("finalized").blockhash)
    )
    receipt = node.submit(read_transaction(bytes(VersionedTransaction(message, [payer]))))
    assert isinstance(receipt, Receipt), receipt
    return receipt


def lamports(node: Node, wallet: Keypair, commitment: str = "processed") -> int:
    account = node.bank.account(bytes(wallet.pubkey()), node.bank.block(commitment).slot)
    return account.lamports if account else 0


def drop(node: Node, **options: int) -> None:
    node.set_fault(Fault(DROP_SLOT, **{"count": 1, **options}))
    node.tick(NOW)


def test_a_dropped_slot_never_happened(node: Node) -> None:
    before, count = lamports(node, ALICE), node.bank.transaction_count
    receipt = submit(node, pay(SOL, ALICE, BOB), ALICE)
    ticks(node, 1)
    assert lamports(node, BOB, "confirmed") == SOL
    drop(node)
    assert [lamports(node, BOB, view) for view in ("processed", "confirmed", "finalized")] == [0, 0, 0]
    assert (lamports(node, ALICE), node.bank.transaction_count) == (before, count)
    assert node.bank.landed_slot(receipt.transaction.signature) is None
    assert node.archive.transaction(receipt.transaction.signature) is None
    assert node.archive.block(receipt.slot) is None


def test_the_same_bytes_may_land_again_after_their_slot_was_dropped(node: Node) -> None:
    receipt = submit(node, pay(SOL, ALICE, BOB), ALICE)
    ticks(node, 1)
    drop(node)
    assert isinstance(node.submit(receipt.transaction), Receipt)
    ticks(node, 40)
    assert lamports(node, BOB, "finalized") == SOL


def test_what_came_later_runs_again_without_what_was_dropped(node: Node) -> None:
    submit(node, pay(2 * SOL, ALICE, BOB), ALICE)
    ticks(node, 1)
    needs_it = submit(node, pay(SOL, BOB, CAROL), BOB)
    ticks(node, 1)
    independent = submit(node, pay(3 * SOL, ALICE, CAROL), ALICE)
    first = needs_it.slot - 1
    drop(node, slot=first)
    assert (lamports(node, BOB), lamports(node, CAROL)) == (0, 3 * SOL)
    assert node.bank.landed_slot(needs_it.transaction.signature) is None
    assert node.bank.landed_slot(independent.transaction.signature) == independent.slot
    kept = node.archive.transaction(independent.transaction.signature)
    assert kept is not None
    assert (kept.slot, kept.position) == (independent.slot, 0)


def test_a_transaction_signed_over_the_dropped_block_is_gone_with_it(node: Node) -> None:
    submit(node, pay(SOL, ALICE, BOB), ALICE)
    blockhash = node.bank.tip.blockhash
    dropped = node.bank.tip.slot
    ticks(node, 1)
    later = submit(node, pay(SOL, ALICE, CAROL), ALICE, blockhash)
    drop(node, slot=dropped)
    assert node.bank.landed_slot(later.transaction.signature) is None
    refused = node.submit(later.transaction)
    assert isinstance(refused, TransactionFailure)
    assert refused.json == "BlockhashNotFound"


def test_heights_have_no_gap_where_a_slot_was_dropped(node: Node) -> None:
    receipt = submit(node, pay(SOL, ALICE, BOB), ALICE)
    ticks(node, 3)
    drop(node)
    blocks = [block for block in node.bank.recent_blocks() if abs(block.slot - receipt.slot) <= 2]
    assert receipt.slot not in [block.slot for block in blocks]
    assert [block.height - blocks[0].height for block in blocks] == [0, 1, 2, 3]
    for parent, block in itertools.pairwise(blocks):
        assert (block.parent, block.parent_hash) == (parent.slot, parent.blockhash)


def test_a_final_slot_is_never_dropped(node: Node) -> None:
    submit(node, pay(SOL, ALICE, BOB), ALICE)
    ticks(node, 40)
    drop(node)
    assert lamports(node, BOB) == SOL
    assert node.faults.find(DROP_SLOT) is not None


def test_several_slots_can_be_dropped_at_once(node: Node) -> None:
    for _ in range(3):
        submit(node, pay(SOL, ALICE, BOB), ALICE, node.bank.tip.blockhash)
        ticks(node, 1)
    drop(node, slots=2)
    assert lamports(node, BOB) == SOL
    ticks(node, 40)
    assert lamports(node, BOB, "finalized") == SOL


def test_a_restart_knows_the_chain_as_it_is_after_a_drop(node: Node, tmp_path: Path) -> None:
    submit(node, pay(2 * SOL, ALICE, BOB), ALICE)
    ticks(node, 1)
    submit(node, pay(3 * SOL, ALICE, CAROL), ALICE)
    ticks(node, 1)
    drop(node, slot=node.bank.tip.slot - 2)
    expected = {key: lamports(node, key) for key in (ALICE, BOB, CAROL)}
    count, height = node.bank.transaction_count, node.bank.tip.height
    node.close()
    again = open_node(Place(tmp_path, PLACE_ID), NOW, bytes(32))
    assert {key: lamports(again, key, "finalized") for key in (ALICE, BOB, CAROL)} == expected
    assert (again.bank.transaction_count, again.bank.tip.height) == (count, height + 33)
    again.close()


def test_readers_lag_and_senders_do_not(node: Node) -> None:
    tip = node.bank.tip
    submit(node, pay(SOL, ALICE, BOB), ALICE)
    ticks(node, 3)
    node.set_fault(Fault(LAG, slots=10))
    assert node.bank.block("processed").slot == tip.slot - 7
    assert lamports(node, BOB) == 0
    submit(node, pay(SOL, ALICE, BOB), ALICE, node.bank.tip.blockhash)
    node.clear_faults()
    assert lamports(node, BOB) == 2 * SOL


def test_a_reader_that_lags_far_is_held_until_it_is_that_far_behind(node: Node) -> None:
    submit(node, pay(SOL, ALICE, BOB), ALICE)
    final = node.bank.block("finalized").slot
    node.set_fault(Fault(LAG, slots=100))
    assert [node.bank.block(view).slot for view in ("processed", "finalized")] == [final, final]
    ticks(node, 90)
    assert node.bank.block("finalized").slot == final
    assert lamports(node, BOB) == 0
    ticks(node, 60)
    assert node.bank.tip.slot - node.bank.block("processed").slot == 100
    assert lamports(node, BOB) == SOL
    node.clear_faults()
    ticks(node, 1)
    assert lamports(node, BOB, "finalized") == SOL
