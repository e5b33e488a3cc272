"""Methods about transactions: sending, simulating, following, reading back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from solders.hash import Hash

from chain.ledger.archive import Landed
from chain.ledger.bank import Block
from chain.ledger.encoding import inner_json, parsed_meta, status_json, transaction_json
from chain.ledger.execution import Outcome
from chain.ledger.node import Node
from chain.ledger.rpc.accounts import Display
from chain.ledger.rpc.blocks import in_context
from chain.ledger.rpc.faults import PREFLIGHT_FAILURE, SIGNATURE_FAILURE, UNSUPPORTED_VERSION, RpcError, invalid_params
from chain.ledger.rpc.params import Config, Params, packet, pubkey, read_block, signature
from chain.ledger.transactions import LedgerTransaction, MalformedTransaction, read_transaction
from domain.ids import base58_encode

STATUSES_MAX = 256
SIGNATURES_MAX = 1_000
SIMULATED_ACCOUNTS_MAX = 100
ENCODINGS = ("json", "jsonParsed", "base64", "base58", "binary")


def send_transaction(node: Node, params: Params) -> str:
    """Check as the config asks, land, and answer with the signature.

    With skipPreflight a bad signature, an unknown block hash or a repeat is answered like any other and never lands:
    that is what a real node does, because it only forwards.
    """
    config = params.config(1)
    transaction = _read(params.text(0), config.text("encoding", "base58"))
    is_checked = not config.flag("skipPreflight")
    if is_checked:
        _preflight(node, transaction, config)
    node.submit(transaction, is_verified=is_checked)
    return base58_encode(transaction.signature)


def _preflight(node: Node, transaction: LedgerTransaction, config: Config) -> None:
    block = read_block(node, Config({**config.values, "commitment": config.commitment(name="preflightCommitment")}))
    _verify(transaction)
    outcome = node.bank.simulate(transaction, block)
    if outcome.failure is not None:
        data = _simulation(outcome)
        raise RpcError(PREFLIGHT_FAILURE, f"Transaction simulation failed: {outcome.failure.words}", data)


def _verify(transaction: LedgerTransaction) -> None:
    if not transaction.signatures_hold():
        raise RpcError(SIGNATURE_FAILURE, "Transaction signature verification failure")


def _read(text: str, encoding: str) -> LedgerTransaction:
    try:
        return read_transaction(packet(text, encoding))
    except MalformedTransaction as error:
        message = f"failed to deserialize solana_transaction::versioned::VersionedTransaction: {error}"
        raise invalid_params(message) from error


def _simulation(outcome: Outcome) -> dict[str, Any]:
    return {
        "err": outcome.failure.json if outcome.failure else None,
        "logs": list(outcome.logs),
        "accounts": None,
        "unitsConsumed": outcome.units,
        "returnData": None,
        "innerInstructions": None,
    }


def simulate_transaction(node: Node, params: Params) -> dict[str, Any]:
    """Run a transaction on the state of a commitment and change nothing."""
    config = params.config(1)
    transaction = _read(params.text(0), config.text("encoding", "base58"))
    block = read_block(node, config)
    replaces = config.flag("replaceRecentBlockhash")
    if config.flag("sigVerify"):
        if replaces:
            raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
        _verify(transaction)
    if replaces:
        transaction = replace(transaction, blockhash=block.blockhash)
    outcome = node.bank.simulate(transaction, block)
    value = _simulation(outcome)
    if replaces:
        height = node.bank.last_valid_height(block.blockhash)
        blockhash = str(Hash.from_bytes(block.blockhash))
        value["replacementBlockhash"] = {"blockhash": blockhash, "lastValidBlockHeight": height}
    if config.flag("innerInstructions"):
        value["innerInstructions"] = inner_json(outcome.inner, transaction.keys)
    value["accounts"] = _simulated_accounts(node, config.raw("accounts"), outcome, block)
    return in_context(block, value)


def _simulated_accounts(node: Node, wanted: Any, outcome: Outcome, block: Block) -> list[Any] | None:
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or not isinstance(wanted.get("addresses"), list):
        raise invalid_params("Invalid params: accounts needs addresses.")
    if len(wanted["addresses"]) > SIMULATED_ACCOUNTS_MAX:
        raise invalid_params(f"Too many accounts provided; max {SIMULATED_ACCOUNTS_MAX}")
    display = Display(Config({"encoding": wanted.get("encoding") or "base64"}))
    keys = [pubkey(address) for address in wanted["addresses"]]
    after = [outcome.changes.get(key) or node.bank.account(key, block.slot) for key in keys]
    return [display.show(account) if account else None for account in after]


def get_signature_statuses(node: Node, params: Params) -> dict[str, Any]:
    """Where up to 256 signatures stand; beyond the recent ones only with searchTransactionHistory."""
    signatures = [signature(item) for item in params.items(0, STATUSES_MAX)]
    searches = params.config(1).flag("searchTransactionHistory")
    return in_context(node.bank.tip, [_status(node, item, searches) for item in signatures])


def _status(node: Node, item: bytes, searches: bool) -> dict[str, Any] | None:
    if node.bank.landed_slot(item) is None and not searches:
        return None
    landed = node.archive.transaction(item)
    if landed is None:
        return None
    err, commitment = landed.meta["err"], commitment_of(node, landed.slot)
    return {
        "slot": landed.slot,
        "confirmations": None if commitment == "finalized" else node.bank.tip.slot - landed.slot,
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
        "memo": None,
        "blockTime": landed.unix_s,
        "confirmationStatus": commitment_of(node, landed.slot),
    }


def get_transaction(node: Node, params: Params) -> dict[str, Any] | None:
    """One landed transaction with its logs, null while the asked commitment does not have it."""
    item, config = signature(params.text(0)), params.config(1)
    commitment = config.history_commitment()
    encoding = config.text("encoding", "json")
    if encoding not in ENCODINGS:
        raise invalid_params(f"Invalid params: unknown variant `{encoding}`.")
    landed = node.archive.transaction(item)
    if landed is None or landed.slot > node.bank.block(commitment).slot:
        return None
    return _transaction_json(landed, encoding, config.number("maxSupportedTransactionVersion"))


def _transaction_json(landed: Landed, encoding: str, version_max: int | None) -> dict[str, Any]:
    if landed.version is not None and version_max is None:
        raise RpcError(
            UNSUPPORTED_VERSION,
            f"Transaction version ({landed.version}) is not supported by the requesting client. Please try the request"
            ' again with the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    shape = read_transaction(landed.raw)
    meta: dict[str, Any] = landed.meta
    if encoding == "jsonParsed":
        meta = parsed_meta(meta, [base58_encode(key) for key in shape.keys])
    shown = {
        "slot": landed.slot,
        "blockTime": landed.unix_s,
        "meta": meta,
        "transaction": transaction_json(landed.raw, encoding, shape.writable),
    }
    if version_max is not None:
        shown["version"] = "legacy" if landed.version is None else landed.version
    return shown


METHODS = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
    "getSignatureStatuses": get_signature_statuses,
    "getSignaturesForAddress": get_signatures_for_address,
    "getTransaction": get_transaction,
}
