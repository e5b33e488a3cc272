"""Methods about transactions to come: sending and simulating."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from solders.hash import Hash

from chain.ledger.bank import Block
from chain.ledger.encoding import inner_json
from chain.ledger.execution import Outcome
from chain.ledger.node import Node
from chain.ledger.rpc.accounts import Display
from chain.ledger.rpc.blocks import in_context
from chain.ledger.rpc.faults import PREFLIGHT_FAILURE, SIGNATURE_FAILURE, RpcError, invalid_params
from chain.ledger.rpc.params import Config, Params, packet, pubkey, read_block
from chain.ledger.transactions import LedgerTransaction, MalformedTransaction, read_transaction

SIMULATED_ACCOUNTS_MAX = 100


def send_transaction(node: Node, params: Params) -> str:
    """Check as the config asks, land, and answer with the signature.

    With skipPreflight a bad signature, an unknown block hash or a repeat is answered like any other and never lands:
    that is what a real node does, because it only forwards.
    """
    config = params.config(1)
    transaction = _read(params.text(0), config.text("encoding", "base58"))
    is_checked = not config.flag("skipPreflight")
    simulated = _preflight(node, transaction, config) if is_checked else None
    node.send(transaction, is_verified=is_checked, simulated=simulated)
    return str(transaction.parsed.signatures[0])


def _preflight(node: Node, transaction: LedgerTransaction, config: Config) -> Outcome | None:
    """Check and simulate; the outcome is returned when it was simulated on the slot in which it will land."""
    block = read_block(node, Config({**config.values, "commitment": config.commitment(name="preflightCommitment")}))
    _verify(transaction)
    outcome = node.bank.simulate(transaction, block)
    if outcome.failure is not None:
        data = _simulation(outcome)
        raise RpcError(PREFLIGHT_FAILURE, f"Transaction simulation failed: {outcome.failure.words}", data)
    return outcome if block is node.bank.tip else None


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


METHODS = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
}
