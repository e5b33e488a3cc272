"""The programs every Solana node has: system, compute budget, memo.

System runs CreateAccount, Assign, Transfer and Allocate; its other instructions are refused as unknown data.
Log lines and errors are those of the real runtime (a test compares them with solders.litesvm).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chain.ledger import accounts
from chain.ledger.accounts import Account, key_text
from chain.ledger.failures import InstructionFailure, TransactionFailure, duplicate_instruction, failed_instruction
from chain.ledger.transactions import Call, Meta
from chain.ledger.workspace import Frame

SYSTEM_UNITS = 150
COMPUTE_BUDGET_UNITS = 150
MEMO_UNITS = 1_382
MEMO_UNITS_PER_BYTE = 368
MEMO_UNITS_PER_SIGNER = 11_725

BUILTIN_UNITS_DEFAULT = 3_000
CALL_UNITS_DEFAULT = 200_000
UNITS_MAX = 1_400_000

ACCOUNT_BYTES_MAX = 10 * 1024 * 1024
ALREADY_IN_USE = 0
RESULT_WITH_NEGATIVE_LAMPORTS = 1
INVALID_ACCOUNT_DATA_LENGTH = 3

BUILTINS = frozenset({accounts.SYSTEM_PROGRAM, accounts.COMPUTE_BUDGET})
NATIVE = BUILTINS | {accounts.MEMO}
"""Every program here that is not zmart_core."""

Prepared = tuple[tuple[Meta, ...], bytes]
"""The accounts and data of a call one program makes to another."""


def system(frame: Frame) -> None:
    """Run one System program instruction."""
    frame.spend(SYSTEM_UNITS)
    if len(frame.data) < 4:
        raise InstructionFailure("InvalidInstructionData")
    (kind,) = struct.unpack_from("<I", frame.data)
    if kind == 0:
        lamports, space, owner = _arguments("<QQ32s", frame.data)
        _create(frame, frame.meta(0), frame.meta(1), lamports, space, owner)
    elif kind == 1:
        (owner,) = _arguments("<32s", frame.data)
        _assign(frame, frame.meta(0), owner)
    elif kind == 2:
        (lamports,) = _arguments("<Q", frame.data)
        _transfer(frame, frame.meta(0), frame.meta(1), lamports)
    elif kind == 8:
        (space,) = _arguments("<Q", frame.data)
        _allocate(frame, frame.meta(0), space)
    else:
        raise InstructionFailure("InvalidInstructionData")


def compute_budget(frame: Frame) -> None:
    """Accept a compute-budget instruction; its numbers were read before anything ran."""
    frame.spend(COMPUTE_BUDGET_UNITS)


def memo(frame: Frame) -> None:
    """Log a UTF-8 memo; every account given must sign."""
    frame.spend(MEMO_UNITS + MEMO_UNITS_PER_BYTE * len(frame.data) + MEMO_UNITS_PER_SIGNER * len(frame.metas))
    for meta in frame.metas:
        if not meta.is_signer:
            raise InstructionFailure("MissingRequiredSignature")
        frame.log(f"Program log: Signed by {key_text(meta.key)}")
    try:
        text = frame.data.decode()
    except UnicodeDecodeError as error:
        frame.log(f"Program log: Invalid UTF-8, from byte {error.start}")
        raise InstructionFailure("InvalidInstructionData") from error
    quoted = json.dumps(text, ensure_ascii=False)
    frame.log(f"Program log: Memo (len {len(frame.data)}): {quoted}")


def system_create(payer: bytes, created: bytes, lamports: int, space: int, owner: bytes) -> Prepared:
    """A CreateAccount call as a program makes it for its PDA."""
    metas = (Meta(payer, True, True), Meta(created, True, True))
    return metas, struct.pack("<IQQ32s", 0, lamports, space, owner)


def system_allocate(allocated: bytes, space: int) -> Prepared:
    """An Allocate call."""
    return (Meta(allocated, True, True),), struct.pack("<IQ", 8, space)


def system_assign(assigned: bytes, owner: bytes) -> Prepared:
    """An Assign call."""
    return (Meta(assigned, True, True),), struct.pack("<I32s", 1, owner)


def system_transfer(source: bytes, target: bytes, lamports: int) -> Prepared:
    """A Transfer call."""
    return (Meta(source, True, True), Meta(target, False, True)), struct.pack("<IQ", 2, lamports)


def _arguments(layout: str, data: bytes) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, 4)
    except struct.error as error:
        raise InstructionFailure("InvalidInstructionData") from error


def _address(key: bytes) -> str:
    return f"Address {{ address: {key_text(key)}, base: None }}"


def _create(frame: Frame, source: Meta, created: Meta, lamports: int, space: int, owner: bytes) -> None:
    if frame.account(created.key).lamports:
        frame.log(f"Create Account: account {_address(created.key)} already in use")
        raise InstructionFailure(custom=ALREADY_IN_USE)
    _allocate(frame, created, space)
    _assign(frame, created, owner)
    _transfer(frame, source, created, lamports)


def _allocate(frame: Frame, meta: Meta, space: int) -> None:
    account = frame.account(meta.key)
    if not meta.is_signer:
        frame.log(f"Allocate: 'to' account {_address(meta.key)} must sign")
        raise InstructionFailure("MissingRequiredSignature")
    if account.data or account.owner != accounts.SYSTEM_PROGRAM:
        frame.log(f"Allocate: account {_address(meta.key)} already in use")
        raise InstructionFailure(custom=ALREADY_IN_USE)
    if space > ACCOUNT_BYTES_MAX:
        frame.log(f"Allocate: requested {space}, max allowed {ACCOUNT_BYTES_MAX}")
        raise InstructionFailure(custom=INVALID_ACCOUNT_DATA_LENGTH)
    frame.write(meta, replace(account, data=bytes(space)))


def _assign(frame: Frame, meta: Meta, owner: bytes) -> None:
    account = frame.account(meta.key)
    if account.owner == owner:
        return
    if not meta.is_signer:
        frame.log(f"Assign: account {_address(meta.key)} must sign")
        raise InstructionFailure("MissingRequiredSignature")
    if account.owner != accounts.SYSTEM_PROGRAM:
        raise InstructionFailure("ModifiedProgramId")
    frame.write(meta, replace(account, owner=owner))


def _transfer(frame: Frame, source: Meta, target: Meta, lamports: int) -> None:
    paying = frame.account(source.key)
    if not source.is_signer:
        frame.log(f"Transfer: `from` account {key_text(source.key)} must sign")
        raise InstructionFailure("MissingRequiredSignature")
    if paying.data:
        frame.log("Transfer: `from` must not carry data")
        raise InstructionFailure("InvalidArgument")
    if paying.lamports < lamports:
        frame.log(f"Transfer: insufficient lamports {paying.lamports}, need {lamports}")
        raise InstructionFailure(custom=RESULT_WITH_NEGATIVE_LAMPORTS)
    if paying.owner != accounts.SYSTEM_PROGRAM and lamports:
        raise InstructionFailure("ExternalAccountLamportSpend")
    frame.write(source, paying.holding(paying.lamports - lamports))
    receiving = frame.account(target.key)
    frame.write(target, receiving.holding(receiving.lamports + lamports))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a transaction asks for: compute units, and micro-lamports for each of them."""

    units: int
    price_micro_lamports: int

    @property
    def priority_fee(self) -> int:
        """Lamports on top of the signature fee, rounded up."""
        return -(-self.units * self.price_micro_lamports // 1_000_000)


def read_budget(calls: Sequence[Call]) -> Budget | TransactionFailure:
    """Read the compute-budget instructions; a malformed or repeated one fails the transaction before it runs."""
    asked: dict[int, int] = {}
    units_default = 0
    for index, call in enumerate(calls):
        units_default += BUILTIN_UNITS_DEFAULT if call.program_id in BUILTINS else CALL_UNITS_DEFAULT
        if call.program_id != accounts.COMPUTE_BUDGET:
            continue
        setting = _budget_setting(call.data)
        if setting is None:
            return failed_instruction(index, InstructionFailure("InvalidInstructionData"))
        if setting[0] in asked:
            return duplicate_instruction(index)
        asked[setting[0]] = setting[1]
    return Budget(min(asked.get(2, units_default), UNITS_MAX), asked.get(3, 0))


def _budget_setting(data: bytes) -> tuple[int, int] | None:
    """(kind, value): 1 heap frame, 2 unit limit, 3 unit price, 4 loaded account bytes."""
    layouts = {1: "<I", 2: "<I", 3: "<Q", 4: "<I"}
    if not data or data[0] not in layouts or len(data) - 1 < struct.calcsize(layouts[data[0]]):
        return None
    (value,) = struct.unpack_from(layouts[data[0]], data, 1)
    return data[0], int(value)


def native_accounts() -> dict[bytes, Account]:
    """The builtin programs' own accounts, as `getAccountInfo` shows them."""
    return {
        accounts.SYSTEM_PROGRAM: Account(1, accounts.NATIVE_LOADER, b"system_program", executable=True),
        accounts.COMPUTE_BUDGET: Account(1, accounts.NATIVE_LOADER, b"compute_budget_program", executable=True),
        accounts.MEMO: Account(accounts.rent_exempt_lamports(36), accounts.BPF_LOADER, bytes(36), executable=True),
    }
