"""WebhookService: what is pushed to us is proven, kept as the bytes it was, and answered; nothing else happens here."""
# ruff: noqa: N802 - grpc calls these methods by the contract's names

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from grpc.aio import ServicerContext

from grpc_server.ports import InboxUnavailable, WebhookInbox
from grpc_server.problems import MessageTooLarge, Rejected, WebhookMalformed
from identity import Denial, WebhookSecrets
from zmart.v1 import webhook_service_pb2 as pb
from zmart.v1.webhook_service_pb2_grpc import WebhookServiceServicer

BODY_BYTES_MAX = 4 * 1024 * 1024
STORED_S_MAX = 0.9
"""Helius wants its answer within a second; without one it tries again, and a repeat is harmless."""
METHOD = "/zmart.v1.WebhookService/ReceiveHeliusEvents"
AUTHORIZATION, SIGNATURE = "authorization", "x-helius-signature"

log = structlog.get_logger("grpc")


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What receiving needs; `fault_of` says what is wrong with a body, None when nothing is."""

    inbox: WebhookInbox
    secrets: WebhookSecrets
    fault_of: Callable[[bytes], str | None]


class WebhookService(WebhookServiceServicer):
    """An answer means that the body is committed (T29); what is temporary is UNAVAILABLE, so that it comes again."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def ReceiveHeliusEvents(
        self, request: pb.ReceiveHeliusEventsRequest, context: ServicerContext[Any, Any]
    ) -> pb.ReceiveHeliusEventsResponse:
        """Keep one body."""
        body = request.body.data
        self._check_sender(context, body)
        if len(body) > BODY_BYTES_MAX:
            raise Rejected(MessageTooLarge(METHOD, len(body), BODY_BYTES_MAX))
        fault = self._webhooks.fault_of(body)
        if fault is not None:
            await self._keep_sample(body, fault)
            raise Rejected(WebhookMalformed(fault))
        return pb.ReceiveHeliusEventsResponse(success=True, inbox_id=await self._put(body))

    def _check_sender(self, context: ServicerContext[Any, Any], body: bytes) -> None:
        authorization, signature = _values(context, AUTHORIZATION), _values(context, SIGNATURE)
        is_plain = len(authorization) <= 1 and len(signature) <= 1
        given = (next(iter(authorization), None), next(iter(signature), None))
        if not is_plain or not self._webhooks.secrets.admits(*given, body):
            raise Rejected(Denial.WEBHOOK_NOT_PROVEN)

    async def _put(self, body: bytes) -> int:
        try:
            async with asyncio.timeout(STORED_S_MAX):
                return await self._webhooks.inbox.put(body)
        except TimeoutError as error:
            raise InboxUnavailable(f"not stored within {STORED_S_MAX} s") from error

    async def _keep_sample(self, body: bytes, fault: str) -> None:
        """For whoever wonders what was refused; the refusal stands without it."""
        try:
            async with asyncio.timeout(STORED_S_MAX):
                await self._webhooks.inbox.keep_sample(body, fault)
        except (InboxUnavailable, TimeoutError) as outage:
            log.warning("webhook.sample_lost", error=str(outage))


def _values(context: ServicerContext[Any, Any], key: str) -> Sequence[str]:
    """Every value of a header, whatever bytes somebody put there."""
    found = [value for name, value in context.invocation_metadata() or () if name == key]
    return [value if isinstance(value, str) else bytes(value).decode("utf-8", "replace") for value in found]
