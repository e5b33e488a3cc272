"""Event rows by the hundred thousand, made inside PostgreSQL; and the plans of statements."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from domain.ids import MarketId
from storage.queries import sql
from tests.support.storage import PostgresGround

BIG_MARKET = MarketId("BigMarket" + "1" * 35)
BASE_S = 1_700_000_000
EVENTS_A_SECOND = 50

_FILL = """
INSERT INTO event_logs (
    transaction_signature, event_index, event_hash, block_slot, block_index, block_time, event_type, market_id,
    user_pubkey, event_data, raw, commitment, timestamp
)
SELECT md5((n / 2)::text) || md5((n / 2 + 1)::text), n % 2, md5(n::text), n / 20,
    CASE WHEN n % 20 < 18 THEN n % 20 / 2 END, to_timestamp(1700000000 + n / 50),
    CASE WHEN n % 10 < 6 THEN 'SharesBought' WHEN n % 10 < 8 THEN 'SharesSold' WHEN n % 1000 = 999 THEN 'MarketCreated'
        ELSE 'ProposalVoteSubmitted' END,
    CASE WHEN n % 3 = 0 THEN 'BigMarket' || repeat('1', 35) ELSE md5((n % 2000)::text) || 'market' END,
    'w' || md5((n % 977)::text), jsonb_build_object('shares', n::text, 'cost', '1000000000', 'outcome', true),
    decode(md5(n::text), 'hex'), 'finalized', to_timestamp(1700000000 + n / 50)
FROM generate_series(0, $1 - 1) AS n
"""
_COUNT = "INSERT INTO event_counts SELECT market_id, event_type, count(*) FROM event_logs GROUP BY 1, 2"


async def fill(ground: PostgresGround, count: int) -> None:
    """So many events: a third of one market, 20 a slot, 50 a second, the rest of 2,000 markets; counted, analysed."""
    await ground.query(_FILL, count)
    await ground.query(_COUNT)
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
