"""How the delivery of alerts is joined: rows of PostgreSQL to the sinks of the rules file."""

from __future__ import annotations

import asyncio
import os
import random
import uuid

import structlog

from alerts.delivery import AlertDelivery
from alerts.rules import read_rules
from alerts.sinks import open_sinks
from alerts.vigil import Vigil, shard_down
from app import clock
from app.config import Settings
from app.sampler import sample
from app.wiring import database_url
from storage.alerts import AlertNews, AlertQueue
from storage.database import database_pool
from storage.figures import Figures
from storage.heartbeats import RoleBeats, ShardBeats

POOL = 3
log = structlog.get_logger("alerts")


async def run_alerts(settings: Settings, stop: asyncio.Event) -> None:
    """Deliver alerts until `stop`; a sink that cannot be made is left out. Raises UnusableRules at once."""
    url = database_url(settings)
    rules = read_rules(settings.alert_rules)
    sinks, unusable, redactor = open_sinks(rules, os.environ)
    for name, fault in unusable.items():
        log.error("sink left out", sink=name, why=str(fault))
    if not sinks:
        log.warning("no sink: alerts are stored and logged only")
    database, news = await database_pool(url, POOL, "zmart-alerts"), AlertNews(url)
    queue = AlertQueue(database)
    vigils = [Vigil(RoleBeats(database), queue), Vigil(ShardBeats(database), queue, shard_down)]
    watching = [asyncio.create_task(vigil.run(clock.wall_s)) for vigil in vigils]
    delivery = AlertDelivery(
        queue,
        news,
        rules,
        sinks,
        redactor,
        now_s=clock.wall_s,
        new_id=lambda: str(uuid.uuid4()),
        chance=random.SystemRandom(),
    )
    sampling = asyncio.create_task(sample(Figures(database, settings.program_id)))
    try:
        await delivery.run(stop)
    finally:
        for watch in watching:
            watch.cancel()
        sampling.cancel()
        await news.close()
        await database.close()
