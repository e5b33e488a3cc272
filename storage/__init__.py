"""PostgreSQL as the only truth: the shards' journal, transactions on their way to the chain, reads, the outbox, nonces.

It must never know a rule of a market, a request or an actor: it stores what the domain decided, exactly and once.
Start with `queries.sql` beside `schema.sql`; `journal.py` is the path of a vote, `memory.py` its twin without a server.
"""

from storage.database import Database, database_pool
from storage.journal import PostgresJournal
from storage.memory import MemoryJournal
from storage.nonces import NonceStore
from storage.outages import JournalLost, StorageUnavailable, VirtualShardsHeld
from storage.outbox import OutboxReader
from storage.reads import MarketReads
from storage.transactions import MemoryTransactionStore, PostgresTransactionStore, TransitionRefused

__all__ = [
    "Database",
    "JournalLost",
    "MarketReads",
    "MemoryJournal",
    "MemoryTransactionStore",
    "NonceStore",
    "OutboxReader",
    "PostgresJournal",
    "PostgresTransactionStore",
    "StorageUnavailable",
    "TransitionRefused",
    "VirtualShardsHeld",
    "database_pool",
]
