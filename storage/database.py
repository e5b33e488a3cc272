"""A bounded pool of connections for everything that is not a shard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg

from storage.outages import StorageUnavailable, outages
from storage.queries import sql
from storage.session import (
    COMMAND_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    KEPT_STATEMENTS,
    SHARED_SETTINGS,
    Spans,
    read_numbers_exactly,
)

WAIT_FOR_CONNECTION_S = 5.0
IDLE_CONNECTION_S = 300.0
NEVER_IDLE_S = 0.0
"""Connections stay however long nobody uses them: opening one takes 20 ms, and whoever comes first waits for it."""
CLOSE_TIMEOUT_S = 5.0

Guard = Callable[[], contextlib.AbstractContextManager[None]]


class OpenTransaction:
    """Named statements inside one transaction; raises StorageUnavailable, after which only undoing is left."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """The rows of the named statement."""
        with outages(name):
            return list(await self._connection.fetch(sql(name), *arguments))


class Database:
    """Runs named statements, each as a transaction of its own, or several in one.

    Guarantee: an answer or StorageUnavailable within about 12 s (5 to get a connection, 7 for the statement); nothing
    of the library leaks out. Connections are made when needed, so this exists before the server does. `guard` is
    entered around each of them and may raise StorageUnavailable instead of letting it be tried.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        guard: Guard = contextlib.nullcontext,
    ) -> None:
        self._pool = pool
        self._guard = guard
        self._close_timeout_s = close_timeout_s

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """The rows of the named statement."""
        with self._guard(), outages(name):
            async with self._pool.acquire(timeout=WAIT_FOR_CONNECTION_S) as connection:
                return list(await connection.fetch(sql(name), *arguments))

    async def warm(self, count: int) -> None:
        """Have `count` connections open before anybody waits for one; what cannot be opened now is when needed."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(self._touch())

    async def _touch(self) -> None:
        with contextlib.suppress(StorageUnavailable):
            await self.fetch("ping")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[OpenTransaction]:
        """Open a transaction: leaving commits, an exception undoes and goes on its way."""
        with self._guard(), outages("transaction"):
            async with self._pool.acquire(timeout=WAIT_FOR_CONNECTION_S) as connection, connection.transaction():
                yield OpenTransaction(connection)

    async def close(self) -> None:
        """Give the connections back; those still busy after `close_timeout_s` are cut off."""
        # A close that is cut short terminates what is left.
        with outages("close"), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._close_timeout_s):
                await self._pool.close()


class SpannedTransaction(OpenTransaction):
    """The same with each statement inside a span."""

    def __init__(self, inner: OpenTransaction, span: Spans) -> None:
        super().__init__(inner._connection)
        self._span = span

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """The rows of the named statement."""
        with self._span(name):
            return await super().fetch(name, *arguments)


class SpannedDatabase(Database):
    """The same with each statement and each transaction inside a span, waiting for a connection included."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", close_timeout_s: float, guard: Guard, span: Spans) -> None:
        super().__init__(pool, close_timeout_s, guard)
        self._span = span

    async def fetch(self, name: str, *arguments: Any) -> list[Any]:
        """The rows of the named statement."""
        with self._span(name):
            return await super().fetch(name, *arguments)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[OpenTransaction]:
        """Open a transaction."""
        with self._span("transaction"):
            async with super().transaction() as opened:
                yield SpannedTransaction(opened, self._span)


async def database_pool(
    database_url: str,
    size: int,
    application_name: str = "zmart",
    close_timeout_s: float = CLOSE_TIMEOUT_S,
    guard: Guard = contextlib.nullcontext,
    span: Spans | None = None,
    idle_s: float = IDLE_CONNECTION_S,
) -> Database:
    """At most `size` connections to the database; does not connect yet."""
    pool = asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size,
        max_inactive_connection_lifetime=idle_s,
        init=read_numbers_exactly,
        reset=_keep_session,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={**SHARED_SETTINGS, "application_name": application_name},
        **KEPT_STATEMENTS,
    )
    if span is not None:
        return SpannedDatabase(await pool, close_timeout_s, guard, span)
    return Database(await pool, close_timeout_s, guard)


async def _keep_session(_: Any) -> None:
    """No statement here leaves anything in its session; the stock reset would cost every read a round trip."""
