"""Raw webhooks of 50 trades each, as Helius posts them: 90 KB and more, every transaction with a log of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from collections.abc import Sequence
from typing import Any

from chain.program import NEWEST_PROGRAM_ID
from domain.ids import MarketId, base58_encode, key_bytes

ITEMS = 50
BYTES_MIN = 90 * 1024
_BOUGHT = hashlib.sha256(b"event:SharesBought").digest()[:8]
_FIELDS = struct.Struct("<32s32s?QQQq")
_SYSTEM = "1" * 32
_TRANSFER = (f"Program {_SYSTEM} invoke [2]", f"Program {_SYSTEM} success")
_HEADER = {"numReadonlySignedAccounts": 0, "numReadonlyUnsignedAccounts": 3, "numRequiredSignatures": 1}
_LAMPORTS = 10_000_000_000


def body(markets: Sequence[MarketId], wallets: Sequence[str], slot: int, at_s: int) -> bytes:
    """One body: 50 purchases in one slot by some of the wallets, in transactions that nobody has seen."""
    items = [_item(secrets.choice(markets), secrets.choice(wallets), slot, index, at_s) for index in range(ITEMS)]
    text = json.dumps(items).encode()
    assert len(text) >= BYTES_MIN, f"{len(text)} bytes are too few"
    return text


def logs_of(body_bytes: bytes) -> list[list[str]]:
    """The logs in a body."""
    return [item["meta"]["logMessages"] for item in json.loads(body_bytes)]


def _item(market_id: MarketId, wallet: str, slot: int, index: int, at_s: int) -> dict[str, Any]:
    keys = [wallet, *(base58_encode(secrets.token_bytes(32)) for _ in range(4)), _SYSTEM, NEWEST_PROGRAM_ID]
    balances = [_LAMPORTS + index * place for place in range(len(keys))]
    inner = [{"index": 0, "instructions": [_instruction(keys[4:6]), _instruction(keys[4:6])]}]
    return {
        "blockTime": at_s,
        "indexWithinBlock": index,
        "meta": {
            "computeUnitsConsumed": 91_234,
            "err": None,
            "fee": 5_000,
            "innerInstructions": inner,
            "loadedAddresses": {"readonly": [], "writable": []},
            "logMessages": _log(market_id, wallet, at_s),
            "postBalances": balances,
            "postTokenBalances": [],
            "preBalances": balances,
            "preTokenBalances": [],
            "rewards": [],
        },
        "slot": slot,
        "transaction": {
            "message": {
                "accountKeys": keys,
                "addressTableLookups": None,
                "header": _HEADER,
                "instructions": [_instruction(keys)],
                "recentBlockhash": base58_encode(secrets.token_bytes(32)),
            },
            "signatures": [base58_encode(b"\x01" + secrets.token_bytes(63))],
        },
        "version": "legacy",
    }


def _instruction(keys: Sequence[str]) -> dict[str, Any]:
    data = base58_encode(secrets.token_bytes(17))
    return {"accounts": list(range(len(keys))), "data": data, "programIdIndex": 6, "stackHeight": None}


def _log(market_id: MarketId, wallet: str, at_s: int) -> list[str]:
    fields = (key_bytes(market_id), key_bytes(wallet), True, secrets.randbits(40), _LAMPORTS, 500_000_000, at_s)
    event = base64.b64encode(_BOUGHT + _FIELDS.pack(*fields)).decode()
    return [
        f"Program {NEWEST_PROGRAM_ID} invoke [1]",
        "Program log: Instruction: BuyShares",
        *_TRANSFER,
        *_TRANSFER,
        f"Program data: {event}",
        f"Program {NEWEST_PROGRAM_ID} consumed 91084 of 200000 compute units",
        f"Program {NEWEST_PROGRAM_ID} success",
    ]
