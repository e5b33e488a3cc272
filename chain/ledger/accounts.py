"""Accounts as the ledger keeps them: raw bytes, versioned by slot until the slot is final."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from solders.pubkey import Pubkey

SYSTEM_PROGRAM = bytes(32)
NATIVE_LOADER = bytes(Pubkey.from_string("NativeLoader1111111111111111111111111111111"))
BPF_LOADER = bytes(Pubkey.from_string("BPFLoader2111111111111111111111111111111111"))
COMPUTE_BUDGET = bytes(Pubkey.from_string("ComputeBudget111111111111111111111111111111"))
MEMO = bytes(Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"))
SYSVAR_OWNER = bytes(Pubkey.from_string("Sysvar1111111111111111111111111111111111111"))
CLOCK_SYSVAR = bytes(Pubkey.from_string("SysvarC1ock11111111111111111111111111111111"))
RENT_SYSVAR = bytes(Pubkey.from_string("SysvarRent111111111111111111111111111111111"))

_STORAGE_OVERHEAD_BYTES = 128
_LAMPORTS_PER_BYTE = 6_960
"""3,480 lamports per byte and year, times the two years that make an account rent-exempt (CI 4)."""


def rent_exempt_lamports(size: int) -> int:
    """What an account of `size` data bytes must hold to exist."""
    return (_STORAGE_OVERHEAD_BYTES + size) * _LAMPORTS_PER_BYTE


def key_text(key: bytes) -> str:
    """A 32-byte key in base58."""
    return str(Pubkey(key))


@dataclass(frozen=True, slots=True)
class Account:
    """One account's whole state; 0 lamports means it does not exist."""

    lamports: int = 0
    owner: bytes = SYSTEM_PROGRAM
    data: bytes = b""
    executable: bool = False

    def holding(self, lamports: int) -> Account:
        """The same account with other lamports; `dataclasses.replace` takes five times as long, on every transfer."""
        return Account(lamports, self.owner, self.data, self.executable)


ABSENT = Account()


class Accounts:
    """Every account's versions by slot; a read at slot S sees the newest version written at or before S."""

    def __init__(self, settled: Mapping[bytes, Account]) -> None:
        self._versions: dict[bytes, list[tuple[int, Account]]] = {k: [(-1, v)] for k, v in settled.items()}
        self._written: dict[int, set[bytes]] = {}
        self._owned: dict[bytes, set[bytes]] = {}
        """Every address that an owner has, or had a while ago: where to look, never the answer."""
        for key, account in settled.items():
            self._owned.setdefault(account.owner, set()).add(key)

    def at(self, key: bytes, slot: int) -> Account | None:
        """The account as of `slot`, or None when it does not exist then."""
        for written, account in reversed(self._versions.get(key, ())):
            if written <= slot:
                return account if account.lamports else None
        return None

    def put(self, slot: int, changes: Mapping[bytes, Account]) -> None:
        """Write `changes` at `slot`, which is never older than a slot written before."""
        written = self._written.setdefault(slot, set())
        for key, account in changes.items():
            versions = self._versions.setdefault(key, [])
            if versions and versions[-1][0] == slot:
                versions.pop()
            versions.append((slot, account))
            written.add(key)
            self._owned.setdefault(account.owner, set()).add(key)

    def rewind(self, slot: int) -> set[bytes]:
        """Undo everything written at or after `slot`, which is not settled; gives the addresses that were touched."""
        undone = [written for written in self._written if written >= slot]
        touched = {key for written in undone for key in self._written.pop(written)}
        for key in touched:
            versions = self._versions[key]
            while versions and versions[-1][0] >= slot:
                versions.pop()
            if not versions:
                del self._versions[key]
        return touched

    def settle(self, slot: int) -> None:
        """Forget what was overwritten at or before `slot`: nobody can read behind the finalized slot."""
        for key in self._written.pop(slot, ()):
            versions = self._versions[key]
            while len(versions) > 1 and versions[1][0] <= slot:
                versions.pop(0)
            if len(versions) == 1 and not versions[0][1].lamports:
                self._owned[versions[0][1].owner].discard(key)
                del self._versions[key]

    def owned_by(self, owner: bytes, slot: int) -> Iterator[tuple[bytes, Account]]:
        """Every account of `owner` as of `slot`, in no promised order."""
        for key in self._owned.get(owner, ()):
            account = self.at(key, slot)
            if account is not None and account.owner == owner:
                yield key, account

    def keys(self) -> Iterable[bytes]:
        """Every address that has a version."""
        return self._versions.keys()
