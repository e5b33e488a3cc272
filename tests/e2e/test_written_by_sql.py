"""An operator's SQL reaches browsers: the owner takes the row over, and the feed tells of it once."""

from __future__ import annotations

import asyncpg
from solders.keypair import Keypair

from tests.support.system import RunningSystem, create_markets, new_market_id


async def test_what_was_written_by_sql_is_told_to_subscribers_once(system: RunningSystem) -> None:
    market_id, voter = new_market_id(), system.token(Keypair())
    async with system.doors() as doors:
        await create_markets(doors, [market_id])
        await doors.cast(voter, market_id, "like")
        async with doors.watching(voter, market_id) as watch:
            await watch.until("SNAPSHOT")
            database = await asyncpg.connect(system.connection["database_url"])
            await database.execute("UPDATE markets SET likes = 7, like_voters = 7 WHERE market_id = $1", market_id)
            await database.close()
            await watch.until("VOTE_UPDATE", likes=7)

            await doors.cast(system.token(Keypair()), market_id, "dislike")
            await watch.until("VOTE_UPDATE", likes=7, dislikes=1)

        assert (await doors.tally(market_id)).proposal.likes == 7
    told = [message["likes"] for message in watch.messages if message["type"] == "VOTE_UPDATE"]
    assert told[-2:] == [7, 7]
    assert told.count(7) == 2
