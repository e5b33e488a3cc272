"""The chain itself: slots, block hashes, account versions, what landed; no socket, no clock, no task.

Time passes only when somebody calls `tick`. `prepare` and `take_in` put a transaction into the current slot; the next
slot confirms it, and 32 slots later it is final (decisions B10). Two things that happen to real nodes can be made to
happen: `drop` takes a slot out that was not final, and `lag` lets reads see an older chain than sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chain.ledger import execution, sysvars
from chain.ledger.accounts import ABSENT, Account, Accounts
from chain.ledger.execution import UNDISTORTED, Distortion, Outcome, View
from chain.ledger.failures import TransactionFailure, failed
from chain.ledger.transactions import LedgerTransaction
from chain.ledger.workspace import Program

CONFIRMED_SLOTS = 1
FINALIZED_SLOTS = 32
BLOCKHASH_BLOCKS = 150
"""A block hash is good for this many further blocks, counted by height (C4)."""

LAG_SLOTS_MAX = 1_000
"""How far reads can be held back: nothing is forgotten meanwhile."""

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
    distortion: Distortion = UNDISTORTED


@dataclass(frozen=True, slots=True)
class Fork:
    """What dropping `slot` changed: blocks and transactions of the slots after it, and accounts as they are now."""

    slot: int
    blocks: tuple[Block, ...]
    receipts: tuple[Receipt, ...]
    accounts: Mapping[bytes, Account]


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
        self._receipts: dict[int, list[Receipt]] = {}
        self._settled_slot = snapshot.blocks[0].slot - 1
        self._lag_slots = 0
        self._lag_floor = 0
        self.transaction_count = snapshot.transaction_count

    @property
    def tip(self) -> Block:
        """The block being filled now."""
        return self._tip

    def block(self, commitment: str) -> Block:
        """The newest block of a commitment that a reader may see; at the very start that is the first one."""
        slot = self._newest(commitment) - self._lag_slots
        return self._at_or_before(max(slot, self._lag_floor) if self._lag_slots else slot)

    def settled(self, commitment: str) -> Block:
        """The newest block of a commitment, whatever readers may see."""
        return self._at_or_before(self._newest(commitment))

    def receipts(self, slot: int) -> Sequence[Receipt]:
        """What landed in a slot that is not older than the finalized one, in order."""
        return self._receipts.get(slot, ())

    def droppable(self) -> list[int]:
        """Slots with transactions that are confirmed and not final, newest first."""
        first, last = self._newest("finalized"), self._newest("confirmed")
        return [slot for slot in sorted(self._receipts, reverse=True) if first < slot <= last]

    def lag(self, slots: int) -> None:
        """Let reads see the chain as it was `slots` ago, 0 for now.

        What is final already has no older version: a reader that should see further back is held where it is until
        the chain has gone on that far.
        """
        self._lag_floor = self._settled_slot if slots and not self._lag_slots else self._lag_floor
        self._lag_slots = slots

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

    def addresses(self) -> Iterable[bytes]:
        """Every address that has an account, or had one until lately."""
        return self._accounts.keys()

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

    def simulate(self, transaction: LedgerTransaction, block: Block, distortion: Distortion = UNDISTORTED) -> Outcome:
        """Run `transaction` on the state of `block` and change nothing."""
        refusal = self._admissible(transaction, block)
        if refusal is not None:
            return Outcome(refusal, is_charged=False)
        return execution.run(transaction, self._view(block, distortion))

    def prepare(
        self, transaction: LedgerTransaction, distortion: Distortion = UNDISTORTED, simulated: Outcome | None = None
    ) -> Receipt | TransactionFailure:
        """What `transaction` does in the current slot, or why it never enters a block; nothing is changed yet.

        `simulated` is what it did on the current slot a moment ago, when nothing has happened since.
        """
        outcome = simulated or self.simulate(transaction, self._tip, distortion)
        if not outcome.is_charged:
            return outcome.failure or failed("AccountNotFound")
        return Receipt(transaction, outcome, self._tip.slot, self._index, self._tip.unix_s, distortion)

    def take_in(self, receipt: Receipt) -> None:
        """Make a prepared transaction's effects current; no other one may have come between."""
        assert (receipt.slot, receipt.index) == (self._tip.slot, self._index)
        self._accounts.put(receipt.slot, receipt.outcome.changes)
        self._land(receipt.transaction.signature, receipt.slot)
        self._receipts.setdefault(receipt.slot, []).append(receipt)
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
        self._settle()
        self._forget()
        return self._tip

    def drop(self, slot: int) -> Fork:
        """Take `slot` out of the chain as if its block had lost, and run again what came after it.

        `slot` must be confirmed and not final. What was in it never happened; a later transaction that needs it fails
        or is gone too, as is one signed over its block hash.
        """
        dropped = self._blocks.pop(slot)
        del self._heights[dropped.blockhash]
        later = [number for number in self._blocks if number > slot]
        touched = self._accounts.rewind(slot)
        self._withdraw(slot)
        again = [self._withdraw(number) for number in later]
        self._close_gap(dropped, later)
        for number, receipts in zip(later, again, strict=True):
            self._run_again(number, receipts)
        return Fork(
            slot=slot,
            blocks=tuple(self._blocks[number] for number in later),
            receipts=tuple(receipt for number in later for receipt in self.receipts(number)),
            accounts={key: self._accounts.at(key, self._tip.slot) or ABSENT for key in touched},
        )

    def _withdraw(self, slot: int) -> list[Receipt]:
        receipts = self._receipts.pop(slot, [])
        for signature in self._signatures.pop(slot, ()):
            del self._landed[signature]
        self.transaction_count -= len(receipts)
        return receipts

    def _close_gap(self, dropped: Block, later: Sequence[int]) -> None:
        for number in later:
            block = self._blocks[number]
            if block.parent == dropped.slot:
                block = replace(block, parent=dropped.parent, parent_hash=dropped.parent_hash)
            self._blocks[number] = replace(block, height=block.height - 1)
            self._heights[block.blockhash] -= 1

    def _run_again(self, slot: int, receipts: Sequence[Receipt]) -> None:
        self._tip, self._index = self._blocks[slot], 0
        for receipt in receipts:
            again = self.prepare(receipt.transaction, receipt.distortion)
            if isinstance(again, Receipt):
                self.take_in(again)

    def set_time(self, unix_s: int) -> Block:
        """Move the current slot's Clock, forwards only; slot and height stay."""
        self._tip = replace(self._tip, unix_s=max(unix_s, self._tip.unix_s))
        self._blocks[self._tip.slot] = self._tip
        return self._tip

    def seed(self, changes: Mapping[bytes, Account]) -> None:
        """Write accounts that exist without a transaction: a new chain's first balances and its programs."""
        self._accounts.put(self._tip.slot, changes)

    def _newest(self, commitment: str) -> int:
        return self._tip.slot - {"processed": 0, "confirmed": CONFIRMED_SLOTS, "finalized": FINALIZED_SLOTS}[commitment]

    def _at_or_before(self, slot: int) -> Block:
        """The block at `slot`, or the one below the gap that a dropped slot left."""
        first = next(iter(self._blocks))
        while slot not in self._blocks and slot > first:
            slot -= 1
        return self._blocks[max(slot, first)]

    def _settle(self) -> None:
        final = min(self._newest("finalized"), self.block("finalized").slot if self._lag_slots else self._tip.slot)
        while self._settled_slot < final:
            self._settled_slot += 1
            self._accounts.settle(self._settled_slot)

    def _view(self, block: Block, distortion: Distortion) -> View:
        return View(lambda key: self.account(key, block.slot), self._programs, block.unix_s, block.slot, distortion)

    def _admissible(self, transaction: LedgerTransaction, block: Block) -> TransactionFailure | None:
        if not self.is_blockhash_valid(transaction.blockhash, block):
            return failed("BlockhashNotFound")
        slot = self._landed.get(transaction.signature)
        return failed("AlreadyProcessed") if slot is not None and slot <= block.slot else None

    def _land(self, signature: bytes, slot: int) -> None:
        self._landed[signature] = slot
        self._signatures.setdefault(slot, []).append(signature)

    def _forget(self) -> None:
        final = self.block("finalized")
        for slot in [slot for slot in self._receipts if slot < final.slot]:
            del self._receipts[slot]
        oldest = min(self._tip.height - FINALIZED_SLOTS, final.height) - BLOCKHASH_BLOCKS
        for block in [block for block in self._blocks.values() if block.height < oldest]:
            del self._blocks[block.slot]
            del self._heights[block.blockhash]
            for signature in self._signatures.pop(block.slot, ()):
                del self._landed[signature]
