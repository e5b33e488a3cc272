"""State changes out: a notifier that carries committed messages into a Redis stream, a bridge from there to browsers.

It must never know how a market is decided or stored: it moves numbered messages and reads snapshots through its ports.
Start with `session.py` (what a client may say) and `subscription.py` (why it misses nothing); `server.py` is the shell.
"""

from ws_bridge.feed import RedisFeed
from ws_bridge.relay import FEED_STREAM, Relay
from ws_bridge.server import Bridge, BridgeSettings
from ws_bridge.session import CloseCode, Limits

__all__ = ["FEED_STREAM", "Bridge", "BridgeSettings", "CloseCode", "Limits", "RedisFeed", "Relay"]
