"""The shared PostgreSQL fixtures keep the promises other tests rely on."""

import asyncpg


async def test_a_test_gets_a_database_it_can_write_to(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE only_mine (id int)")
        assert await connection.fetchval("SELECT count(*) FROM only_mine") == 0
    finally:
        await connection.close()


async def test_the_next_test_does_not_see_what_this_one_wrote(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT to_regclass('only_mine')") is None
    finally:
        await connection.close()


async def test_an_empty_database_has_no_tables(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()
