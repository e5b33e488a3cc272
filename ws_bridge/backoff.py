"""Waiting for a Redis that does not answer: doubling, bounded, over as soon as it answers."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0
CONNECT_TIMEOUT_S = 2.0


class Backoff:
    """The pauses between attempts: 50 ms, doubling to 2 s."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_FIRST_S

    async def pause(self) -> None:
        """Wait for the present pause and double the next."""
        current_s, self._next_s = self._next_s, min(self._next_s * 2, BACKOFF_MAX_S)
        await asyncio.sleep(current_s)

    def reset(self) -> None:
        """It answered."""
        self._next_s = BACKOFF_FIRST_S


def connect(url: str, answer_timeout_s: float) -> Redis:
    """A client that tells every failure at once, so that this package alone decides when to try again."""
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,  # one shape of XREAD's answer, whatever the library's default becomes
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def heed_cancellation() -> None:
    """Raise the CancelledError that an exchange with Redis has lost; a loop around exchanges calls it in each round.

    The client sends inside `asyncio.wait_for`, which before Python 3.12 drops a cancellation that meets the end of a
    send (bpo-37658), so the loop would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
