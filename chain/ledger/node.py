"""The chain with its memory: bank and archive kept in step, first start, restart, and the settable clock.

Synchronous and without a clock of its own: whoever runs it says what time it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chain.keys import ensure_key, ensure_local_keys, local_key_path
from chain.ledger import builtins, encoding, faults
from chain.ledger.accounts import COMPUTE_BUDGET, MEMO, SYSTEM_PROGRAM, Account, rent_exempt_lamports
from chain.ledger.archive import Archive, ArchiveInUse, Landed
from chain.ledger.bank import FINALIZED_SLOTS, Bank, Block, Receipt, Snapshot
from chain.ledger.execution import UNDISTORTED, Distortion, Outcome
from chain.ledger.failures import TransactionFailure, failed
from chain.ledger.faults import Fault, Faults
from chain.ledger.settings import SLOT_MS
from chain.ledger.transactions import LedgerTransaction, read_transaction
from chain.ledger.workspace import Program
from chain.ledger.zmart import Build, SellMode, zmart_core
from chain.program import ZmartProgram

LAMPORTS_PER_SOL = 1_000_000_000
FAUCET_LAMPORTS = 500_000_000 * LAMPORTS_PER_SOL
WALLET_LAMPORTS = 1_000 * LAMPORTS_PER_SOL
"""What admin, backend and fee wallet start with."""
CLOCK_ADVANCE_S_MAX = 315_360_000
"""Ten years, the program's own bound on a market's life (CI 2)."""

DELAYED_MAX = 10_000
"""Delayed transactions held, as many as a node's retry queue (C4)."""
DELAY_SLOTS = 5
"""How late a delayed send lands when nobody says so: 2 s."""
LAG_SLOTS = 20
"""How far behind a lagging node is when nobody says so: 8 s."""

_UPGRADEABLE_LOADER = bytes(Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111"))
_PROGRAM_ACCOUNT_BYTES = 36


class LedgerRefused(Exception):
    """The data dir holds a chain that does not fit the settings; says what to change."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain lives and which program it carries."""

    data_dir: Path
    program_id: Pubkey
    build: Build = "new"
    sell_mode: SellMode = "intended"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where confirmed transactions of the program are posted; `auth_header` comes back as `Authorization`."""

    url: str
    auth_header: str


class Watcher(Protocol):
    """Somebody who is told, at once and in order, what happens on the chain; must not change it."""

    def landed(self, receipt: Receipt) -> None:
        """A transaction was taken in, and is processed."""
        ...

    def ticked(self, block: Block) -> None:
        """`block` was opened, which confirms the one before it."""
        ...


class Node:
    """One chain: everything that JSON-RPC asks or tells it."""

    def __init__(self, place: Place, archive: Archive, bank: Bank, genesis_hash: bytes, clock_offset_s: int) -> None:
        self.program_id = bytes(place.program_id)
        self.genesis_hash = genesis_hash
        self.archive = archive
        self.bank = bank
        self._clock_offset_s = clock_offset_s
        self._faucet = ensure_key(local_key_path(place.data_dir, "faucet"))
        self._airdrops = 0
        self._has_unsynced = False
        self._delayed: list[tuple[int, LedgerTransaction]] = []
        self.faults = Faults()
        self.watchers: list[Watcher] = []
        kept = archive.note("webhook")
        self.webhook = Webhook(**json.loads(kept)) if kept else None
        """Where to post, as it was last set; it survives a restart."""

    def send(self, transaction: LedgerTransaction, is_verified: bool = False, simulated: Outcome | None = None) -> None:
        """What `sendTransaction` does once it has checked: land it, unless a fault loses or delays it.

        At most `DELAYED_MAX` are on their way; what does not fit lands at once.
        """
        if self.faults.strike(faults.DROP_SEND):
            return
        delay = self.faults.strike(faults.DELAY_SEND)
        if delay is not None and len(self._delayed) < DELAYED_MAX:
            self._delayed.append((self.bank.tip.slot + _slots_of(delay, DELAY_SLOTS), transaction))
        else:
            self.submit(transaction, is_verified, simulated)

    def submit(
        self, transaction: LedgerTransaction, is_verified: bool = False, simulated: Outcome | None = None
    ) -> Receipt | TransactionFailure:
        """Land a transaction in the current slot, or say why it never lands.

        It is committed to the archive before it becomes current: memory never leads the file. `is_verified` says that
        its signatures were checked a moment ago, `simulated` is what it did on the current slot a moment ago.
        """
        if not is_verified and not transaction.signatures_hold():
            return failed("SignatureFailure")
        distortion = self._distortion()
        receipt = self.bank.prepare(transaction, distortion, simulated if distortion is UNDISTORTED else None)
        if isinstance(receipt, Receipt):
            self._archive_receipt(receipt)
            self.bank.take_in(receipt)
            for watcher in self.watchers:
                watcher.landed(receipt)
        return receipt

    def tick(self, wall_unix_s: int) -> Block:
        """Open the next slot; what the last one took in is on disk before it counts as confirmed."""
        self._drop_slots()
        block = self.bank.tick(wall_unix_s + self._clock_offset_s)
        self.archive.open_block(block, is_durable=self._has_unsynced)
        self._has_unsynced = False
        for watcher in self.watchers:
            watcher.ticked(block)
        self._land_delayed(block)
        return block

    def set_fault(self, fault: Fault) -> None:
        """Turn a fault on, and one that lasts into force."""
        self.faults.set(fault)
        lag = self.faults.find(faults.LAG)
        self.bank.lag(_slots_of(lag, LAG_SLOTS) if lag else 0)

    def clear_faults(self) -> None:
        """Turn every fault off; what is delayed lands in its time."""
        self.faults.clear()
        self.bank.lag(0)

    def set_webhook(self, webhook: Webhook | None) -> None:
        """Post there from now on, or nowhere."""
        value = "" if webhook is None else json.dumps({"url": webhook.url, "auth_header": webhook.auth_header})
        self.archive.keep_note("webhook", value.encode())
        self.webhook = webhook

    def advance_clock(self, seconds: int) -> Block:
        """Move the Clock sysvar forwards for good; neither slots nor block height move (decisions P6)."""
        offset_s = self._clock_offset_s + seconds
        self.archive.keep_note("clock_offset_s", str(offset_s).encode())
        self._clock_offset_s = offset_s
        block = self.bank.set_time(self.bank.tip.unix_s + seconds)
        self.archive.open_block(block, is_durable=False)
        return block

    def airdrop(self, target: bytes, lamports: int) -> Receipt | TransactionFailure:
        """Send lamports from the faucet by a real transaction; a memo keeps equal airdrops apart."""
        self._airdrops += 1
        note = Instruction(Pubkey(MEMO), f"airdrop {self.bank.transaction_count} {self._airdrops}".encode(), [])
        source = self._faucet.pair.pubkey()
        pay = transfer(TransferParams(from_pubkey=source, to_pubkey=Pubkey(target), lamports=lamports))
        return self.submit(self._sign([note, pay], self._faucet.pair))

    def close(self) -> None:
        """Close the archive; nothing may be called afterwards."""
        self.archive.close()

    def sign_and_submit(self, instruction: Instruction, pair: Keypair) -> Receipt | TransactionFailure:
        """Land one instruction signed by `pair`."""
        return self.submit(self._sign([instruction], pair))

    def _sign(self, instructions: list[Instruction], pair: Keypair) -> LedgerTransaction:
        blockhash = Hash.from_bytes(self.bank.tip.blockhash)
        message = Message.new_with_blockhash(instructions, pair.pubkey(), blockhash)
        return read_transaction(bytes(VersionedTransaction(message, [pair])))

    def _archive_receipt(self, receipt: Receipt) -> None:
        self.archive.append(_landed(receipt), receipt.outcome.changes, receipt.transaction.keys)
        self._has_unsynced = True

    def _distortion(self) -> Distortion:
        truncates = self.faults.strike(faults.TRUNCATE_LOGS)
        nests = self.faults.strike(faults.FOREIGN_FRAME)
        if not truncates and not nests:
            return UNDISTORTED
        bytes_max = faults.TRUNCATED_LOG_BYTES if truncates else UNDISTORTED.log_bytes_max
        return Distortion(bytes_max, faults.FOREIGN_PROGRAM if nests else None)

    def _drop_slots(self) -> None:
        wanted = self.faults.find(faults.DROP_SLOT)
        droppable = self.bank.droppable() if wanted else []
        if wanted is not None and wanted.slot is not None:
            droppable = [slot for slot in droppable if slot == wanted.slot]
        if wanted is None or not droppable or self.faults.strike(faults.DROP_SLOT) is None:
            return
        for slot in droppable[: wanted.slots or 1]:
            self._drop(slot)

    def _drop(self, slot: int) -> None:
        """Memory leads the file here for a moment: should the file fail, the slot clock ends the ledger."""
        fork = self.bank.drop(slot)
        history = ((_landed(receipt), receipt.transaction.keys) for receipt in fork.receipts)
        self.archive.replace_from(slot, fork.blocks, history, fork.accounts)
        self._has_unsynced = True

    def _land_delayed(self, block: Block) -> None:
        due = [transaction for slot, transaction in self._delayed if slot <= block.slot]
        self._delayed = [(slot, transaction) for slot, transaction in self._delayed if slot > block.slot]
        for transaction in due:
            self.submit(transaction)


def _landed(receipt: Receipt) -> Landed:
    transaction = receipt.transaction
    return Landed(
        signature=transaction.signature,
        slot=receipt.slot,
        position=receipt.index,
        unix_s=receipt.unix_s,
        version=transaction.version,
        raw=transaction.raw,
        meta=encoding.meta_json(receipt),
    )


def _slots_of(fault: Fault, slots_default: int) -> int:
    """A fault's length in slots; seconds count as slots of the usual length, so that slots by hand work too."""
    if fault.slots is not None:
        return fault.slots
    return slots_default if fault.seconds is None else -(-fault.seconds * 1_000 // SLOT_MS)


def open_node(place: Place, wall_unix_s: int, entropy: bytes) -> Node:
    """Open the data dir's chain, or begin one whose genesis hash is made from `entropy` (32 bytes).

    A reopened chain moves on by 32 slots at once, so that all it remembers is final: what was committed was never taken
    back. Raises `LedgerRefused` when the data dir belongs to another program id.
    """
    folder = place.data_dir / "ledger"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    archive = _open_archive(folder)
    snapshot = archive.snapshot()
    node = _begin(place, archive, wall_unix_s, entropy) if snapshot is None else _resume(place, archive, snapshot)
    for _ in range(FINALIZED_SLOTS + 1):
        node.tick(wall_unix_s)
    return node


def _open_archive(folder: Path) -> Archive:
    try:
        return Archive(folder / "ledger.sqlite3")
    except ArchiveInUse as error:
        raise LedgerRefused(f"another ledger runs on {folder}: stop it, or use another data dir") from error


def _resume(place: Place, archive: Archive, snapshot: Snapshot) -> Node:
    kept = archive.note("program_id") or b""
    if kept != bytes(place.program_id):
        archive.close()
        raise LedgerRefused(
            f"the chain in {place.data_dir} carries program {Pubkey(kept)}, not {place.program_id}: "
            "use another data dir or that program id"
        )
    offset_s = int(archive.note("clock_offset_s") or b"0")
    bank = Bank(snapshot, _programs(place))
    return Node(place, archive, bank, archive.note("genesis_hash") or b"", offset_s)


def _begin(place: Place, archive: Archive, wall_unix_s: int, entropy: bytes) -> Node:
    """A new chain: balances, programs, then GlobalConfig by a transaction of the admin.

    The first block is committed last: a crash before it leaves a file that is simply begun again.
    """
    first = Block(slot=0, height=0, parent=0, blockhash=entropy, parent_hash=bytes(32), unix_s=wall_unix_s)
    bank = Bank(Snapshot({}, (first,), {}), _programs(place))
    archive.clear()
    archive.keep_note("genesis_hash", entropy)
    archive.keep_note("program_id", bytes(place.program_id))
    node = Node(place, archive, bank, entropy, 0)
    accounts = _first_accounts(place)
    bank.seed(accounts)
    archive.seed(accounts)
    _initialize(node, place)
    archive.open_block(first, is_durable=True)
    return node


def _first_accounts(place: Place) -> dict[bytes, Account]:
    keys = ensure_local_keys(place.data_dir)
    faucet = ensure_key(local_key_path(place.data_dir, "faucet"))
    holders = (keys.admin, keys.backend, keys.fee_wallet)
    wallets = {bytes(key.pair.pubkey()): Account(WALLET_LAMPORTS) for key in holders}
    rent = rent_exempt_lamports(_PROGRAM_ACCOUNT_BYTES)
    program = Account(rent, _UPGRADEABLE_LOADER, bytes(_PROGRAM_ACCOUNT_BYTES), executable=True)
    return {
        **builtins.native_accounts(),
        **wallets,
        bytes(faucet.pair.pubkey()): Account(FAUCET_LAMPORTS),
        bytes(place.program_id): program,
    }


def _initialize(node: Node, place: Place) -> None:
    keys = ensure_local_keys(place.data_dir)
    instruction = ZmartProgram(place.program_id).initialize_global_config(
        admin=keys.admin.wallet, backend_authority=keys.backend.wallet, protocol_fee_wallet=keys.fee_wallet.wallet
    )
    receipt = node.sign_and_submit(instruction, keys.admin.pair)
    if isinstance(receipt, TransactionFailure) or receipt.outcome.failure:
        raise LedgerRefused(f"GlobalConfig could not be initialised: {receipt}")


def _programs(place: Place) -> dict[bytes, Program]:
    return {
        SYSTEM_PROGRAM: builtins.system,
        COMPUTE_BUDGET: builtins.compute_budget,
        MEMO: builtins.memo,
        bytes(place.program_id): zmart_core(place.build, place.sell_mode),
    }
