"""Holds many markets and looks at each when told: the actors of a shard, or bare values. A process of its own.

Run as `python -m app.bench.held_markets actors|values COUNT`. It prints a line when it has begun, when it holds them
and after each round of looks, and does the next thing for each line that it reads; who started it measures.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence

from actors.household import Household
from actors.messages import Draft, Keep
from app.bench.stage import adopted
from app.schedule import CronSchedule
from domain.commands import FireDeadline
from domain.decisions import decide
from domain.ids import MarketId, base58_encode
from domain.market import Market
from domain.rules import Now, Rules

AT_ONCE = 1_024
"""Markets looked at in one turn, as many as a shard fires at once."""
NOON_S = 1_762_516_800
RULES = Rules(None, CronSchedule("*/5 * * * *"), 10)
NOW = Now(NOON_S, NOON_S, lambda: "00000000-0000-4000-8000-000000000000")


def actors(markets: Sequence[Market]) -> Callable[[], None]:
    """A MarketActor for each in one Thespian system, as in a shard."""
    household, ids = Household(), [market.market_id for market in markets]
    for start in range(0, len(markets), AT_ONCE):
        household.install({market.market_id: (market, None) for market in markets[start : start + AT_ONCE]})

    def look() -> None:
        for start in range(0, len(ids), AT_ONCE):
            turn = ids[start : start + AT_ONCE]
            household.round({market_id: Draft((FireDeadline(market_id),), RULES, NOW) for market_id in turn})
            household.notify(dict.fromkeys(turn, Keep()))

    return look


def values(markets: Sequence[Market]) -> Callable[[], None]:
    """The least: a dictionary, and the decision itself."""
    held = {market.market_id: market for market in markets}

    def look() -> None:
        for market_id, market in held.items():
            decide(market, FireDeadline(market_id), RULES, NOW)

    return look


def serve(kind: str, count: int) -> None:
    """Begin, hold, look; one step for each line read."""
    ids = [MarketId(base58_encode(b"\x01" + secrets.token_bytes(31))) for _ in range(count)]
    _say("begun")
    look = {"actors": actors, "values": values}[kind]([adopted(market_id).market for market_id in ids])
    _say("held")
    while True:
        look()
        _say("looked")


def _say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - how the bench learns how far it is
    if not sys.stdin.readline():
        sys.exit()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
