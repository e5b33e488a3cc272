"""What GetHealth looks at: PostgreSQL, Redis, the chain and the indexer, each by a question that costs little."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from app.config import Settings
from chain.client import ChainReader
from chain.endpoints import RpcPool
from grpc_server import HealthParts
from storage.database import Database
from storage.index_store import IndexStanding, PostgresIndexStore
from storage.kept_breakers import KeptBreakers
from storage.redis_client import connect_redis

ANSWER_TIMEOUT_S = 1.0
INBOX_AGE_S_MAX = 60.0
"""A stored body is indexed within milliseconds; one that waits a minute waits for somebody."""
LAG_SLOTS_MAX = 150
"""A minute of slots between the indexer's cursor and the finalized slot."""
SWEEPS_MISSED_MAX = 3
ESTABLISHED = "01"


BEAT_AGE_S_MAX = 30.0
"""Fifteen heartbeats; an indexer that hangs makes none."""


class IndexerBehind(Exception):
    """The indexer is not there, or does not keep up; says how."""


class RedisMissing(Exception):
    """No Redis is configured for this process."""


class Probed:
    """The probes of one process, and what they hold open."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reader: ChainReader,
        pool: RpcPool,
        breakers: Callable[[], Mapping[str, bool]],
    ) -> None:
        self._settings = settings
        self._database = database
        self._reader = reader
        self._pool = pool
        self._more_breakers = breakers
        self._redis = connect_redis(settings.redis_url, ANSWER_TIMEOUT_S) if settings.redis_url else None
        self._kept = KeptBreakers(database)
        self._kept_states: Mapping[str, bool] = {}
        """As last read: what other processes say of theirs."""
        self._index = PostgresIndexStore(database, settings.program_id)

    def parts(self) -> HealthParts:
        """As the gRPC server wants them."""
        return HealthParts(
            database=self._ask_database,
            redis=self._ask_redis,
            solana_rpc=self._reader.health,
            event_indexer=self._ask_indexer,
            open_connections=lambda: connections_to(self._settings.ports.grpc),
            breakers=self._breakers,
        )

    async def close(self) -> None:
        """Disconnect from Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _ask_database(self) -> None:
        self._kept_states = await self._kept.states()

    async def _ask_redis(self) -> None:
        if self._redis is None:
            raise RedisMissing
        await self._redis.ping()

    async def _ask_indexer(self) -> None:
        fault = fault_of(await self._index.standing(), self._settings.index_sweep_s)
        if fault is not None:
            raise IndexerBehind(fault)

    def _breakers(self) -> Mapping[str, bool]:
        rpc = {endpoint.rpc.endpoint: endpoint.breaker.is_open for endpoint in self._pool.endpoints}
        return {**self._kept_states, **self._more_breakers(), **rpc}


def fault_of(standing: IndexStanding, sweep_s: float) -> str | None:
    """What is wrong with the indexer, None for nothing."""
    silent_s_max = max(SWEEPS_MISSED_MAX * sweep_s, INBOX_AGE_S_MAX)
    if (standing.beat_s or 0) > BEAT_AGE_S_MAX:
        return f"it has not said for {standing.beat_s:.0f} s that it gets on"
    if standing.swept_s is None:
        return "it has never searched the chain"
    if standing.swept_s > silent_s_max:
        return f"its last search of the chain was {standing.swept_s:.0f} s ago"
    if (standing.inbox_age_s or 0) > INBOX_AGE_S_MAX:
        return f"a body has waited in the inbox for {standing.inbox_age_s:.0f} s"
    if (standing.lag_slots or 0) > LAG_SLOTS_MAX:
        return f"its cursor is {standing.lag_slots} slots behind"
    return None


def connections_to(port: int) -> int:
    """Established connections to a port of this host, as the kernel lists them; 0 where it lists none."""
    ending = f":{port:04X}"
    return sum(_count(path, ending) for path in (f"/proc/{os.getpid()}/net/tcp", f"/proc/{os.getpid()}/net/tcp6"))


def _count(path: str, ending: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()[1:]
    except OSError:
        return 0
    rows = (line.split(maxsplit=4) for line in lines)
    return sum(row[1].endswith(ending) and row[3] == ESTABLISHED for row in rows)
