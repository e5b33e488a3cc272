"""Everything Solana: the program client, reading and sending, and the local ledger that stands in for a cluster.

It must never know of actors, tables or our own sockets: it speaks domain types, and storage comes in by `ports.py`.
Start with `program.py`, then `client.py` and `sender.py`; `ledger/` is a world of its own.
"""
