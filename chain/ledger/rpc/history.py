"""Methods about what happened: statuses, signatures of an address, transactions, blocks."""

from __future__ import annotations

from typing import Any

from solders.hash import Hash

from chain.ledger import faults
from chain.ledger.archive import Landed
from chain.ledger.bank import Block
from chain.ledger.encoding import accounts_json, memo_of, parsed_meta, status_json, transaction_json
from chain.ledger.node import Node
from chain.ledger.rpc.blocks import in_context
from chain.ledger.rpc.faults import (
    BLOCK_NOT_AVAILABLE,
    SLOT_SKIPPED,
    UNSUPPORTED_VERSION,
    RpcError,
    invalid_params,
)
from chain.ledger.rpc.params import Config, Params, read_block, signature
from chain.ledger.transactions import read_transaction
from domain.ids import base58_encode

STATUSES_MAX = 256
SIGNATURES_MAX = 1_000
BLOCK_RANGE_MAX = 500_000
ENCODINGS = ("json", "jsonParsed", "base64", "base58", "binary")
DETAILS = ("full", "accounts", "signatures", "none")


def get_signature_statuses(node: Node, params: Params) -> dict[str, Any]:
    """Where up to 256 signatures stand; beyond the recent ones only with searchTransactionHistory."""
    signatures = [signature(item) for item in params.items(0, STATUSES_MAX)]
    searches = params.config(1).flag("searchTransactionHistory")
    newest = node.bank.block("processed")
    return in_context(newest, [_status(node, item, searches, newest) for item in signatures])


def _status(node: Node, item: bytes, searches: bool, newest: Block) -> dict[str, Any] | None:
    if node.bank.landed_slot(item) is None and not searches:
        return None
    landed = node.archive.transaction(item)
    if landed is None or landed.slot > newest.slot:
        return None
    err, commitment = landed.meta["err"], commitment_of(node, landed.slot)
    return {
        "slot": landed.slot,
        "confirmations": None if commitment == "finalized" else newest.slot - landed.slot,
        "err": err,
        "status": status_json(err),
        "confirmationStatus": commitment,
    }


def commitment_of(node: Node, slot: int) -> str:
    """How settled `slot` is."""
    for commitment in ("finalized", "confirmed"):
        if slot <= node.bank.block(commitment).slot:
            return commitment
    return "processed"


def get_signatures_for_address(node: Node, params: Params) -> list[dict[str, Any]]:
    """Signatures that name an address, newest first."""
    key, config = params.pubkey(0), params.config(1)
    config.history_commitment()
    newest = read_block(node, config).slot
    limit = config.number("limit")
    if limit is not None and not 1 <= limit <= SIGNATURES_MAX:
        raise invalid_params(f"Invalid limit; max {SIGNATURES_MAX}")
    found = node.archive.mentioning(
        key, newest, config.signature("before"), config.signature("until"), limit or SIGNATURES_MAX
    )
    return [_signature_json(node, landed) for landed in found]


def _signature_json(node: Node, landed: Landed) -> dict[str, Any]:
    return {
        "signature": base58_encode(landed.signature),
        "slot": landed.slot,
        "err": landed.meta["err"],
        "memo": memo_of(landed.raw),
        "blockTime": landed.unix_s,
        "confirmationStatus": commitment_of(node, landed.slot),
    }


def get_transaction(node: Node, params: Params) -> dict[str, Any] | None:
    """One landed transaction with its logs, null while the asked commitment does not have it."""
    item, config = signature(params.text(0)), params.config(1)
    commitment, encoding = config.history_commitment(), _encoding(config)
    if node.faults.strike(faults.NULL_TRANSACTION):
        return None
    landed = node.archive.transaction(item)
    if landed is None or landed.slot > node.bank.block(commitment).slot:
        return None
    shown = _transaction_json(landed, encoding, config.number("maxSupportedTransactionVersion"))
    return {"slot": landed.slot, "blockTime": landed.unix_s, **shown}


def _encoding(config: Config) -> str:
    encoding = config.text("encoding", "json")
    if encoding not in ENCODINGS:
        raise invalid_params(f"Invalid params: unknown variant `{encoding}`.")
    return encoding


def _transaction_json(landed: Landed, encoding: str, version_max: int | None, details: str = "full") -> dict[str, Any]:
    if landed.version is not None and version_max is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            f"Transaction version ({landed.version}) is not supported by the requesting client. Please try the request"
            ' again with the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    shape = read_transaction(landed.raw)
    shown: dict[str, Any] = {"meta": landed.meta}
    if details == "accounts":
        shown["transaction"] = accounts_json(landed.raw, shape.writable)
    else:
        shown["transaction"] = transaction_json(landed.raw, encoding, shape.writable)
        if encoding == "jsonParsed":
            shown["meta"] = parsed_meta(landed.meta, [base58_encode(key) for key in shape.keys])
    if version_max is not None:
        shown["version"] = "legacy" if landed.version is None else landed.version
    return shown


def get_block(node: Node, params: Params) -> dict[str, Any]:
    """One block with its transactions, as much of them as `transactionDetails` asks for.

    Raises -32004 for a slot that the commitment has not reached, -32007 for one without a block: dropped, or an empty
    one that is no longer kept.
    """
    slot, config = params.number(0), params.config(1)
    commitment, encoding = config.history_commitment(), _encoding(config)
    details = config.text("transactionDetails", "full")
    if details not in DETAILS:
        raise invalid_params(f"Invalid params: unknown variant `{details}`.")
    block = _block_at(node, slot, commitment)
    shown: dict[str, Any] = {
        "blockHeight": block.height,
        "blockTime": block.unix_s,
        "blockhash": str(Hash.from_bytes(block.blockhash)),
        "parentSlot": block.parent,
        "previousBlockhash": str(Hash.from_bytes(block.parent_hash)),
    }
    if config.raw("rewards") is not False:
        shown["rewards"] = []
    if details == "none":
        return shown
    landed = node.archive.in_block(slot)
    if details == "signatures":
        return {**shown, "signatures": [base58_encode(item.signature) for item in landed]}
    version_max = config.number("maxSupportedTransactionVersion")
    return {**shown, "transactions": [_transaction_json(item, encoding, version_max, details) for item in landed]}


def _block_at(node: Node, slot: int, commitment: str) -> Block:
    if slot > node.bank.block(commitment).slot:
        raise RpcError(BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
    block = node.archive.block(slot)
    if block is None:
        raise RpcError(SLOT_SKIPPED, f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")
    return block


def get_block_time(node: Node, params: Params) -> int:
    """Unix seconds of a slot that is still kept."""
    return _block_at(node, params.number(0), "processed").unix_s


def get_blocks(node: Node, params: Params) -> list[int]:
    """Slots that have a block, from one to another; up to the newest one when the second is missing."""
    first = params.number(0)
    second = params.values[1] if params.count > 1 else None
    has_last = second is not None and not isinstance(second, (dict, str))
    config = params.config(1 if isinstance(second, (dict, str)) else 2)
    config.history_commitment()
    newest = read_block(node, config).slot
    last = min(params.number(1), newest) if has_last else newest
    if last - first > BLOCK_RANGE_MAX:
        raise invalid_params(f"Slot range too large; max {BLOCK_RANGE_MAX}")
    return node.archive.blocks_between(first, last, BLOCK_RANGE_MAX)


def get_blocks_with_limit(node: Node, params: Params) -> list[int]:
    """The first `limit` slots from one on that have a block."""
    first, limit, config = params.number(0), params.number(1), params.config(2)
    config.history_commitment()
    if limit > BLOCK_RANGE_MAX:
        raise invalid_params(f"Limit too large; max {BLOCK_RANGE_MAX}")
    return node.archive.blocks_between(first, read_block(node, config).slot, limit)


def get_first_available_block(node: Node, _params: Params) -> int:
    """The oldest slot whose block is kept."""
    return node.archive.first_block()


METHODS = {
    "getSignatureStatuses": get_signature_statuses,
    "getSignaturesForAddress": get_signatures_for_address,
    "getTransaction": get_transaction,
    "getBlock": get_block,
    "getBlockTime": get_block_time,
    "getBlocks": get_blocks,
    "getBlocksWithLimit": get_blocks_with_limit,
    "getFirstAvailableBlock": get_first_available_block,
    "minimumLedgerSlot": get_first_available_block,
}
