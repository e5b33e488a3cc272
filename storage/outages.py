"""What can go wrong between us and PostgreSQL, as one family; the library's own exceptions end here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg

TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Everything by which asyncpg says that an operation did not succeed."""


class StorageUnavailable(OSError):
    """PostgreSQL did not do `operation`; after a write that could not be answered the outcome is unknown.

    An OSError, so that neighbours who know nothing of storage can still tell an outage from a bug.
    `sqlstate` is the server's code, None when it never answered; `retry_after_s` is known when nobody was asked at all,
    because nobody may be for so long.
    """

    def __init__(
        self, operation: str, cause: str, sqlstate: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{operation}: {cause}" + (f" (SQLSTATE {sqlstate})" if sqlstate else ""))
        self.operation = operation
        self.cause = cause
        self.sqlstate = sqlstate
        self.retry_after_s = retry_after_s


class JournalLost(StorageUnavailable):
    """The session of a shard failed in some operation: what it held in its hands may or may not be committed.

    The process that owns it must end; a new one loads what is true.
    """


class VirtualShardsHeld(StorageUnavailable):
    """Another session still holds virtual shards after the whole wait; `holders` maps each to what is known of it."""

    def __init__(self, holders: Mapping[int, str], waited_s: float) -> None:
        listed = ", ".join(f"{vshard} by {holder}" for vshard, holder in sorted(holders.items()))
        super().__init__("acquire", f"virtual shards still held after {waited_s} s: {listed}")
        self.holders = dict(holders)
        self.waited_s = waited_s


@contextmanager
def outages(operation: str, kind: type[StorageUnavailable] = StorageUnavailable) -> Iterator[None]:
    """Turn the library's exceptions into `kind`, naming the operation."""
    try:
        yield
    except StorageUnavailable:
        raise  # named where it happened
    except TROUBLE as error:
        cause = str(error) or type(error).__name__
        raise kind(operation, cause, getattr(error, "sqlstate", None)) from error
