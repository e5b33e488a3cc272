"""The grammar of channel names (T56, decisions F4): underscores on the wire, colons accepted, ids canonical."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from domain.ids import MalformedId, parse_market_id, parse_wallet

NAME_LENGTH_MAX = 100
"""Longer than `user_` + 64 + `_positions`; what is longer is cut before it is echoed."""

_MARKET = re.compile(r"(market|votes)[_:](.+)")
_POSITIONS = re.compile(r"user[_:](.+)[_:]positions")


class Kind(enum.StrEnum):
    """What a channel tells of."""

    MARKET = "market"
    VOTES = "votes"
    POSITIONS = "positions"


class MalformedChannel(ValueError):
    """A text outside the grammar."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a channel: {text[:NAME_LENGTH_MAX]!r}")
        self.text = text[:NAME_LENGTH_MAX]


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel by its canonical name; `key` is the market_id or the wallet in it."""

    kind: Kind
    key: str

    @property
    def name(self) -> str:
        """As it goes over the wire."""
        return f"user_{self.key}_positions" if self.kind is Kind.POSITIONS else f"{self.kind.value}_{self.key}"


def parse_channel(text: str) -> Channel:
    """Read a channel name; raises `MalformedChannel` for anything else, malformed ids included."""
    if len(text) > NAME_LENGTH_MAX:
        raise MalformedChannel(text)
    try:
        if match := _MARKET.fullmatch(text):
            return Channel(Kind(match[1]), parse_market_id(match[2]))
        if match := _POSITIONS.fullmatch(text):
            return Channel(Kind.POSITIONS, parse_wallet(match[1]))
    except MalformedId as error:
        raise MalformedChannel(text) from error
    raise MalformedChannel(text)
