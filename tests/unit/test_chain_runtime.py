"""The ledger's runtime against Solana's own (solders.litesvm): same logs, same errors, same fees."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import (
    AllocateParams,
    AssignParams,
    CreateAccountParams,
    TransferParams,
    allocate,
    assign,
    create_account,
    transfer,
)
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata
from solders.transaction_status import (
    TransactionErrorDuplicateInstruction,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
)

from chain.ledger.bank import Receipt
from chain.ledger.node import Node, Place, open_node
from chain.ledger.transactions import read_transaction
from chain.program import NEWEST_PROGRAM_ID

MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
PAYER, OTHER, NEW, TAKEN = (Keypair.from_seed(bytes([number]) * 32) for number in range(1, 5))
PLENTY = 10_000_000_000
NOW = 1_762_510_000
Seen = tuple[Any, list[str], int]


class Pair:
    """Both runtimes with the same wallets."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.svm = LiteSVM()
        for wallet in (PAYER, OTHER, TAKEN):
            self.svm.airdrop(wallet.pubkey(), PLENTY)
            node.airdrop(bytes(wallet.pubkey()), PLENTY)
        self.both([assign(AssignParams(pubkey=TAKEN.pubkey(), owner=MEMO))], [PAYER, TAKEN])

    def both(self, calls: Sequence[Instruction], signers: Sequence[Keypair]) -> tuple[Seen, Seen]:
        """(Solana's answer, ours)."""
        return self._real(calls, signers), self._ours(calls, signers)

    def _real(self, calls: Sequence[Instruction], signers: Sequence[Keypair]) -> Seen:
        payer = signers[0].pubkey()
        before = self.svm.get_balance(payer)
        result = self.svm.send_transaction(_signed(calls, signers, self.svm.latest_blockhash()))
        failed = isinstance(result, FailedTransactionMetadata)
        meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
        err = _err_json(result.err()) if failed else None  # type: ignore[union-attr]
        return err, _plain(meta.logs()), (before or 0) - (self.svm.get_balance(payer) or 0)

    def _ours(self, calls: Sequence[Instruction], signers: Sequence[Keypair]) -> Seen:
        payer = bytes(signers[0].pubkey())
        before = self._lamports(payer)
        transaction = _signed(calls, signers, Hash.from_bytes(self.node.bank.tip.blockhash))
        receipt = self.node.submit(read_transaction(bytes(transaction)))
        spent = before - self._lamports(payer)
        if not isinstance(receipt, Receipt):
            return receipt.json, [], spent
        failure = receipt.outcome.failure
        return failure.json if failure else None, _plain(receipt.outcome.logs), spent

    def _lamports(self, key: bytes) -> int:
        account = self.node.bank.account(key, self.node.bank.tip.slot)
        return account.lamports if account else 0


def _signed(calls: Sequence[Instruction], signers: Sequence[Keypair], blockhash: Hash) -> VersionedTransaction:
    message = Message.new_with_blockhash(list(calls), signers[0].pubkey(), blockhash)
    return VersionedTransaction(message, list(signers))


def _err_json(err: Any) -> Any:
    if isinstance(err, TransactionErrorInstructionError):
        return {"InstructionError": json.loads(err.to_json())}
    if isinstance(err, TransactionErrorDuplicateInstruction):
        return {"DuplicateInstruction": err.index}
    if isinstance(err, TransactionErrorInsufficientFundsForRent):
        return {"InsufficientFundsForRent": json.loads(err.to_json())}
    return str(err).rsplit(".", 1)[-1]


def _plain(lines: Sequence[str]) -> list[str]:
    """Log lines without compute units: the ledger's are nominal."""
    return [re.sub(r"consumed \d+ of \d+", "consumed # of #", line) for line in lines]


def _create(wallet: Keypair, lamports: int = 10_000_000, space: int = 10) -> Instruction:
    return create_account(
        CreateAccountParams(
            from_pubkey=PAYER.pubkey(), to_pubkey=wallet.pubkey(), lamports=lamports, space=space, owner=MEMO
        )
    )


def _pay(lamports: int, target: Keypair = OTHER) -> Instruction:
    return transfer(TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=target.pubkey(), lamports=lamports))


def _as(call: Instruction, *metas: tuple[Keypair, bool, bool]) -> Instruction:
    return Instruction(call.program_id, bytes(call.data), [AccountMeta(k.pubkey(), s, w) for k, s, w in metas])


def _memo(text: bytes, *metas: tuple[Keypair, bool, bool]) -> Instruction:
    return _as(Instruction(MEMO, text, []), *metas)


CASES: dict[str, tuple[list[Instruction], list[Keypair]]] = {
    "a transfer": ([_pay(10**6)], [PAYER]),
    "a transfer to oneself": ([_pay(5, PAYER)], [PAYER]),
    "a transfer of nothing to nobody": ([_pay(0, NEW)], [PAYER]),
    "a transfer beyond the balance": ([_pay(10**12)], [PAYER]),
    "a transfer to a read-only account": ([_as(_pay(1), (PAYER, True, True), (OTHER, False, False))], [PAYER]),
    "a transfer that its source did not sign": ([_as(_pay(1), (OTHER, False, True), (PAYER, True, True))], [PAYER]),
    "a transfer without a target": ([_as(_pay(1), (PAYER, True, True))], [PAYER]),
    "a transfer after a memo, between memos": ([_memo(b"a"), _pay(10**6), _memo(b"b")], [PAYER]),
    "a failure after a success": ([_pay(10**6), _pay(10**12)], [PAYER]),
    "a new account": ([_create(NEW)], [PAYER, NEW]),
    "a new account twice": ([_create(NEW), _create(NEW)], [PAYER, NEW]),
    "a new account in a taken place": ([_create(TAKEN)], [PAYER, TAKEN]),
    "a new account that did not sign": ([_as(_create(NEW), (PAYER, True, True), (NEW, False, True))], [PAYER]),
    "a new account that is read-only": ([_as(_create(NEW), (PAYER, True, True), (NEW, True, False))], [PAYER, NEW]),
    "a new account beyond the balance": ([_create(NEW, lamports=10**12)], [PAYER, NEW]),
    "a new account below its rent": ([_create(NEW, lamports=10)], [PAYER, NEW]),
    "a new account of more than 10 MiB": ([_create(NEW, space=10 * 1024 * 1024 + 1)], [PAYER, NEW]),
    "an allocation": ([allocate(AllocateParams(pubkey=OTHER.pubkey(), space=0))], [PAYER, OTHER]),
    "an allocation in a taken place": ([allocate(AllocateParams(pubkey=TAKEN.pubkey(), space=1))], [PAYER, TAKEN]),
    "an assignment of what is owned": (
        [assign(AssignParams(pubkey=TAKEN.pubkey(), owner=PAYER.pubkey()))],
        [PAYER, TAKEN],
    ),
    "an assignment": ([assign(AssignParams(pubkey=OTHER.pubkey(), owner=MEMO))], [PAYER, OTHER]),
    "an unsigned assignment": (
        [_as(assign(AssignParams(pubkey=OTHER.pubkey(), owner=MEMO)), (OTHER, False, True))],
        [PAYER],
    ),
    "an unknown system instruction": (
        [_as(Instruction(Pubkey.default(), b"\x63\0\0\0", []), (PAYER, True, True))],
        [PAYER],
    ),
    "a short system instruction": ([_as(Instruction(Pubkey.default(), b"\x02\0\0", []), (PAYER, True, True))], [PAYER]),
    "a signed memo": ([_memo("grüß\n".encode(), (PAYER, True, False))], [PAYER]),
    "a memo that is no text": ([_memo(b"ok\xff")], [PAYER]),
    "a memo somebody did not sign": ([_memo(b"x", (OTHER, False, False))], [PAYER]),
    "a compute budget": ([set_compute_unit_limit(50_000), _memo(b"x")], [PAYER]),
    "a budget too small for a program": ([set_compute_unit_limit(1_001), _memo(b"")], [PAYER]),
    "a repeated compute budget": ([set_compute_unit_limit(50_000), set_compute_unit_limit(1)], [PAYER]),
    "a malformed compute budget": (
        [Instruction(Pubkey.from_string("ComputeBudget111111111111111111111111111111"), b"\x09", [])],
        [PAYER],
    ),
    "a budget too small for anything": ([set_compute_unit_limit(100), _memo(b"x")], [PAYER]),
    "a program that is none": ([_as(Instruction(OTHER.pubkey(), b"", []))], [PAYER]),
    "a payer who does not exist": ([_memo(b"x")], [NEW]),
    "a payer another program owns": ([_memo(b"x")], [TAKEN]),
    "two signatures": ([_memo(b"x", (OTHER, True, False))], [PAYER, OTHER]),
}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    node = open_node(Place(tmp_path, Pubkey.from_string(NEWEST_PROGRAM_ID)), NOW, bytes(range(32)))
    yield Pair(node)
    node.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case).replace(" ", "-"))
def test_the_ledger_answers_as_solanas_own_runtime(pair: Pair, case: str) -> None:
    real, ours = pair.both(*CASES[case])
    assert ours == real


def test_the_budget_grows_with_what_is_called(pair: Pair) -> None:
    calls = [set_compute_unit_price(1_000), _memo(b"hello"), _pay(1)]
    transaction = _signed(calls, [PAYER], Hash.from_bytes(pair.node.bank.tip.blockhash))
    receipt = pair.node.submit(read_transaction(bytes(transaction)))
    assert isinstance(receipt, Receipt)
    # 200,000 for the memo, 3,000 for each builtin, less the 150 the first one used; litesvm prints the same for two
    assert any(" of 205850 compute units" in line for line in receipt.outcome.logs)
