"""What the indexer is told to be due: nothing sooner and nothing less than what its steps would then take."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.indexed import Due
from storage.database import database_pool
from storage.index_store import PostgresIndexStore
from tests.support.indexing import Rows

DUE = {
    Due.BODIES: "INSERT INTO webhook_inbox (source, body) VALUES ('webhook', '')",
    Due.EFFECTS: "INSERT INTO market_effects (market_id, kind, slot) VALUES ('m', 'observe', 1)",
    Due.SIGNATURES: "INSERT INTO wanted_transactions (signature, source) VALUES ('s', 'rpc')",
    Due.CONFIRMED: "INSERT INTO indexed_transactions (signature, slot, commitment, source, event_count, is_incomplete)"
    " VALUES ('s', 1, 'confirmed', 'rpc', 0, false)",
    Due.POSITIONS: "INSERT INTO positions (market_id, user_pubkey, touched_slot) VALUES ('m', 'w', 1)",
    Due.RUNS: "INSERT INTO reconciliation_runs DEFAULT VALUES",
}
NOT_DUE = (
    "UPDATE webhook_inbox SET status = 'done'",
    "INSERT INTO webhook_inbox (source, body, next_attempt_at) VALUES ('webhook', '', now() + interval '1 hour')",
    "UPDATE market_effects SET next_attempt_at = now() + interval '1 hour'",
    "UPDATE wanted_transactions SET next_attempt_at = now() + interval '1 hour'",
    "UPDATE indexed_transactions SET commitment = 'finalized'",
    "UPDATE positions SET slot = 1",
    "UPDATE reconciliation_runs SET started_at = now()",
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresIndexStore]:
    database = await database_pool(database_url, 1)
    yield PostgresIndexStore(database, "program")
    await database.close()


async def test_each_kind_is_due_by_itself_and_no_longer_when_it_is_taken_or_done(
    store: PostgresIndexStore, database_url: str
) -> None:
    rows = Rows(database_url)
    assert await store.due() == frozenset()
    seen: set[Due] = set()
    for due, statement in DUE.items():
        await rows.all(statement)
        seen.add(due)
        assert await store.due() == seen
    assert seen == set(Due)
    for statement in NOT_DUE:
        await rows.all(statement)
    assert await store.due() == frozenset()
