"""Event rows by the hundred thousand, made inside PostgreSQL; and the plans of statements."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from app.bench.event_pages import BIG_MARKET as BIG
from app.bench.event_pages import COUNT, FILL
from domain.ids import MarketId
from storage.queries import sql
from tests.support.storage import PostgresGround

BIG_MARKET = MarketId(BIG)
BASE_S = 1_700_000_000
EVENTS_A_SECOND = 50


async def fill(ground: PostgresGround, count: int) -> None:
    """So many events: a third of one market, 20 a slot, 50 a second, the rest of 2,000 markets; counted, analysed."""
    await ground.query(FILL, count)
    await ground.query(COUNT)
    await ground.query("VACUUM ANALYZE event_logs")
    await ground.query("VACUUM ANALYZE event_counts")


@dataclass(frozen=True)
class Plan:
    """A plan that was carried out: its text, and the pages of 8 KiB that it looked at."""

    text: str
    pages: int

    @property
    def indexes(self) -> set[str]:
        """The indexes that it walked."""
        return set(re.findall(r'"Index Name": "(\w+)"', self.text))

    @property
    def scans_a_table(self) -> bool:
        """Whether a table was read from its first row to its last."""
        return '"Seq Scan"' in self.text


async def plan_of(ground: PostgresGround, name: str, *arguments: Any) -> Plan:
    """Carry a named statement out and say how; as a session of ours plans, for these very arguments."""
    await ground.query("SET plan_cache_mode = force_custom_plan")
    (row,) = await ground.query("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + sql(name), *arguments)
    plan = json.loads(row[0])[0]["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return Plan(row[0], pages)
