"""The ledger's memory on disk: one SQLite file in WAL mode.

Guarantee: a transaction is committed here before its sender gets an answer, so it survives SIGKILL; and it is fsynced
before its slot is confirmed, so a confirmed transaction also survives a power cut. SQLite rather than a log of our own
because the history must be searched by address and by signature without replaying it (ADR 0004).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.ledger.accounts import Account
from chain.ledger.bank import BLOCKHASH_BLOCKS, FINALIZED_SLOTS, Block, Snapshot

EMPTY_BLOCKS_KEPT = 10_000
"""Older blocks without transactions are deleted: about 67 minutes of 400 ms slots."""
PRUNE_EVERY_SLOTS = 1_000
LOCK_WAIT_S = 1.0
"""How long a dying predecessor may still hold the file."""

CHECKPOINT_PAGES = 16_384
"""64 MiB of log between checkpoints: each is an fsync, and with SQLite's 1,000 pages one came every 150 sends."""
CACHE_KIB = 65_536
"""Signatures and addresses are spread over the whole file; with SQLite's 2 MiB every insert read pages again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
    address BLOB PRIMARY KEY, lamports INTEGER NOT NULL, owner BLOB NOT NULL, data BLOB NOT NULL,
    executable INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (
    slot INTEGER PRIMARY KEY, height INTEGER NOT NULL, parent INTEGER NOT NULL, blockhash BLOB NOT NULL,
    parent_hash BLOB NOT NULL, unix_s INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS transactions (
    slot INTEGER NOT NULL, position INTEGER NOT NULL, signature BLOB NOT NULL UNIQUE, unix_s INTEGER NOT NULL,
    version INTEGER, raw BLOB NOT NULL, meta TEXT NOT NULL, PRIMARY KEY (slot, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mentions (
    address BLOB NOT NULL, slot INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (address, slot, position)
) WITHOUT ROWID;
"""


class ArchiveInUse(Exception):
    """Another process has the file open."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use")
        self.path = path


@dataclass(frozen=True, slots=True)
class Landed:
    """One transaction of the history; `meta` has the shape `getTransaction` gives it."""

    signature: bytes
    slot: int
    position: int
    unix_s: int
    version: int | None
    raw: bytes
    meta: dict[str, Any]


class Archive:
    """Everything the ledger must still know after a restart. Not safe for several processes: it locks the file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise ArchiveInUse(path) from error
            raise

    def close(self) -> None:
        """Close the file; everything answered for is in it."""
        self._db.close()

    def clear(self) -> None:
        """Drop what a first start left behind that never came to its first block."""
        self._db.executescript(
            "DELETE FROM meta; DELETE FROM accounts; DELETE FROM transactions; DELETE FROM mentions;"
        )

    def note(self, name: str) -> bytes | None:
        """A named value kept with the chain, such as its genesis hash."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep_note(self, name: str, value: bytes) -> None:
        """Store or replace a named value."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def append(self, landed: Landed, changes: Mapping[bytes, Account], mentioned: Sequence[bytes]) -> None:
        """Commit one transaction with its effects on accounts: all of it or, after a crash, nothing."""
        with self._transaction():
            self._write_landed(landed, mentioned)
            self._write_accounts(changes)

    def replace_from(
        self,
        slot: int,
        blocks: Iterable[Block],
        history: Iterable[tuple[Landed, Sequence[bytes]]],
        changes: Mapping[bytes, Account],
    ) -> None:
        """Commit a fork: forget everything from `slot` on, then take in what is there instead, all or nothing."""
        with self._transaction():
            for table in ("blocks", "transactions"):
                self._db.execute(f"DELETE FROM {table} WHERE slot >= ?", (slot,))  # noqa: S608 - names of our own
            self._db.execute("DELETE FROM mentions WHERE slot >= ?", (slot,))
            for block in blocks:
                self._write_block(block)
            for landed, mentioned in history:
                self._write_landed(landed, mentioned)
            self._write_accounts(changes)

    def seed(self, changes: Mapping[bytes, Account]) -> None:
        """Commit accounts that exist without a transaction."""
        with self._transaction():
            self._write_accounts(changes)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def open_block(self, block: Block, is_durable: bool) -> None:
        """Commit a new block's start; with `is_durable` everything before it is on disk when this returns."""
        self._db.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
        self._write_block(block)
        if is_durable:
            self._db.execute("PRAGMA synchronous=NORMAL")
        if block.slot % PRUNE_EVERY_SLOTS == 0:
            self._prune(block.slot - EMPTY_BLOCKS_KEPT)

    def snapshot(self) -> Snapshot | None:
        """What a bank needs to go on, or None for a new chain."""
        depth = BLOCKHASH_BLOCKS + FINALIZED_SLOTS + 1
        rows = self._db.execute("SELECT * FROM blocks ORDER BY slot DESC LIMIT ?", (depth,)).fetchall()
        blocks = tuple(Block(*row) for row in reversed(rows))
        if not blocks:
            return None
        accounts = {
            address: Account(lamports, owner, data, bool(executable))
            for address, lamports, owner, data, executable in self._db.execute("SELECT * FROM accounts")
        }
        recent = self._db.execute("SELECT signature, slot FROM transactions WHERE slot >= ?", (blocks[0].slot,))
        (count,) = self._db.execute("SELECT count(*) FROM transactions").fetchone()
        return Snapshot(accounts, blocks, dict(recent.fetchall()), count)

    def transaction(self, signature: bytes) -> Landed | None:
        """One transaction by its first signature."""
        row = self._db.execute(
            "SELECT signature, slot, position, unix_s, version, raw, meta FROM transactions WHERE signature = ?",
            (signature,),
        ).fetchone()
        return None if row is None else _landed(row)

    def block(self, slot: int) -> Block | None:
        """One block that is still kept."""
        row = self._db.execute("SELECT * FROM blocks WHERE slot = ?", (slot,)).fetchone()
        return None if row is None else Block(*row)

    def in_block(self, slot: int) -> list[Landed]:
        """The transactions of one block in order."""
        rows = self._db.execute(
            "SELECT signature, slot, position, unix_s, version, raw, meta FROM transactions WHERE slot = ?"
            " ORDER BY position",
            (slot,),
        )
        return [_landed(row) for row in rows]

    def mentioning(
        self, address: bytes, newest_slot: int, before: bytes | None, until: bytes | None, limit: int
    ) -> Iterator[Landed]:
        """Transactions that name `address`, newest first, older than `before` and newer than `until`.

        As on a node, an unknown `before` finds nothing and an unknown `until` ends nothing.
        """
        upper = (newest_slot + 1, 0) if before is None else self._place(before)
        lower = self._place(until) or (-1, 0)
        if upper is None:
            return iter(())
        rows = self._db.execute(
            "SELECT t.signature, t.slot, t.position, t.unix_s, t.version, t.raw, t.meta FROM mentions m"
            " JOIN transactions t ON t.slot = m.slot AND t.position = m.position"
            " WHERE m.address = ? AND m.slot <= ? AND (m.slot, m.position) < (?, ?) AND (m.slot, m.position) > (?, ?)"
            " ORDER BY m.slot DESC, m.position DESC LIMIT ?",
            (address, newest_slot, *upper, *lower, limit),
        )
        return map(_landed, rows)

    def blocks_between(self, first: int, last: int, limit: int) -> list[int]:
        """Slots of kept blocks from `first` to `last`, at most `limit`, oldest first."""
        rows = self._db.execute(
            "SELECT slot FROM blocks WHERE slot BETWEEN ? AND ? ORDER BY slot LIMIT ?", (first, last, limit)
        )
        return [int(slot) for (slot,) in rows]

    def first_block(self) -> int:
        """The oldest kept block's slot."""
        (slot,) = self._db.execute("SELECT min(slot) FROM blocks").fetchone()
        return int(slot or 0)

    def _place(self, signature: bytes | None) -> tuple[int, int] | None:
        if signature is None:
            return None
        row = self._db.execute("SELECT slot, position FROM transactions WHERE signature = ?", (signature,)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]))

    def _write_block(self, block: Block) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
            (block.slot, block.height, block.parent, block.blockhash, block.parent_hash, block.unix_s),
        )

    def _write_landed(self, landed: Landed, mentioned: Sequence[bytes]) -> None:
        place = (landed.slot, landed.position)
        meta = json.dumps(landed.meta, separators=(",", ":"))
        row = (*place, landed.signature, landed.unix_s, landed.version, landed.raw, meta)
        self._db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        self._db.executemany("INSERT INTO mentions VALUES (?, ?, ?)", [(key, *place) for key in mentioned])

    def _write_accounts(self, changes: Mapping[bytes, Account]) -> None:
        for key, account in changes.items():
            if account.lamports:
                values = (key, account.lamports, account.owner, account.data, int(account.executable))
                self._db.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)", values)
            else:
                self._db.execute("DELETE FROM accounts WHERE address = ?", (key,))

    def _prune(self, oldest: int) -> None:
        self._db.execute(
            "DELETE FROM blocks WHERE slot < ? AND slot NOT IN (SELECT slot FROM transactions WHERE slot < ?)",
            (oldest, oldest),
        )


def _landed(row: Sequence[Any]) -> Landed:
    return Landed(bytes(row[0]), row[1], row[2], row[3], row[4], bytes(row[5]), json.loads(row[6]))
