"""Every JSON object that crosses a socket, both directions, in one place (contract section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ws_bridge.ports import FeedEntry, Snapshot

ACTIONS = frozenset({"subscribe", "unsubscribe", "ping", "auth"})


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one channel's history: which history, and the last message of it."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """What a client asks for; `resume` is keyed by the names as the client spells them."""

    action: str
    channels: tuple[str, ...] = ()
    resume: Mapping[str, Position] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)


class MalformedMessage(ValueError):
    """A frame that is no `ClientMessage`; the text says which part is wrong and never repeats what was sent."""


def parse_client(frame: str | bytes) -> ClientMessage:
    """Read a client's frame; raises `MalformedMessage`."""
    if not isinstance(frame, str):
        raise MalformedMessage("frames must be text")
    try:
        body = json.loads(frame)
    except (ValueError, RecursionError):  # deep nesting overflows the parser's stack before 4 KiB are read
        raise MalformedMessage("not JSON") from None
    if not isinstance(body, dict):
        raise MalformedMessage("not a JSON object")
    action = body.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise MalformedMessage(f"action must be one of {', '.join(sorted(ACTIONS))}")
    return ClientMessage(action, _channels(body), _resume(body), _token(body))


def numbered(entry: FeedEntry, channel: str, seq: int) -> str:
    """A numbered message in one of its places; the envelope's own names win over the payload's."""
    return _text({
        **json.loads(entry.payload_json),
        "type": entry.type,
        "channel": channel,
        "epoch": entry.epoch,
        "seq": seq,
        "timestamp": entry.timestamp,
    })  # fmt: skip


def snapshot(channel: str, state: Snapshot, now_s: float) -> str:
    """SNAPSHOT: the whole state of a channel; `seq` is the last message it contains."""
    return _text({
        **state.payload,
        "type": "SNAPSHOT",
        "channel": channel,
        "epoch": state.epoch,
        "seq": state.seq,
        "timestamp": rfc3339(now_s),
    })  # fmt: skip


def progress(channel: str, standing: Snapshot, now_s: float) -> str:
    """VOTING_PROGRESS: unnumbered; `seq` is the last message that this state contains (decisions F2)."""
    return _text({
        **standing.payload,
        "type": "VOTING_PROGRESS",
        "channel": channel,
        "epoch": standing.epoch,
        "seq": standing.seq,
        "timestamp": rfc3339(now_s),
    })  # fmt: skip


def welcome(wallet: str, expires_at_s: int, heartbeat_s: float, channels_max: int, now_s: float) -> str:
    """WELCOME: the token was good; sent again for a fresh one."""
    return _text({
        "type": "WELCOME",
        "wallet": wallet,
        "expires_at": rfc3339(expires_at_s),
        "heartbeat_interval_ms": round(heartbeat_s * 1000),
        "channels_max": channels_max,
        "timestamp": rfc3339(now_s),
    })  # fmt: skip


def confirmed(channel: str, requested: str, position: Position, recovered: bool, now_s: float) -> str:
    """SUBSCRIPTION_CONFIRMED; `requested` is there when the client spelt the channel differently."""
    spelling = {} if requested == channel else {"requested": requested}
    return _text({
        "type": "SUBSCRIPTION_CONFIRMED",
        "channel": channel,
        **spelling,
        "epoch": position.epoch,
        "seq": position.seq,
        "recovered": recovered,
        "timestamp": rfc3339(now_s),
    })  # fmt: skip


def heartbeat(positions: Iterable[tuple[str, Position]], now_s: float) -> str:
    """HEARTBEAT: unnumbered; carries the last position of every channel (decisions F2)."""
    channels = {channel: {"epoch": position.epoch, "seq": position.seq} for channel, position in positions}
    return _text({"type": "HEARTBEAT", "channels": channels, "timestamp": rfc3339(now_s)})


def error(reason: str, message: str, now_s: float, channel: str | None = None) -> str:
    """ERROR: one request was not met; the connection stays."""
    about = {} if channel is None else {"channel": channel}
    return _text({"type": "ERROR", "reason": reason, "message": message, **about, "timestamp": rfc3339(now_s)})


def restart_reason(reconnect_after_ms: int) -> str:
    """The close reason that goes with 1012; far below the protocol's 123 bytes."""
    return _text({"reconnect_after_ms": reconnect_after_ms})


def rfc3339(at_s: float) -> str:
    """Unix seconds as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(body: Mapping[str, Any]) -> str:
    """In ASCII: what a client sent may hold lone surrogates, which have no UTF-8 and would end its connection."""
    return json.dumps(body, separators=(",", ":"))


def _channels(body: Mapping[str, Any]) -> tuple[str, ...]:
    channels = body.get("channels", [])
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise MalformedMessage("channels must be a list of strings")
    return tuple(channels)


def _resume(body: Mapping[str, Any]) -> Mapping[str, Position]:
    resume = body.get("resume", {})
    if not isinstance(resume, dict):
        raise MalformedMessage("resume must be an object")
    return {name: _position(place) for name, place in resume.items()}


def _position(place: object) -> Position:
    match place:
        case {"epoch": str(epoch), "seq": int(seq)} if not isinstance(seq, bool):
            return Position(epoch, seq)
    raise MalformedMessage("resume needs an epoch (string) and a seq (number) for each channel")


def _token(body: Mapping[str, Any]) -> str | None:
    token = body.get("token")
    if token is not None and not isinstance(token, str):
        raise MalformedMessage("token must be a string")
    if body["action"] == "auth" and not token:
        raise MalformedMessage("auth needs a token")
    return token
