"""A signed transaction as the ledger reads it: raw keys and resolved privileges, legacy or v0."""

from __future__ import annotations

from dataclasses import dataclass

from solders.errors import BincodeError
from solders.message import Message, MessageV0, from_bytes_versioned
from solders.transaction import SanitizeError, VersionedTransaction

from chain.ledger import accounts

PACKET_BYTES_MAX = 1_232
"""Largest transaction one network packet carries; a node refuses longer ones."""

_NEVER_WRITABLE = frozenset(
    {
        accounts.SYSTEM_PROGRAM,
        accounts.NATIVE_LOADER,
        accounts.BPF_LOADER,
        accounts.COMPUTE_BUDGET,
        accounts.SYSVAR_OWNER,
        accounts.CLOCK_SYSVAR,
        accounts.RENT_SYSVAR,
    }
)


class MalformedTransaction(ValueError):
    """Bytes that are no transaction."""


@dataclass(frozen=True, slots=True)
class Meta:
    """One account of an instruction with the privileges the caller grants."""

    key: bytes
    is_signer: bool
    is_writable: bool


@dataclass(frozen=True, slots=True)
class Call:
    """One top-level instruction."""

    program_id: bytes
    metas: tuple[Meta, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """A message: `keys` in order, `calls` with resolved privileges; `version` is None for a legacy one."""

    keys: tuple[bytes, ...]
    writable: tuple[bool, ...]
    calls: tuple[Call, ...]
    signer_count: int
    blockhash: bytes
    version: int | None
    uses_lookup_tables: bool


@dataclass(frozen=True, slots=True)
class LedgerTransaction(Shape):
    """One signed transaction; `raw` is what the archive keeps."""

    raw: bytes
    parsed: VersionedTransaction
    signatures: tuple[bytes, ...]

    @property
    def signature(self) -> bytes:
        """The first signature: the transaction's name."""
        return self.signatures[0]

    def signatures_hold(self) -> bool:
        """Whether every required signature is the ed25519 signature of its key over the message."""
        return all(self.parsed.verify_with_results())


def read_transaction(raw: bytes) -> LedgerTransaction:
    """Read wire bytes; raises `MalformedTransaction` for what no node would accept."""
    parsed = _parse(raw)
    shape = resolve(parsed.message)
    return LedgerTransaction(
        keys=shape.keys,
        writable=shape.writable,
        calls=shape.calls,
        signer_count=shape.signer_count,
        blockhash=shape.blockhash,
        version=shape.version,
        uses_lookup_tables=shape.uses_lookup_tables,
        raw=raw,
        parsed=parsed,
        signatures=tuple(bytes(signature) for signature in parsed.signatures),
    )


def read_message(raw: bytes) -> Message | MessageV0:
    """Read a serialized message; raises `MalformedTransaction`."""
    try:
        return from_bytes_versioned(raw)
    except (BincodeError, ValueError) as error:
        raise MalformedTransaction(str(error)) from error


def _parse(raw: bytes) -> VersionedTransaction:
    try:
        parsed = VersionedTransaction.from_bytes(raw)
        parsed.sanitize()
    except (BincodeError, SanitizeError, ValueError) as error:
        raise MalformedTransaction(str(error)) from error
    if bytes(parsed) != raw:
        raise MalformedTransaction("trailing bytes")
    return parsed


def resolve(message: Message | MessageV0) -> Shape:
    """Read a message's accounts and calls; raises `MalformedTransaction` for an index beyond its keys."""
    keys = tuple(bytes(key) for key in message.account_keys)
    signer_count = message.header.num_required_signatures
    called = {keys[call.program_id_index] for call in message.instructions if call.program_id_index < len(keys)}
    writable = tuple(
        _may_write(message, index) and key not in called and key not in _NEVER_WRITABLE
        for index, key in enumerate(keys)
    )
    metas = tuple(Meta(key, index < signer_count, writable[index]) for index, key in enumerate(keys))
    uses_tables = isinstance(message, MessageV0) and bool(message.address_table_lookups)
    return Shape(
        keys=keys,
        writable=writable,
        calls=() if uses_tables else tuple(_calls(message, metas)),
        signer_count=signer_count,
        blockhash=bytes(message.recent_blockhash),
        version=0 if isinstance(message, MessageV0) else None,
        uses_lookup_tables=uses_tables,
    )


def _may_write(message: Message | MessageV0, index: int) -> bool:
    header = message.header
    if index < header.num_required_signatures:
        return index < header.num_required_signatures - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts


def _calls(message: Message | MessageV0, metas: tuple[Meta, ...]) -> list[Call]:
    try:
        return [
            Call(metas[call.program_id_index].key, tuple(metas[index] for index in call.accounts), bytes(call.data))
            for call in message.instructions
        ]
    except IndexError as error:
        raise MalformedTransaction("an instruction names an account beyond the message's keys") from error
