"""The chain itself: slots, block hashes, account versions, what landed; no socket, no clock, no task.

Time passes only when somebody calls `tick`. `prepare` and `take_in` put a transaction into the current slot; the next
slot confirms it, and 32 slots later it is final (decisions B10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from chain.ledger import execution, sysvars
from chain.ledger.accounts import Account, Accounts
from chain.ledger.execution import Outcome, View
from chain.ledger.failures import TransactionFailure, failed
from chain.ledger.transactions import LedgerTransaction
from chain.ledger.workspace import Program

CONFIRMED_SLOTS = 1
FINALIZED_SLOTS = 32
BLOCKHASH_BLOCKS = 150
"""A block hash is good for this many further blocks, counted by height (C4)."""

COMMITMENTS = ("processed", "confirmed", "finalized")


@dataclass(frozen=True, slots=True)
class Block:
    """One slot's block. `height` counts blocks, so a dropped slot leaves a gap in `slot` only."""

    slot: int
    height: int
    parent: int
    blockhash: bytes
    parent_hash: bytes
    unix_s: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """One transaction in a block: `index` is its place there."""

    transaction: LedgerTransaction
    outcome: Outcome
    slot: int
    index: int
    unix_s: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a bank starts from: finalized accounts, the recent blocks oldest first, and where signatures landed."""

    accounts: Mapping[bytes, Account]
    blocks: tuple[Block, ...]
    landed: Mapping[bytes, int]
    transaction_count: int = 0


class Bank:
    """Account state at every commitment, and the one place where a transaction changes it."""

    def __init__(self, snapshot: Snapshot, programs: Mapping[bytes, Program]) -> None:
        self._accounts = Accounts(snapshot.accounts)
        self._programs = programs
        self._blocks: dict[int, Block] = {block.slot: block for block in snapshot.blocks}
        self._heights: dict[bytes, int] = {block.blockhash: block.height for block in snapshot.blocks}
        self._landed: dict[bytes, int] = {}
        self._signatures: dict[int, list[bytes]] = {}
        for signature, slot in snapshot.landed.items():
            self._land(signature, slot)
        self._tip = snapshot.blocks[-1]
        self._index = 0
        self.transaction_count = snapshot.transaction_count

    @property
    def tip(self) -> Block:
        """The block being filled now."""
        return self._tip

    def block(self, commitment: str) -> Block:
        """The newest block of a commitment; at the very start that is the first one."""
        return self._blocks[self._slot_of(commitment)]

    def recent_blocks(self) -> Iterator[Block]:
        """The blocks whose hash may still be valid, oldest first."""
        return iter(self._blocks.values())

    def account(self, key: bytes, slot: int) -> Account | None:
        """The account as of `slot`; sysvars are made from that slot's block."""
        if key in sysvars.KEYS:
            block = self._blocks.get(slot, self._tip)
            return sysvars.account(key, block.slot, block.unix_s)
        return self._accounts.at(key, slot)

    def owned_by(self, owner: bytes, slot: int) -> Iterator[tuple[bytes, Account]]:
        """Every account of a program as of `slot`."""
        return self._accounts.owned_by(owner, slot)

    def landed_slot(self, signature: bytes) -> int | None:
        """The slot a recent transaction landed in; None also for one older than its block hash's life."""
        return self._landed.get(signature)

    def last_valid_height(self, blockhash: bytes) -> int | None:
        """The height up to which `blockhash` is good, or None when it was never, or long ago, a block's hash."""
        height = self._heights.get(blockhash)
        return None if height is None else height + BLOCKHASH_BLOCKS

    def is_blockhash_valid(self, blockhash: bytes, block: Block) -> bool:
        """Whether a transaction with `blockhash` could land in `block`."""
        height = self._heights.get(blockhash)
        return height is not None and height <= block.height <= height + BLOCKHASH_BLOCKS

    def simulate(self, transaction: LedgerTransaction, block: Block) -> Outcome:
        """Run `transaction` on the state of `block` and change nothing."""
        refusal = self._admissible(transaction, block)
        if refusal is not None:
            return Outcome(refusal, is_charged=False)
        return execution.run(transaction, self._view(block))

    def prepare(self, transaction: LedgerTransaction) -> Receipt | TransactionFailure:
        """What `transaction` does in the current slot, or why it never enters a block; nothing is changed yet."""
        outcome = self.simulate(transaction, self._tip)
        if not outcome.is_charged:
            return outcome.failure or failed("AccountNotFound")
        return Receipt(transaction, outcome, self._tip.slot, self._index, self._tip.unix_s)

    def take_in(self, receipt: Receipt) -> None:
        """Make a prepared transaction's effects current; no other one may have come between."""
        assert (receipt.slot, receipt.index) == (self._tip.slot, self._index)
        self._accounts.put(receipt.slot, receipt.outcome.changes)
        self._land(receipt.transaction.signature, receipt.slot)
        self._index += 1
        self.transaction_count += 1

    def tick(self, unix_s: int) -> Block:
        """Close the current slot and open the next one at chain time `unix_s`, which never runs backwards."""
        before = self._tip
        content = before.slot.to_bytes(8, "little") + self._index.to_bytes(8, "little")
        self._tip = Block(
            slot=before.slot + 1,
            height=before.height + 1,
            parent=before.slot,
            blockhash=hashlib.sha256(before.blockhash + content).digest(),
            parent_hash=before.blockhash,
            unix_s=max(unix_s, before.unix_s),
        )
        self._blocks[self._tip.slot] = self._tip
        self._heights[self._tip.blockhash] = self._tip.height
        self._index = 0
        self._accounts.settle(self._slot_of("finalized"))
        self._forget()
        return self._tip

    def set_time(self, unix_s: int) -> Block:
        """Move the current slot's Clock, forwards only; slot and height stay."""
        self._tip = replace(self._tip, unix_s=max(unix_s, self._tip.unix_s))
        self._blocks[self._tip.slot] = self._tip
        return self._tip

    def seed(self, changes: Mapping[bytes, Account]) -> None:
        """Write accounts that exist without a transaction: a new chain's first balances and its programs."""
        self._accounts.put(self._tip.slot, changes)

    def _slot_of(self, commitment: str) -> int:
        depth = {"processed": 0, "confirmed": CONFIRMED_SLOTS, "finalized": FINALIZED_SLOTS}[commitment]
        first = next(iter(self._blocks))
        return max(self._tip.slot - depth, first)

    def _view(self, block: Block) -> View:
        return View(lambda key: self.account(key, block.slot), self._programs, block.unix_s, block.slot)

    def _admissible(self, transaction: LedgerTransaction, block: Block) -> TransactionFailure | None:
        if not self.is_blockhash_valid(transaction.blockhash, block):
            return failed("BlockhashNotFound")
        slot = self._landed.get(transaction.signature)
        return failed("AlreadyProcessed") if slot is not None and slot <= block.slot else None

    def _land(self, signature: bytes, slot: int) -> None:
        self._landed[signature] = slot
        self._signatures.setdefault(slot, []).append(signature)

    def _forget(self) -> None:
        oldest = self._tip.height - BLOCKHASH_BLOCKS - FINALIZED_SLOTS
        for block in [block for block in self._blocks.values() if block.height < oldest]:
            del self._blocks[block.slot]
            del self._heights[block.blockhash]
            for signature in self._signatures.pop(block.slot, ()):
                del self._landed[signature]
