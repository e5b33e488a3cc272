"""Sessions and their settings (architecture section 3): a shard's one connection, and what every connection shares."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import asyncpg

from storage.queries import name_of

CONNECT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_S = 5
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_S + 2.0
"""For a server that does not even say that it gave up."""

SHARED_SETTINGS = {
    # A plan made while the table was empty cut throughput to a quarter (research 3.3).
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",  # compiling took longer than any statement here runs
    "timezone": "UTC",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": "5s",
    # A peer that vanished is noticed after 5 + 3 * 2 s; no effect on a Unix socket, where the kernel tells.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}
SHARD_SETTINGS = {**SHARED_SETTINGS, "application_name": "zmart-shard", "zmart.writer": "actor"}
KEPT_STATEMENTS: Mapping[str, Any] = {
    "statement_cache_size": 256,
    "max_cached_statement_lifetime": 0,
    "max_cacheable_statement_size": 0,
}
"""Every statement is prepared once a session and kept; there are fewer than 256 of them."""

Spans = Callable[[str], AbstractContextManager[None]]
"""What a named statement is done inside of."""


async def connect_shard(database_url: str, span: Spans | None = None) -> asyncpg.Connection:
    """The session that holds a shard's locks and commits its batches; asyncpg's exceptions pass through."""
    connection: asyncpg.Connection = await asyncpg.connect(
        database_url,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings=SHARD_SETTINGS,
        connection_class=asyncpg.Connection if span is None else _spanned(span),
        **KEPT_STATEMENTS,
    )
    await read_numbers_exactly(connection)
    return connection


def _spanned(span: Spans) -> type[asyncpg.Connection]:
    """A connection each of whose statements is inside a span, BEGIN and COMMIT too."""

    class SpannedConnection(asyncpg.Connection):
        async def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
            with span(name_of(query)):
                return await super().fetch(query, *arguments, **options)

        async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
            with span(name_of(query)):
                return await super().execute(query, *arguments, **options)

    return SpannedConnection


async def read_numbers_exactly(connection: Any) -> None:
    """NUMERIC as int: every NUMERIC here is a whole number; a fraction raises ValueError rather than be rounded."""
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=int, format="text")
