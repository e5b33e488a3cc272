"""JSON-RPC 2.0 over the ledger: one function per method, errors with a real node's codes.

It must never know how a request arrived; it takes a parsed body and a node, and gives back plain JSON values.
Start with `envelope.py`; the method tables are in `blocks.py`, `accounts.py`, `transactions.py`,
`history.py`, `control.py`.
"""

from chain.ledger.rpc.envelope import Reply, answer, respond

__all__ = ["Reply", "answer", "respond"]
