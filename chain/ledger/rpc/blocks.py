"""Methods about slots, fees and the node itself."""

from __future__ import annotations

from typing import Any

from solders.hash import Hash

from chain.ledger import builtins, sysvars
from chain.ledger.bank import Block
from chain.ledger.execution import LAMPORTS_PER_SIGNATURE
from chain.ledger.failures import TransactionFailure
from chain.ledger.node import Node
from chain.ledger.rpc.faults import NODE_UNHEALTHY, RpcError, invalid_params
from chain.ledger.rpc.params import Params, packet, pubkey, read_block
from chain.ledger.transactions import MalformedTransaction, read_message, resolve

VERSION = "2.2.0+zmart-ledger"
"""The node version whose answers these are, and what really answers."""
API_VERSION = "2.2.0"
FEATURE_SET = 0
FEE_HISTORY_SLOTS = 150
FEE_ADDRESSES_MAX = 128


def in_context(block: Block, value: Any) -> dict[str, Any]:
    """An answer with the slot it was read at."""
    return {"context": {"slot": block.slot, "apiVersion": API_VERSION}, "value": value}


def get_health(node: Node, _params: Params) -> str:
    """`ok` unless reads lag behind what the chain has done."""
    behind = node.bank.tip.slot - node.bank.block("processed").slot
    if behind:
        raise RpcError(NODE_UNHEALTHY, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})
    return "ok"


def get_version(_node: Node, _params: Params) -> dict[str, Any]:
    """The API version served and the name of what serves it."""
    return {"solana-core": VERSION, "feature-set": FEATURE_SET}


def get_genesis_hash(node: Node, _params: Params) -> str:
    """The chain's name: made once per data dir."""
    return str(Hash.from_bytes(node.genesis_hash))


def get_slot(node: Node, params: Params) -> int:
    """The newest slot of a commitment."""
    return read_block(node, params.config(0)).slot


def get_block_height(node: Node, params: Params) -> int:
    """How many blocks lie below the newest one of a commitment."""
    return read_block(node, params.config(0)).height


def get_transaction_count(node: Node, params: Params) -> int:
    """Transactions landed since genesis."""
    read_block(node, params.config(0))
    return node.bank.transaction_count


def get_epoch_info(node: Node, params: Params) -> dict[str, int]:
    """Slot, height and place in the epoch."""
    block = read_block(node, params.config(0))
    epoch, index = divmod(block.slot, sysvars.SLOTS_PER_EPOCH)
    return {
        "absoluteSlot": block.slot,
        "blockHeight": block.height,
        "epoch": epoch,
        "slotIndex": index,
        "slotsInEpoch": sysvars.SLOTS_PER_EPOCH,
        "transactionCount": node.bank.transaction_count,
    }


def get_latest_blockhash(node: Node, params: Params) -> dict[str, Any]:
    """The hash to sign with, and the last block height at which it is good."""
    block = read_block(node, params.config(0))
    height = node.bank.last_valid_height(block.blockhash)
    return in_context(block, {"blockhash": str(Hash.from_bytes(block.blockhash)), "lastValidBlockHeight": height})


def is_blockhash_valid(node: Node, params: Params) -> dict[str, Any]:
    """Whether a transaction with this hash could still land."""
    blockhash = pubkey(params.text(0))
    block = read_block(node, params.config(1))
    return in_context(block, node.bank.is_blockhash_valid(blockhash, block))


def get_fee_for_message(node: Node, params: Params) -> dict[str, Any]:
    """Lamports the message would cost; null when its hash is unknown or expired."""
    raw = packet(params.text(0), "base64")
    block = read_block(node, params.config(1))
    try:
        shape = resolve(read_message(raw))
    except MalformedTransaction as error:
        raise invalid_params(f"invalid message: {error}") from error
    budget = builtins.read_budget(shape.calls)
    if isinstance(budget, TransactionFailure) or not node.bank.is_blockhash_valid(shape.blockhash, block):
        return in_context(block, None)
    return in_context(block, LAMPORTS_PER_SIGNATURE * shape.signer_count + budget.priority_fee)


def get_recent_prioritization_fees(node: Node, params: Params) -> list[dict[str, int]]:
    """Always zero per slot: blocks here are never full, so no fee is ever needed to get in."""
    if params.count:
        for address in params.items(0, FEE_ADDRESSES_MAX):
            pubkey(address)
    newest = node.bank.block("processed").slot
    recent = [b.slot for b in node.bank.recent_blocks() if newest - FEE_HISTORY_SLOTS < b.slot <= newest]
    return [{"slot": slot, "prioritizationFee": 0} for slot in recent]


METHODS = {
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "getSlot": get_slot,
    "getBlockHeight": get_block_height,
    "getTransactionCount": get_transaction_count,
    "getEpochInfo": get_epoch_info,
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getFeeForMessage": get_fee_for_message,
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
}
