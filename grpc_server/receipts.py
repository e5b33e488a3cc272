"""Receipts for single votes: all that are answered in one turn of the event loop share a signature."""

from __future__ import annotations

import asyncio

from identity import LogPlace, Receipt, ReceiptSigner

TOGETHER_MAX = 1024
"""Receipts under one signature, so that a path has ten hashes at most; one more begins the next batch."""


class ReceiptDesk:
    """Signs for whoever asks, at the end of the turn: under load one signature (32 us) for all, alone one at once."""

    def __init__(self, signer: ReceiptSigner) -> None:
        self._signer = signer
        self._waiting: list[tuple[LogPlace, asyncio.Future[Receipt]]] = []

    async def receipt(self, vote: LogPlace) -> Receipt:
        """The receipt of a vote that is stored."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._sign)
        waiting: asyncio.Future[Receipt] = loop.create_future()
        self._waiting.append((vote, waiting))
        if len(self._waiting) >= TOGETHER_MAX:
            self._sign()
        return await waiting

    def _sign(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return  # a full batch went before its turn
        for receipt, (_, future) in zip(self._signer.issue([vote for vote, _ in waiting]), waiting, strict=True):
            if not future.done():  # its caller may have gone
                future.set_result(receipt)
