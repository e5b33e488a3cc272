"""A rest that a wake-up ends early."""

from __future__ import annotations

import asyncio

from chain.rpc import Sleep


async def rest(wake: asyncio.Event, rest_s: float, sleep: Sleep) -> None:
    """Return when `rest_s` have passed or somebody wakes."""
    waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(sleep(rest_s))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in waits:
            waiting.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
