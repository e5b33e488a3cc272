"""PostgreSQL as the only truth: the shards' journal, transactions on their way to the chain, reads, the outbox, nonces.

It must never know a rule of a market, a request or an actor: it stores what the domain decided, exactly and once.
Start with `queries.sql` beside `schema.sql`; `journal.py` is the path of a vote, `memory.py` its twin without a server.
"""
