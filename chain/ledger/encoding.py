"""Accounts and transactions as JSON-RPC shows them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from solders.transaction import VersionedTransaction

from chain.ledger.accounts import MEMO, SYSTEM_PROGRAM, Account, key_text
from chain.ledger.bank import Receipt
from chain.ledger.workspace import InnerCall
from domain.ids import base58_decode, base58_encode

_SYSTEM, _MEMO = key_text(SYSTEM_PROGRAM), key_text(MEMO)

RENT_EPOCH_EXEMPT = 2**64 - 1
"""The epoch a rent-exempt account shows."""
BASE58_BYTES_MAX = 128
"""A node refuses base58 for longer account data, because its cost grows with the square."""


def account_json(account: Account, encoding: str, window: tuple[int, int] | None) -> dict[str, Any]:
    """One account; `window` is the (offset, length) of a dataSlice. jsonParsed falls back to base64, as on a node."""
    data = account.data if window is None else account.data[window[0] : window[0] + window[1]]
    return {
        "lamports": account.lamports,
        "owner": key_text(account.owner),
        "data": _data_json(data, encoding),
        "executable": account.executable,
        "rentEpoch": RENT_EPOCH_EXEMPT,
        "space": len(account.data),
    }


def _data_json(data: bytes, encoding: str) -> Any:
    if encoding == "binary":
        return base58_encode(data)
    if encoding == "base58":
        return [base58_encode(data), "base58"]
    return [base64.b64encode(data).decode(), "base64"]


def status_json(err: Any) -> dict[str, Any]:
    """The older twin of `err` that clients still read."""
    return {"Ok": None} if err is None else {"Err": err}


def meta_json(receipt: Receipt) -> dict[str, Any]:
    """A landed transaction's `meta`."""
    outcome = receipt.outcome
    err = outcome.failure.json if outcome.failure else None
    return {
        "err": err,
        "status": status_json(err),
        "fee": outcome.fee,
        "preBalances": list(outcome.before),
        "postBalances": list(outcome.after),
        "innerInstructions": inner_json(outcome.inner, receipt.transaction.keys),
        "logMessages": list(outcome.logs),
        "preTokenBalances": [],
        "postTokenBalances": [],
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": outcome.units,
    }


def inner_json(inner: Sequence[InnerCall], keys: Sequence[bytes]) -> list[dict[str, Any]]:
    """Cross-program calls grouped by the top-level instruction that made them."""
    return [
        {"index": index, "instructions": [_inner_call(call, keys) for call in calls]}
        for index, calls in groupby(inner, key=lambda call: call.outer_index)
    ]


def _inner_call(call: InnerCall, keys: Sequence[bytes]) -> dict[str, Any]:
    return {
        "programIdIndex": keys.index(call.program_id),
        "accounts": [keys.index(key) for key in call.keys],
        "data": base58_encode(call.data),
        "stackHeight": call.depth,
    }


def transaction_json(raw: bytes, encoding: str, writable: Sequence[bool] = ()) -> Any:
    """A transaction in the asked encoding: base64, base58, json, or jsonParsed with undecoded instructions."""
    if encoding == "base64":
        return [base64.b64encode(raw).decode(), "base64"]
    if encoding == "base58":
        return [base58_encode(raw), "base58"]
    if encoding == "binary":
        return base58_encode(raw)
    parsed = VersionedTransaction.from_bytes(raw)
    message = _parsed_message(parsed, writable) if encoding == "jsonParsed" else _raw_message(parsed)
    return {"signatures": [str(signature) for signature in parsed.signatures], "message": message}


def _raw_message(parsed: VersionedTransaction) -> dict[str, Any]:
    message = parsed.message
    header = message.header
    body: dict[str, Any] = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": call.program_id_index,
                "accounts": list(call.accounts),
                "data": base58_encode(bytes(call.data)),
                "stackHeight": 1,
            }
            for call in message.instructions
        ],
    }
    if parsed.version() == 0:
        body["addressTableLookups"] = []
    return body


def _parsed_message(parsed: VersionedTransaction, writable: Sequence[bool]) -> dict[str, Any]:
    message = parsed.message
    keys = [str(key) for key in message.account_keys]
    signers = message.header.num_required_signatures
    return {
        "accountKeys": [
            {"pubkey": key, "signer": index < signers, "writable": writable[index], "source": "transaction"}
            for index, key in enumerate(keys)
        ],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            _parsed_call(keys[call.program_id_index], [keys[index] for index in call.accounts], bytes(call.data), 1)
            for call in message.instructions
        ],
    }


def _parsed_call(program: str, accounts: list[str], data: bytes, height: int) -> dict[str, Any]:
    """One instruction in words where the program is a simple one, else as it is."""
    named = {"programId": program, "stackHeight": height}
    if program == _MEMO:
        return {**named, "program": "spl-memo", "parsed": data.decode(errors="replace")}
    parsed = _parsed_system(accounts, data) if program == _SYSTEM else None
    if parsed is not None:
        return {**named, "program": "system", "parsed": parsed}
    return {**named, "accounts": accounts, "data": base58_encode(data)}


def _parsed_system(accounts: list[str], data: bytes) -> dict[str, Any] | None:
    """Transfer and CreateAccount, the two that wallets send; None for all else."""
    kind = int.from_bytes(data[:4], "little")
    if len(accounts) < 2 or len(data) < 12:
        return None
    (lamports,) = struct.unpack_from("<Q", data, 4)
    if kind == 2:
        info = {"source": accounts[0], "destination": accounts[1], "lamports": lamports}
        return {"type": "transfer", "info": info}
    if kind == 0 and len(data) >= 52:
        info = {
            "source": accounts[0],
            "newAccount": accounts[1],
            "lamports": lamports,
            "space": int.from_bytes(data[12:20], "little"),
            "owner": key_text(data[20:52]),
        }
        return {"type": "createAccount", "info": info}
    return None


def accounts_json(raw: bytes, writable: Sequence[bool]) -> dict[str, Any]:
    """A transaction as a block shows it with `transactionDetails: accounts`."""
    parsed = VersionedTransaction.from_bytes(raw)
    keys = _parsed_message(parsed, writable)["accountKeys"]
    return {"signatures": [str(signature) for signature in parsed.signatures], "accountKeys": keys}


def memo_of(raw: bytes) -> str | None:
    """The memos of a transaction as a signature list shows them, `[length] text; ...`, or None."""
    if MEMO not in raw:
        return None
    message = VersionedTransaction.from_bytes(raw).message
    memos = [bytes(c.data) for c in message.instructions if bytes(message.account_keys[c.program_id_index]) == MEMO]
    return "; ".join(f"[{len(memo)}] {memo.decode(errors='replace')}" for memo in memos) or None


def parsed_meta(meta: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """`meta` for jsonParsed: inner instructions name addresses instead of positions."""
    groups = [
        {"index": group["index"], "instructions": [_parsed_inner(call, keys) for call in group["instructions"]]}
        for group in meta["innerInstructions"]
    ]
    return {**meta, "innerInstructions": groups}


def _parsed_inner(call: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    accounts = [keys[index] for index in call["accounts"]]
    return _parsed_call(keys[call["programIdIndex"]], accounts, base58_decode(call["data"]), call["stackHeight"])
