"""What a handshake says: which channels, and whose token; and the logger that keeps tokens out of logs (T60).

A token comes, in this order of precedence, in the Authorization header, in the subprotocol pair
`zmart.v1, bearer.<JWT>` (browsers cannot set headers), or in the query.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

SUBPROTOCOL = "zmart.v1"
_BEARER_SUBPROTOCOL = "bearer."
QUERY_FIELDS_MAX = 200


@dataclass(frozen=True, slots=True)
class Handshake:
    """The wishes of a client that connects."""

    channels: tuple[str, ...]
    token: str | None = field(repr=False)


def read_handshake(path: str, authorization: Sequence[str], protocols: Sequence[str]) -> Handshake | None:
    """Read request path and headers; None for a path that is not ours. The token is not verified here.

    `/ws?channels=a,b` names channels, `/markets/{market_id}/voting` means the channel `votes_{market_id}` (T64).
    """
    parts = urlsplit(path)
    try:
        query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return None
    channels = tuple(name for names in query.get("channels", []) for name in names.split(",") if name)
    match parts.path.split("/"):
        case ["", "ws"]:
            pass
        case ["", "markets", market_id, "voting"] if market_id:
            channels = (f"votes_{unquote(market_id)}", *channels)
        case _:
            return None
    return Handshake(channels, _token(authorization, protocols, query.get("token", [])))


def select_subprotocol(offered: Sequence[str]) -> str | None:
    """Answer with `zmart.v1` when it was offered; never with the part that holds the token."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


class HandshakeFilter(logging.Filter):
    """Strips the traceback of a failed handshake: the library quotes the offending header or request line in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record and the kind of error; a stranger's bad handshake is no error of ours either."""
        if record.msg == "opening handshake failed" and record.exc_info and record.exc_info[0] is not None:
            record.msg = f"opening handshake failed: {record.exc_info[0].__name__}"
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def transport_logger() -> logging.Logger:
    """For the websockets library: its debug lines are whole requests and frames, its info lines one per socket."""
    logger = logging.getLogger("ws_bridge.transport")
    logger.setLevel(logging.WARNING)
    if not any(isinstance(known, HandshakeFilter) for known in logger.filters):
        logger.addFilter(HandshakeFilter())
    return logger


def _token(authorization: Sequence[str], protocols: Sequence[str], query: Sequence[str]) -> str | None:
    for value in authorization:
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
    for protocol in protocols:
        if protocol.startswith(_BEARER_SUBPROTOCOL):
            return protocol.removeprefix(_BEARER_SUBPROTOCOL)
    return query[0] if query else None
