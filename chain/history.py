"""Reading the program's past: which signatures there are, what each did, and how settled it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from solders.commitment_config import CommitmentLevel
from solders.errors import SerdeJSONError
from solders.pubkey import Pubkey
from solders.rpc.config import (
    RpcBlockConfig,
    RpcContextConfig,
    RpcSignaturesForAddressConfig,
    RpcSignatureStatusConfig,
    RpcTransactionConfig,
)
from solders.rpc.requests import GetBlock, GetSignaturesForAddress, GetSignatureStatuses, GetSlot, GetTransaction
from solders.rpc.responses import (
    GetBlockResp,
    GetSignaturesForAddressResp,
    GetSignatureStatusesResp,
    GetSlotResp,
)
from solders.signature import Signature
from solders.transaction_status import TransactionConfirmationStatus, TransactionDetails, UiTransactionEncoding

from chain.rpc import Asking, RpcRefused

SIGNATURES_MAX = 1_000
"""Signatures in one page, the node's own limit."""
STATUSES_MAX = 256
"""Signatures in one question for statuses, the node's own limit."""


@dataclass(frozen=True, slots=True)
class SignatureSeen:
    """One line of the program's history."""

    signature: str
    slot: int
    block_time_s: int | None
    is_finalized: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a signature stands: its slot, or None where a node that knew `context_slot` knows nothing of it."""

    context_slot: int
    slot: int | None
    is_finalized: bool


class ChainHistory:
    """The history of one program. Every method raises `ChainUnavailable`, or `RpcRefused` with the node's answer."""

    def __init__(self, rpc: Asking, program_id: str) -> None:
        self._rpc = rpc
        self._program = Pubkey.from_string(program_id)

    async def signatures(self, before: str | None, limit: int = SIGNATURES_MAX) -> Sequence[SignatureSeen]:
        """A page of confirmed signatures that name the program, newest first, from right before `before`."""
        config = RpcSignaturesForAddressConfig(
            before=Signature.from_string(before) if before else None, limit=limit, commitment=CommitmentLevel.Confirmed
        )
        answer = await self._rpc.ask(GetSignaturesForAddress(self._program, config), GetSignaturesForAddressResp)
        return [
            SignatureSeen(str(line.signature), line.slot, line.block_time, _is_final(line.confirmation_status))
            for line in answer.value
        ]

    async def transaction(self, signature: str) -> Mapping[str, Any] | None:
        """A confirmed transaction as JSON-RPC shows it, None while the node does not have it (agave #3074)."""
        config = RpcTransactionConfig(
            encoding=UiTransactionEncoding.Json,
            commitment=CommitmentLevel.Confirmed,
            max_supported_transaction_version=0,
        )
        body = GetTransaction(Signature.from_string(signature), config)
        answer: Any = await self._rpc.ask(body, cast(Any, _TransactionJson))
        return cast("Mapping[str, Any] | None", answer.value)

    async def block_signatures(self, slot: int) -> Sequence[str] | None:
        """The signatures of a confirmed block in order, None for a block that this node does not have."""
        config = RpcBlockConfig(
            transaction_details=TransactionDetails.Signatures,
            rewards=False,
            commitment=CommitmentLevel.Confirmed,
            max_supported_transaction_version=0,
        )
        try:
            answer = await self._rpc.ask(GetBlock(slot, config), GetBlockResp)
        except RpcRefused:  # dropped, pruned, or not there yet
            return None
        block = answer.value
        return None if block is None else [str(signature) for signature in block.signatures or ()]

    async def confirmed_slot(self) -> int:
        """The newest slot that a majority has voted for."""
        return await self._slot(CommitmentLevel.Confirmed)

    async def finalized_slot(self) -> int:
        """The newest slot that no fork can undo."""
        return await self._slot(CommitmentLevel.Finalized)

    async def _slot(self, commitment: CommitmentLevel) -> int:
        return (await self._rpc.ask(GetSlot(RpcContextConfig(commitment=commitment)), GetSlotResp)).value

    async def standings(self, signatures: Sequence[str]) -> Sequence[Standing]:
        """Where up to `STATUSES_MAX` signatures stand; the history is searched too."""
        answer = await self._rpc.ask(_statuses(signatures), GetSignatureStatusesResp)
        return _standings(answer)

    async def every_standing(self, signature: str) -> Sequence[Standing]:
        """What every endpoint that can be asked says of one signature: absence needs all of them (C4)."""
        answers = await self._rpc.ask_each(_statuses([signature]), GetSignatureStatusesResp)
        return [_standings(answer)[0] for answer in answers]


def _statuses(signatures: Sequence[str]) -> GetSignatureStatuses:
    config = RpcSignatureStatusConfig(search_transaction_history=True)
    return GetSignatureStatuses([Signature.from_string(text) for text in signatures], config)


def _standings(answer: GetSignatureStatusesResp) -> list[Standing]:
    return [
        Standing(answer.context.slot, status.slot, _is_final(status.confirmation_status))
        if status is not None
        else Standing(answer.context.slot, None, False)
        for status in answer.value
    ]


def _is_final(status: TransactionConfirmationStatus | None) -> bool:
    return status == TransactionConfirmationStatus.Finalized


@dataclass(frozen=True, slots=True)
class _TransactionJson:
    """The answer of getTransaction as it was sent: solders' own object has lost the shape of the webhook's items."""

    value: Mapping[str, Any] | None

    @classmethod
    def from_json(cls, text: str) -> Any:
        """The answer, or solders' object of a JSON-RPC error; raises `SerdeJSONError` for anything else."""
        try:
            answer = json.loads(text)
            if "error" in answer:
                return GetSlotResp.from_json(text)
            value = answer["result"]
            if value is not None and not isinstance(value, dict):
                raise ValueError("neither an object nor null")
        except (ValueError, KeyError, TypeError) as fault:
            raise SerdeJSONError(f"not an answer to getTransaction: {fault}") from fault
        return cls(value)
