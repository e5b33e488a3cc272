"""Migrations: once, in order, whole or not at all; and schema.sql says what they come to."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.merkle import Frontier
from domain.tally import VoteType
from domain.votelog import leaf_of
from storage.database import database_pool
from storage.migrate import MIGRATIONS_DIR, MigrationsDiffer, migrate, migrations, pending
from storage.outages import StorageUnavailable
from storage.reads import MarketReads
from storage.vote_log import VoteLog
from tests.support.markets import market_id

NAMES = [migration.name for migration in migrations()]
SCHEMA = MIGRATIONS_DIR.parent / "schema.sql"

CATALOGUE = {
    "tables": """
        SELECT relname, relkind::text, reloptions::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'S')""",
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
            a.attgenerated::text, a.attcollation::regcollation::text, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'v', 'm')
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "types": """
        SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')""",
    "shards": "SELECT id::text, epoch FROM virtual_shards",
    "histories": "SELECT count(*) FROM feed_epoch",
}

VOTES_OF_OLD = """
    INSERT INTO markets (
        market_id, vshard, pda, creator, state, version, market_seq, votes_seq, likes, dislikes, like_voters,
        dislike_voters, support, reject, support_voters, reject_voters, confirmed_likes, confirmed_dislikes,
        approval_ready, voting_closed, question, category, observed_slot, b_parameter, initial_liquidity,
        current_liquidity, shares_yes, shares_no, total_volume, created_at, failures
    )
    SELECT id, 0, '', '', 'PROPOSED', 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, false, '', '', 0, 0, 0, 0, 0, 0, 0,
        now(), 0
    FROM (VALUES ('<market>'), ('without votes')) AS m (id);
    INSERT INTO vote_records (
        id, market_id, user_pubkey, vote_type, vote, weight, source, market_version, created_at, weight_slot
    )
    SELECT gen_random_uuid(), '<market>', 'wallet ' || n, kind, n % 3 = 0, n, 'api', n / 4,
        '2025-11-07 12:00:00.123456Z'::timestamptz + n * interval '1.0007 s', nullif(n % 2, 0)
    FROM generate_series(1, 21) AS n, unnest(ARRAY['proposal', 'dispute']) AS kind
    WHERE kind = 'proposal' OR n < 5;
"""


async def catalogue(database_url: str) -> dict[str, list[Any]]:
    connection = await asyncpg.connect(database_url)
    try:
        return {name: sorted(map(repr, await connection.fetch(query))) for name, query in CATALOGUE.items()}
    finally:
        await connection.close()


async def run(database_url: str, statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations that a test may change."""
    return Path(shutil.copytree(MIGRATIONS_DIR, tmp_path / "migrations"))


async def test_the_schema_file_equals_all_migrations(database_url: str, empty_database_url: str) -> None:
    await run(empty_database_url, SCHEMA.read_text("utf-8"))
    migrated, written = await catalogue(database_url), await catalogue(empty_database_url)
    assert migrated == written
    assert len(migrated["columns"]) > 100 and len(migrated["triggers"]) == 10, "the comparison looks at something"


async def test_migrations_are_applied_once_and_in_order(empty_database_url: str) -> None:
    assert await pending(empty_database_url) == NAMES
    assert await migrate(empty_database_url) == NAMES
    assert await pending(empty_database_url) == []
    assert await migrate(empty_database_url) == []


async def test_looking_for_pending_migrations_changes_nothing(empty_database_url: str) -> None:
    await pending(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    assert await connection.fetchval("SELECT to_regclass('schema_migrations')") is None
    await connection.close()


async def test_processes_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], NAMES]


async def test_votes_from_before_the_log_become_its_first_entries(empty_database_url: str, folder: Path) -> None:
    for migration in sorted(folder.glob("*.sql")):
        if migration.name >= "0010":
            migration.unlink()
    await migrate(empty_database_url, folder)
    await run(empty_database_url, VOTES_OF_OLD.replace("<market>", market_id()))
    await migrate(empty_database_url)
    database = await database_pool(empty_database_url, size=1)
    for kind, votes in ((VoteType.PROPOSAL, 21), (VoteType.DISPUTE, 4)):
        entries = await VoteLog(database).entries(market_id(), kind)
        found = await MarketReads(database).get(market_id())
        assert found and len(entries) == votes
        assert found[0].log(kind) == Frontier().plus_all(leaf_of(each.entry) for each in entries)
    await database.close()


async def test_a_new_migration_is_applied_to_a_database_in_use(database_url: str, folder: Path) -> None:
    (folder / "9999_more.sql").write_text("CREATE TABLE more (id int);")
    assert await pending(database_url, folder) == ["9999_more"]
    assert await migrate(database_url, folder) == ["9999_more"]


async def test_a_migration_that_fails_leaves_nothing_of_its_own(database_url: str, folder: Path) -> None:
    (folder / "9998_fine.sql").write_text("CREATE TABLE fine (id int);")
    (folder / "9999_broken.sql").write_text("CREATE TABLE broken (id int); SELECT 1 / 0;")
    with pytest.raises(StorageUnavailable, match="division by zero"):
        await migrate(database_url, folder)
    assert await pending(database_url, folder) == ["9999_broken"]
    tables = (await catalogue(database_url))["tables"]
    assert any("fine" in table for table in tables) and not any("broken" in table for table in tables)


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(database_url: str, folder: Path) -> None:
    with (folder / f"{NAMES[0]}.sql").open("a") as file:
        file.write("-- changed")
    for ask in (migrate, pending):
        with pytest.raises(MigrationsDiffer, match=f"{NAMES[0]} was changed"):
            await ask(database_url, folder)


async def test_a_database_of_a_newer_version_is_refused(database_url: str, folder: Path) -> None:
    (folder / f"{NAMES[-1]}.sql").unlink()
    with pytest.raises(MigrationsDiffer, match="newer version"):
        await migrate(database_url, folder)


async def test_a_migration_that_comes_too_late_for_its_number_is_refused(database_url: str, folder: Path) -> None:
    (folder / "0000_late.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationsDiffer, match="0000_late comes before"):
        await migrate(database_url, folder)


async def test_an_unreachable_database_is_an_outage(unused_tcp_port: int) -> None:
    with pytest.raises(StorageUnavailable):
        await migrate(f"postgresql://zmart:x@127.0.0.1:{unused_tcp_port}/zmart")
