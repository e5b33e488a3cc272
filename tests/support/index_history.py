"""A chain with a past: several transactions in a slot, some failed, some with equal events; and their webhooks."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import VersionedTransaction

from chain.ledger.bank import Receipt
from chain.ledger.failures import TransactionFailure
from chain.ledger.transactions import read_transaction
from chain.ledger.webhooks import raw_webhook
from domain.ids import MarketId, base58_encode
from tests.support.stage import Stage, wallet
from tests.support.walk import MARKETS, Walk

TICK_SHARE = 0.4
DOUBLE_SHARE = 0.1
MARKET_CALLS = 25
"""Calls for each market: one that has ended refuses nearly all."""


class BusyStage(Stage):
    """A stage whose slots hold several transactions; keeps what landed."""

    def __init__(self, data_dir: Path, rng: random.Random) -> None:
        super().__init__(data_dir)
        self._rng = rng
        self.landed: list[Receipt] = []

    def send(self, call: Instruction, *signers: Keypair) -> Receipt | TransactionFailure:
        """As the stage, but the slot goes by only now and then, and whenever the same bytes would land twice."""
        return self.send_all([call], *signers)

    def send_all(self, calls: list[Instruction], *signers: Keypair) -> Receipt | TransactionFailure:
        """Several calls in one transaction."""
        if self._rng.random() < TICK_SHARE:
            self.node.tick(self.second)
        receipt = self._submit(calls, *signers)
        if not isinstance(receipt, Receipt):
            self.node.tick(self.second)
            receipt = self._submit(calls, *signers)
        if isinstance(receipt, Receipt):
            self.landed.append(receipt)
        return receipt

    def _submit(self, calls: list[Instruction], *signers: Keypair) -> Receipt | TransactionFailure:
        blockhash = Hash.from_bytes(self.node.bank.tip.blockhash)
        message = Message.new_with_blockhash(calls, signers[0].pubkey(), blockhash)
        return self.node.submit(read_transaction(bytes(VersionedTransaction(message, list(signers)))))


@dataclass(frozen=True)
class Past:
    """What happened, in order: signatures, and one webhook for each."""

    signatures: list[str]
    bodies: list[bytes]


def live_through(data_dir: Path, transactions: int, seed: int) -> Past:
    """Play a chain for so many transactions and close it; whoever opens the folder finds all of it final."""
    rng = random.Random(seed)
    stage = BusyStage(data_dir, rng)
    markets = [
        *MARKETS,
        *(MarketId(base58_encode(rng.randbytes(32))) for _ in range(transactions // MARKET_CALLS - len(MARKETS))),
    ]
    walk = Walk(stage, seed, markets)
    while len(stage.landed) < transactions:
        if rng.random() < DOUBLE_SHARE:
            tally = stage.program.aggregate_proposal_votes(wallet(stage.backend), rng.choice(markets), 3, 1)
            stage.send_all([tally, tally], stage.backend)
        else:
            walk.step()
    stage.node.tick(stage.second)
    stage.node.close()
    signatures = [base58_encode(receipt.transaction.signature) for receipt in stage.landed]
    return Past(signatures, [raw_webhook([receipt]) for receipt in stage.landed])
