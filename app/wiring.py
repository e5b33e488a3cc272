"""How the parts are joined; the only place that knows who implements which port.

`shard` and `chain_agent` are named in the start messages of the actor tree (decisions B7) and run in forked processes,
which read the same settings from the same environment.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from actors.chain_agent import ChainDesk
from actors.messages import StartNode, StartShard
from actors.ports import Journal
from actors.shard import ShardParts
from actors.shard_core import ShardSettings
from app import clock
from app.collector import calm_collector
from app.config import Settings
from app.logs import name_logs
from app.schedule import CronSchedule
from storage.journal import PostgresJournal

if TYPE_CHECKING:
    from app.tracing import Tracing

SHARD_FACTORY = "app.wiring:shard"
AGENT_FACTORY = "app.wiring:chain_agent"


class SettingMissing(Exception):
    """A role was started without something it needs; names the environment variable."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"{variable} is not set")
        self.variable = variable


def database_url(settings: Settings) -> str:
    """The database that a role was told to use; `zmart up` sets it for its roles."""
    if settings.database_url is None:
        raise SettingMissing("ZMART_DATABASE_URL")
    return settings.database_url


def redis_url(settings: Settings) -> str:
    """The Redis or Valkey that a role was told to use."""
    if settings.redis_url is None:
        raise SettingMissing("ZMART_REDIS_URL")
    return settings.redis_url


def tracing_of(settings: Settings, service: str) -> Tracing | None:
    """What makes this process's spans; OpenTelemetry is not even loaded while nobody wants them."""
    if settings.otlp_endpoint is None:
        return None
    from app.tracing import Tracing

    return Tracing(settings.otlp_endpoint, service)


def node(settings: Settings) -> StartNode:
    """What NodeSupervisor shall run on this host."""
    return StartNode(settings.run_id, settings.node_name, settings.shards, SHARD_FACTORY, AGENT_FACTORY)


def shard(start: StartShard) -> ShardParts:
    """The parts of a shard process."""
    settings = Settings()
    name_logs(role="shard", slot=start.slot)
    url, tracing = database_url(settings), tracing_of(settings, "zmart-shard")

    async def connect() -> Journal:
        journal = await PostgresJournal.connect(url, span=tracing.sql if tracing else None)
        calm_collector()
        return journal

    return ShardParts(connect, shard_settings(settings), tracing)


def shard_settings(settings: Settings) -> ShardSettings:
    """What the rules of a shard need besides the chain."""
    return ShardSettings(
        schedule=CronSchedule(settings.aggregation_cron),
        min_proposal_votes=settings.min_proposal_votes,
        wall_s=clock.wall_s,
        monotonic_s=clock.monotonic_s,
        new_id=lambda: str(uuid.uuid4()),
        zero_votes=settings.zero_vote_dispute,
        stuck_after_s=settings.stuck_after_days * 86_400,
    )


def chain_agent() -> ChainDesk:
    """The desk of a chain agent process."""
    from app.desk import open_desk  # a second of imports that no shard needs

    settings = Settings()
    name_logs(role="chain_agent")
    return open_desk(settings, database_url(settings))
