"""Redis or Valkey as this package uses it: short waits, failures told at once, each outage logged once."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

REDIS_TROUBLE = (RedisError, OSError)
"""Everything by which the client says that something was not done; its TimeoutError is among them."""


def connect_redis(url: str, answer_timeout_s: float) -> Redis:
    """A client that neither retries nor waits longer than that for a connection or for an answer; connects lazily."""
    return Redis.from_url(
        url,
        decode_responses=True,
        protocol=2,  # one shape of every answer, whatever the library's default becomes
        socket_timeout=answer_timeout_s,
        socket_connect_timeout=answer_timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def heed_cancellation() -> None:
    """Raise the CancelledError that an exchange with Redis has lost; call it after each.

    The client sends inside `asyncio.wait_for`, which before Python 3.12 drops a cancellation that meets the end of a
    send (bpo-37658): nearly every one of an exchange's first 0.1 ms. A loop around it would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class OutageLog:
    """One line when something stops answering and one when it answers again, however often it was tried."""

    def __init__(self, logger: str, consequence: str) -> None:
        self._log = structlog.get_logger(logger)
        self._consequence = consequence
        self.is_out = False

    def failed(self, error: BaseException, **facts: Any) -> None:
        """It did not answer."""
        if not self.is_out:
            cause = str(error) or type(error).__name__
            self._log.warning("outage", consequence=self._consequence, cause=cause, **facts)
        self.is_out = True

    def answered(self, **facts: Any) -> None:
        """It answered."""
        if self.is_out:
            self._log.info("outage is over", was=self._consequence, **facts)
        self.is_out = False
