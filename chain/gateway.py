"""The requests that sending needs: block hash, prices, simulation, send, statuses, logs; answers as plain values."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from solders.commitment_config import CommitmentLevel
from solders.epoch_info import EpochInfo
from solders.pubkey import Pubkey
from solders.rpc.config import (
    RpcContextConfig,
    RpcSendTransactionConfig,
    RpcSignatureStatusConfig,
    RpcSimulateTransactionConfig,
    RpcTransactionConfig,
)
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.rpc.requests import (
    Body,
    GetEpochInfo,
    GetLatestBlockhash,
    GetSignatureStatuses,
    GetTransaction,
    SendRawTransaction,
    SimulateVersionedTransaction,
)
from solders.rpc.responses import (
    GetEpochInfoResp,
    GetLatestBlockhashResp,
    GetSignatureStatusesResp,
    GetTransactionResp,
    SendTransactionResp,
    SimulateTransactionResp,
)
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus, TransactionStatus, UiTransactionEncoding

from chain.failures import failure_name
from chain.plan import ChainFacts, Commitment, Sighting
from chain.prices import GetRecentPrioritizationFees, RecentPrioritizationFees
from chain.rpc import Asking, RpcRefused
from chain.signing import FreshBlockhash

STATUSES_MAX = 256
"""Signatures in one getSignatureStatuses, the node's own limit."""

_log = structlog.get_logger(__name__)

_COMMITMENTS = {  # the library's enum has no hash
    int(TransactionConfirmationStatus.Processed): Commitment.PROCESSED,
    int(TransactionConfirmationStatus.Confirmed): Commitment.CONFIRMED,
    int(TransactionConfirmationStatus.Finalized): Commitment.FINALIZED,
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """What running a transaction would do now: the name of its failure or None, and the compute units it used."""

    failure: str | None
    units: int | None


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """A node's answer to bytes: taken when `refusal` is None, else the name of what it found wrong."""

    refusal: str | None


class Gateway:
    """Sending over one endpoint or several. Raises `ChainUnavailable`; after a send the outcome may then be unknown."""

    def __init__(self, rpc: Asking) -> None:
        self._rpc = rpc

    async def fresh_blockhash(self) -> FreshBlockhash:
        """The newest confirmed block hash: at the tip 5 % of blocks are dropped, finalized wastes 13 s (C4)."""
        body = GetLatestBlockhash(RpcContextConfig(commitment=CommitmentLevel.Confirmed))
        answer = await self._rpc.ask(body, GetLatestBlockhashResp)
        return FreshBlockhash(answer.value.blockhash, answer.value.last_valid_block_height, answer.context.slot)

    async def recent_prices(self, payers: Sequence[Pubkey]) -> Sequence[int]:
        """What recent blocks took for a compute unit, in micro-lamports; nothing from a node that does not tell."""
        body = cast(Body, GetRecentPrioritizationFees(payers))
        try:
            answer: Any = await self._rpc.ask(body, cast(Any, RecentPrioritizationFees))
        except RpcRefused as refusal:
            _log.info("prices.not_told", fault=str(refusal))
            return ()
        prices: tuple[int, ...] = answer.prices
        return prices

    async def simulate(self, transaction: VersionedTransaction, min_slot: int) -> Simulation:
        """Run an unsigned transaction on a state no older than `min_slot`; nothing can land."""
        config = RpcSimulateTransactionConfig(
            sig_verify=False, commitment=CommitmentLevel.Confirmed, min_context_slot=min_slot
        )
        answer = await self._rpc.ask(SimulateVersionedTransaction(transaction, config), SimulateTransactionResp)
        value = answer.value
        failure = failure_name(value.err, value.logs or []) if value.err is not None else None
        return Simulation(failure, value.units_consumed)

    async def send(self, raw: bytes, preflight: bool) -> SendAnswer:
        """Hand the bytes to one node once; preflight at confirmed, as the block hash; the node never retries itself."""
        config = RpcSendTransactionConfig(
            skip_preflight=not preflight, preflight_commitment=CommitmentLevel.Confirmed, max_retries=0
        )
        try:
            await self._rpc.ask_once(SendRawTransaction(raw, config), SendTransactionResp)
        except RpcRefused as refused:
            return SendAnswer(_refusal_name(refused))
        return SendAnswer(None)

    async def facts(self, signatures: Sequence[str]) -> dict[str, ChainFacts]:
        """One look at any number of signatures; the finalized tip is read before them."""
        tip = await self._tip()
        parts = [signatures[start : start + STATUSES_MAX] for start in range(0, len(signatures), STATUSES_MAX)]
        answers = await asyncio.gather(*(self._rpc.ask(_statuses(part), GetSignatureStatusesResp) for part in parts))
        found: dict[str, ChainFacts] = {}
        for part, answer in zip(parts, answers, strict=True):
            for text, status in zip(part, answer.value, strict=True):
                found[text] = ChainFacts(tip.absolute_slot, tip.block_height, answer.context.slot, _sighting(status))
        return found

    async def every_look(self, signature: str) -> Sequence[ChainFacts]:
        """What every endpoint that can be asked says of one signature: proof of absence needs all of them (C4)."""
        tip = await self._tip()
        answers = await self._rpc.ask_each(_statuses([signature]), GetSignatureStatusesResp)
        return [
            ChainFacts(tip.absolute_slot, tip.block_height, answer.context.slot, _sighting(answer.value[0]))
            for answer in answers
        ]

    async def _tip(self) -> EpochInfo:
        """The finalized slot and height."""
        body = GetEpochInfo(RpcContextConfig(commitment=CommitmentLevel.Finalized))
        return (await self._rpc.ask(body, GetEpochInfoResp)).value

    async def landed_failure(self, signature: str, sighting: Sighting) -> str:
        """The name of what a landed transaction failed with; its logs decide where the node still has them."""
        config = RpcTransactionConfig(
            encoding=UiTransactionEncoding.Base64,
            commitment=CommitmentLevel.Confirmed,
            max_supported_transaction_version=0,
        )
        answer = await self._rpc.ask(GetTransaction(Signature.from_string(signature), config), GetTransactionResp)
        meta = answer.value.transaction.meta if answer.value else None
        return failure_name(sighting.err, (meta.log_messages if meta else None) or [])


def _statuses(signatures: Sequence[str]) -> GetSignatureStatuses:
    config = RpcSignatureStatusConfig(search_transaction_history=True)
    return GetSignatureStatuses([Signature.from_string(text) for text in signatures], config)


def _sighting(status: TransactionStatus | None) -> Sighting | None:
    if status is None:
        return None
    commitment = status.confirmation_status
    return Sighting(status.slot, _COMMITMENTS[int(commitment)] if commitment else Commitment.PROCESSED, status.err)


def _refusal_name(refused: RpcRefused) -> str:
    answer = refused.answer
    if isinstance(answer, SendTransactionPreflightFailureMessage):
        return failure_name(answer.data.err, answer.data.logs or [])
    return str(answer).rsplit(".", 1)[-1] if " " not in str(answer) else type(answer).__name__.removesuffix("Message")
