"""`zmart demo`: a market's life on a fresh system, through public doors only.

It must never reach past gRPC, the WebSocket and the ledger's RPC: what it verifies is what anybody could.
Start with `story.py` for what happens, `doors.py` for how it is asked.
"""

from app.demo.run import run

__all__ = ["run"]
