"""The requests that sending needs: block hash, send, statuses, logs; answers as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solders.commitment_config import CommitmentLevel
from solders.rpc.config import (
    RpcContextConfig,
    RpcSendTransactionConfig,
    RpcSignatureStatusConfig,
    RpcTransactionConfig,
)
from solders.rpc.errors import SendTransactionPreflightFailureMessage
from solders.rpc.requests import (
    GetEpochInfo,
    GetLatestBlockhash,
    GetSignatureStatuses,
    GetTransaction,
    SendRawTransaction,
)
from solders.rpc.responses import (
    GetEpochInfoResp,
    GetLatestBlockhashResp,
    GetSignatureStatusesResp,
    GetTransactionResp,
    SendTransactionResp,
)
from solders.signature import Signature
from solders.transaction_status import TransactionConfirmationStatus, TransactionStatus, UiTransactionEncoding

from chain.failures import failure_name
from chain.plan import ChainFacts, Commitment, Sighting
from chain.rpc import Rpc, RpcRefused
from chain.signing import FreshBlockhash

STATUSES_MAX = 256
"""Signatures in one getSignatureStatuses, the node's own limit."""

_COMMITMENTS = {  # the library's enum has no hash
    int(TransactionConfirmationStatus.Processed): Commitment.PROCESSED,
    int(TransactionConfirmationStatus.Confirmed): Commitment.CONFIRMED,
    int(TransactionConfirmationStatus.Finalized): Commitment.FINALIZED,
}


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """A node's answer to bytes: taken when `refusal` is None, else the name of what it found wrong."""

    refusal: str | None


class Gateway:
    """Sending over one endpoint. Raises `ChainUnavailable`; after a send that means the outcome is unknown."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def fresh_blockhash(self) -> FreshBlockhash:
        """The newest confirmed block hash: at the tip 5 % of blocks are dropped, finalized wastes 13 s (C4)."""
        body = GetLatestBlockhash(RpcContextConfig(commitment=CommitmentLevel.Confirmed))
        answer = await self._rpc.ask(body, GetLatestBlockhashResp)
        return FreshBlockhash(answer.value.blockhash, answer.value.last_valid_block_height, answer.context.slot)

    async def send(self, raw: bytes, preflight: bool) -> SendAnswer:
        """Hand the bytes to the node once; preflight at confirmed, as the block hash; the node never retries itself."""
        config = RpcSendTransactionConfig(
            skip_preflight=not preflight,
            preflight_commitment=CommitmentLevel.Confirmed,
            max_retries=0,
        )
        try:
            await self._rpc.ask_once(SendRawTransaction(raw, config), SendTransactionResp)
        except RpcRefused as refused:
            return SendAnswer(_refusal_name(refused))
        return SendAnswer(None)

    async def facts(self, signatures: Sequence[str]) -> dict[str, ChainFacts]:
        """One look at up to 256 signatures; the finalized tip is read before them."""
        tip = (
            await self._rpc.ask(GetEpochInfo(RpcContextConfig(commitment=CommitmentLevel.Finalized)), GetEpochInfoResp)
        ).value
        body = GetSignatureStatuses(
            [Signature.from_string(text) for text in signatures],
            RpcSignatureStatusConfig(search_transaction_history=True),
        )
        answer = await self._rpc.ask(body, GetSignatureStatusesResp)
        return {
            text: ChainFacts(tip.absolute_slot, tip.block_height, answer.context.slot, _sighting(status))
            for text, status in zip(signatures, answer.value, strict=True)
        }

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
