"""PubSub over WebSocket, as unmodified Solana clients speak it.

It must never change the chain, wait for a client, or hold more for one than `OUTBOX_BYTES_MAX`.
Start with `hub.py` (who hears what, no socket); `socket.py` is the WebSocket around it.
"""

from chain.ledger.pubsub.hub import Hub
from chain.ledger.pubsub.socket import pubsub_application

__all__ = ["Hub", "pubsub_application"]
